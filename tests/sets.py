"""A small set of domains that were made up, and a split of it."""

from pathlib import Path

import numpy as np

from openmm_nemo.data import DomainSet, make_split, write_domains
from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.residues import AMINO_ACIDS
from tests.helpers import random_chain


def domain(number: int, code: str) -> Domain:
    n = 10 + number % 7
    backbone = np.repeat(random_chain(n, seed=number).numpy()[:, None], 5, axis=1)
    offsets = [[-1.4, 0.2, 0], [0, 0, 0], [1.2, 0.8, 0], [1.3, 2.0, 0], [0, 0, 2]]
    letters = np.random.default_rng(number).choice(list(AMINO_ACIDS), n)
    return Domain(
        f"d{number}",
        "".join(letters),
        (backbone + np.array(offsets)).astype(np.float32),
        "H" * n,
        tuple(map(str, range(n))),
        cath=(code,),
        cluster=f"c{number}",
    )


def write_set(folder: Path) -> None:
    """Write 36 domains to ``folder/set`` and their split to ``folder/split.json``."""
    codes = [
        f"{c}.{10 * a}.{t}.{h}"
        for c in (1, 2)
        for a in (1, 2, 3)
        for t in (1, 2, 3)
        for h in (1, 2)
    ]
    (folder / "set").mkdir()
    write_domains(folder / "set" / "domains.safetensors", map(domain, range(len(codes)), codes))
    domains = list(DomainSet(folder / "set" / "domains.safetensors"))
    make_split(domains, 1, validation=0.1, test=0.1, test_classes=(), workers=1).write(
        folder / "split.json"
    )

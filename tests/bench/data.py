"""Domains read per second, beside mdtraj.load on the same files, and batches per second, beside a loop over letters."""

import gzip
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gemmi
import mdtraj as md
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from openmm_nemo.data.batches import DomainDataset, Draw, Example, collate
from openmm_nemo.data.families.profiles import ColumnFrequencies
from openmm_nemo.data.sets.building import read_source
from openmm_nemo.data.sets.domains import DSSP_CLASSES, Domain, profiles_of
from openmm_nemo.data.sets.storage import DomainSet, write_domains
from openmm_nemo.residues import AMINO_ACIDS
from tests.bench.results import row
from tests.bench.timing import interleaved
from tests.helpers import random_chain

FILES = sorted(Path("tests/data").glob("*.pdb.gz"))
REPEATS = 5
SET_SIZE = 1000

CROP = 96
BATCH = 16
BATCHES = 20


def main() -> None:
    print(f"{'from':24} {'domains/s':>10} {'files/s':>9} {'beside mdtraj.load':>19}")
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        domains: list[Domain] = []
        for suffix in (".pdb", ".cif"):
            files = [_copy(file, Path(folder), suffix) for file in FILES]
            domains = [domain for file in files for domain in read_source(file)[0]]
            _compare(suffix, files, len(domains))
        path = Path(folder) / "domains.safetensors"
        many = [replace(domains[i % len(domains)], id=str(i)) for i in range(SET_SIZE)]
        write_domains(path, many)
        seconds = interleaved({"set": lambda: list(DomainSet(path))}, REPEATS)["set"]
        row(
            f"{'set, opened and read':24} {SET_SIZE / seconds:10.0f}",
            "reading",
            source="set",
            domains_per_second=SET_SIZE / seconds,
        )
        _batches()


def _copy(file: Path, folder: Path, suffix: str) -> Path:
    """The file unpacked, or as mmCIF."""
    path = folder / (file.name.removesuffix(".pdb.gz") + suffix)
    text = gzip.decompress(file.read_bytes()).decode()
    if suffix == ".cif":
        structure = gemmi.read_pdb_string(text)
        structure.setup_entities()
        structure.make_mmcif_document().write_file(str(path))
    else:
        path.write_text(text)
    return path


def _compare(suffix: str, files: list[Path], n_domains: int) -> None:
    functions: dict[str, Callable[[], object]] = {
        "domains, with DSSP": lambda: [read_source(file) for file in files],
        "mdtraj.load": lambda: [md.load(str(file)) for file in files],
    }
    median = interleaved(functions, REPEATS)
    for name, seconds in median.items():
        row(
            f"{f'{suffix[1:]}: {name}':24} {n_domains / seconds:10.0f} {len(files) / seconds:9.1f} "
            f"{median['mdtraj.load'] / seconds:19.2f}",
            "reading",
            source=f"{suffix[1:]}: {name}",
            domains_per_second=n_domains / seconds,
            files_per_second=len(files) / seconds,
            beside_mdtraj=median["mdtraj.load"] / seconds,
        )


def _batches() -> None:
    """Batches of crops with profiles, and the same crops by `Domain`'s constructor and letter by letter."""
    domains = [_random_domain(i) for i in range(BATCH * BATCHES)]
    profiles = profiles_of(domains, "deep")
    dataset = DomainDataset(domains, CROP, 1, profiles, min_length=CROP)
    for domain in domains:
        _ = domain.contacts  # counted once, at the first crop

    def batches(make: Callable[[list[Example]], object], window: bool) -> None:
        for k in range(BATCHES):
            examples = [dataset[Draw(0, i)] for i in range(BATCH * k, BATCH * (k + 1))]
            if window:  # checks all that a domain has to be
                examples = [e._replace(domain=replace(e.domain)) for e in examples]
            make(examples)

    median = interleaved(
        {"batches": lambda: batches(collate, False), "loop": lambda: batches(_loop, True)}, REPEATS
    )
    print(f"\n{f'{BATCH} crops of {CROP}':24} {'batches/s':>10}")
    for name, seconds in median.items():
        row(
            f"{name:24} {BATCHES / seconds:10.0f}",
            "batches",
            method=name,
            batches_per_second=BATCHES / seconds,
        )


def _random_domain(number: int) -> Domain:
    """150 residues."""
    random = np.random.default_rng(number)
    n = 150
    x = random_chain(n, seed=10 * number).numpy().astype(np.float32)
    return Domain(
        str(number),
        "".join(random.choice(list(AMINO_ACIDS), n)),
        np.repeat(x[:, None], 5, axis=1),
        "".join(random.choice(list(DSSP_CLASSES), n)),
        tuple(map(str, range(n))),
        profiles={"deep": ColumnFrequencies(random.integers(1, 256, (n, 20)).astype(np.uint8))},
    )


def _loop(examples: list[Example]) -> list[torch.Tensor]:
    """What `collate` does, one letter after another."""
    shape = len(examples), CROP
    backbone = torch.full((*shape, 5, 3), torch.nan)
    letters, dssp = (torch.zeros(shape, dtype=torch.int64) for _ in range(2))
    profile = torch.zeros(*shape, len(AMINO_ACIDS))
    for b, (domain, sequence, rows, _) in enumerate(examples):
        backbone[b] = torch.from_numpy(np.array(domain.backbone))
        letters[b] = torch.tensor([AMINO_ACIDS.index(letter) for letter in sequence])
        dssp[b] = torch.tensor([DSSP_CLASSES.index(letter) for letter in domain.dssp])
        profile[b] = torch.from_numpy(np.asarray(rows, dtype=np.float32))
    one_hot = torch.nn.functional.one_hot(letters, len(AMINO_ACIDS))
    there = backbone.isfinite().all(dim=-1)
    return [torch.cat([one_hot, profile], -1), torch.where(there[..., None], backbone, 0.0), dssp]

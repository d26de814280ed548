"""Pairs of structures, Angstrom, some with scores that other programs published for them."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from openmm_nemo.data import read_structure
from tests.helpers import normal, random_chain, random_rotation

TRP_CAGE = Path("examples/data/1l2y.pdb")


def unrelated(length):
    return random_chain(length), random_chain(length, seed=500)


def noisy(length):
    x = random_chain(length)
    return x @ random_rotation().T, x + 2 * normal(length, 3)


def hinge(length):
    """One half turned about the middle bead."""
    x, middle = random_chain(length), length // 2
    bent = x.clone()
    bent[middle:] = (x[middle:] - x[middle]) @ random_rotation().T + x[middle]
    return bent, x


def common_core(length):
    """Alike, to 1 Angstrom, in the middle third only."""
    x, third = random_chain(length), length // 3
    other = x + normal(length, 3)
    other[:third] = random_chain(third, seed=50)
    other[2 * third :] = random_chain(length - 2 * third, seed=60)
    return other, x


def shifted(length):
    """Every residue where the next one is."""
    x = random_chain(length + 1)
    return x[1:], x[:-1]


def trp_cage(first, second):
    """Two models of an NMR ensemble."""
    return tuple(
        torch.from_numpy(read_structure(TRP_CAGE, model_index=index).ca).double()
        for index in (first, second)
    )


class Scores(NamedTuple):
    """TM-score and GDT-TS by the program TM-score (Debian's tm-align 20190822), lDDT by Biotite 1.6.0."""

    tm: float
    gdt_ts: float
    lddt: float


PUBLISHED = {
    (trp_cage, 2, 1): Scores(0.7048, 0.9750, 0.95857),
    (trp_cage, 4, 5): Scores(0.5179, 0.9750, 0.92000),
    (trp_cage, 1, 3): Scores(0.6257, 0.9500, 0.91292),
    (hinge, 60): Scores(0.5213, 0.5333, 0.86871),
    (hinge, 100): Scores(0.5227, 0.5175, 0.97706),
    (noisy, 60): Scores(0.5000, 0.5667, 0.46731),
    (noisy, 100): Scores(0.6197, 0.5475, 0.47856),
    (common_core, 60): Scores(0.2742, 0.3042, 0.40782),
    (common_core, 100): Scores(0.2894, 0.2700, 0.41471),
    (unrelated, 60): Scores(0.1405, 0.1958, 0.40192),
    (unrelated, 100): Scores(0.1263, 0.1225, 0.36685),
    (shifted, 60): Scores(0.3691, 0.4958, 0.54721),
    (shifted, 100): Scores(0.5173, 0.4975, 0.55487),
}
"""Of positions with three decimals, as in a PDB file."""

NAMES = ["-".join([make.__name__, *map(str, numbers)]) for make, *numbers in PUBLISHED]


def published(case: tuple) -> tuple[Tensor, Tensor, Scores]:
    """A pair, (L, 3) each, and its scores."""
    make, *numbers = case
    mobile, target = (torch.round(x - x.mean(0), decimals=3) for x in make(*numbers))
    return mobile, target, PUBLISHED[case]

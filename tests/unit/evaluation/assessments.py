"""Assessments with figures that a test chooses."""

from collections.abc import Sequence

import numpy as np

from openmm_nemo.evaluation.assessment import Assessment
from openmm_nemo.residues import AMINO_ACIDS
from tests.helpers import random_chain

UNKNOWN = float("nan")


def assessment(
    id: str = "protein",
    level: str = "",
    identity: float = UNKNOWN,
    tm: Sequence[float] = (0.2, 0.4, 0.6),
    clusters: Sequence[int] = (0, 0, 1),
    representative: int = 1,
    length: int = 30,
    x: np.ndarray | None = None,
    native: np.ndarray | None = None,
    rg: Sequence[float] = (10.0, 11.0, 12.0),
    native_rg: float = 9.0,
    seed: int = 0,
) -> Assessment:
    """Of a protein whose native is a random chain."""
    native = random_chain(length, seed=seed).numpy() if native is None else native
    return Assessment(
        id=id,
        sequence=(AMINO_ACIDS * 10)[: len(native)],
        level=level,
        identity=identity,
        clusters=np.array(clusters),
        representative=representative,
        lowest=0,
        x=native + np.random.default_rng(seed).normal(size=native.shape) if x is None else x,
        native=native,
        tm=np.array(tm, dtype=float),
        rmsd=2.5,
        gdt_ts=0.51,
        lddt=0.62,
        contact_precision=0.73,
        rg=np.array(rg),
        native_rg=native_rg,
    )


def without_native(id: str = "alone", **options) -> Assessment:
    """Of a protein whose native is not known."""
    known = assessment(id, **options)
    return Assessment(
        **vars(known)
        | {"native": None, "tm": np.full(len(known.tm), UNKNOWN)}
        | dict.fromkeys(("rmsd", "gdt_ts", "lddt", "contact_precision", "native_rg"), UNKNOWN)
    )

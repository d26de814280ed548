"""Figures of the samples of a window: how close they are to the native, and what a choice among them gives."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from openmm_nemo.evaluation.assessment import three_d_jury
from openmm_nemo.geometry import rmsd
from openmm_nemo.geometry.similarity import (
    contact_precision,
    overlap_share,
    radius_of_gyration,
    tm_score,
)

STRUCTURE_FIGURES = (
    "tm",
    "rmsd_angstrom",
    "rg_ratio",
    "rg_error",
    "contact_precision",
    "bond_error_angstrom",
    "overlap_share",
)
CHOICES = ("lowest", "jury", "best")
CHOICE_FIGURES = tuple(
    name for choice in CHOICES for name in (f"tm_{choice}", f"rmsd_{choice}_angstrom")
)


def similarity(x: Tensor, y: Tensor) -> float:
    """TM-score of ``x`` to ``y``, both (L, 3), Angstrom; 0 if one is not finite."""
    return tm_score(x, y) if x.isfinite().all() and y.isfinite().all() else 0.0


def deviation(x: Tensor, y: Tensor) -> float:
    """RMSD of ``x`` and ``y``, both (L, 3), after superposition, Angstrom; infinite if one is not finite."""
    if not (x.isfinite().all() and y.isfinite().all()):
        return np.inf
    return float(rmsd(x.double(), y.double()))


def structure_figures(
    x: Tensor, energy: np.ndarray, native: Tensor, tm: Sequence[float]
) -> dict[str, float]:
    """Figures of N samples of a window.

    Parameters
    ----------
    x : Tensor, shape (N, L, 3)
        Angstrom.
    energy : ndarray, shape (N,)
        U, kT; NaN if not known.
    native : Tensor, shape (L, 3)
        Angstrom.
    tm : sequence of float
        `similarity` of the samples to the native, length N.

    Returns
    -------
    dict of str to float
        By the names in `STRUCTURE_FIGURES`: means over the samples, of all but TM and RMSD over the finite ones.
        By the names in `CHOICE_FIGURES`: those of the sample of lowest energy, of the one that 3D-Jury chooses and of
        the one with the highest TM-score.
    """
    deviations = [deviation(y, native) for y in x]
    figures = {"tm": float(np.mean(tm)), "rmsd_angstrom": float(np.mean(deviations))}
    if finite := [y for y in x if y.isfinite().all()]:
        size = radius_of_gyration(native)
        ratios = np.array([float(radius_of_gyration(y) / size) for y in finite])
        precisions = np.array([contact_precision(y, native) for y in finite])
        known = precisions[~np.isnan(precisions)]
        figures |= {
            "rg_ratio": float(ratios.mean()),
            "rg_error": float(abs(ratios - 1).mean()),
            "contact_precision": float(known.mean()) if len(known) else np.nan,
            "bond_error_angstrom": float(
                np.mean([float((_bonds(y) - _bonds(native)).abs().mean()) for y in finite])
            ),
            "overlap_share": float(np.mean([overlap_share(y) for y in finite])),
        }
    known_energy = np.where(np.isfinite(energy) & np.isfinite(deviations), energy, np.inf)
    chosen = {
        "lowest": int(known_energy.argmin()),
        "jury": three_d_jury(_similarities(x)),
        "best": int(np.argmax(tm)),
    }
    for choice, k in chosen.items():
        figures |= {f"tm_{choice}": tm[k], f"rmsd_{choice}_angstrom": deviations[k]}
    return figures


def _similarities(x: Tensor) -> np.ndarray:
    """TM-scores (N, N) of all pairs of structures (N, L, 3)."""
    tm = np.eye(len(x))
    for i in range(len(x)):
        for j in range(i):
            tm[i, j] = tm[j, i] = similarity(x[i], x[j])
    return tm


def _bonds(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x[1:] - x[:-1], dim=-1)

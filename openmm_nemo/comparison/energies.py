"""Figures of the energy: whether it prefers the native to samples, its mirror image and natives of other windows."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from openmm_nemo.models.batch import ConditionedBatch

ENERGY_FIGURES = (
    "energy_kt",
    "energy_gap_kt",
    "native_lowest",
    "mirror_energy_kt",
    "threading_z",
)

MIN_FOREIGN = 10
"""Fewest foreign structures whose mean and standard deviation mean something."""


def energy_figures(energy: np.ndarray, native_energy: float, length: int) -> dict[str, float]:
    """Figures of N samples of a window of L residues.

    Parameters
    ----------
    energy : ndarray, shape (N,)
        U of the samples, kT; those that are not finite are left out.
    native_energy : float
        U of the native, kT.
    length : int
        L.

    Returns
    -------
    dict of str to float
        - energy_kt: mean U of the samples, kT per residue.
        - energy_gap_kt: U of the native minus the mean of the samples, kT per residue. Positive: the model prefers its
          samples.
        - native_lowest: 1 if U of the native is below that of every sample, otherwise 0.
    """
    known = energy[np.isfinite(energy)]
    if not len(known):
        return {}
    return {
        "energy_kt": float(known.mean() / length),
        "energy_gap_kt": float((native_energy - known.mean()) / length),
        "native_lowest": float(native_energy < known.min()),
    }


def mirror_energies(batch: ConditionedBatch, native: Tensor) -> Tensor:
    """U of the native's mirror image minus U of the native, kT per residue.

    Parameters
    ----------
    batch : ConditionedBatch
        B windows.
    native : Tensor, shape (B, L, 3)
        Angstrom.

    Returns
    -------
    Tensor, shape (B,)
        Positive: the energy prefers the native's handedness. Zero: it does not know handedness.
    """
    return (batch.energy(-native) - batch.energy(native)) / batch.mask.sum(1)


def threading_z(
    batch: ConditionedBatch, native_energy: Tensor, foreign: Sequence[Sequence[np.ndarray]]
) -> np.ndarray:
    """z = (U(native) - mean) / sd of U over foreign structures, all with the coefficients of the window.

    Parameters
    ----------
    batch : ConditionedBatch
        B windows.
    native_energy : Tensor, shape (B,)
        U of their natives, kT.
    foreign : sequence of sequence of ndarray, shape (L, 3)
        Structures for each window, of its length, Angstrom.

    Returns
    -------
    ndarray, shape (B,)
        NaN for windows with fewer than ten foreign structures, or if their energies are equal. Negative: the energy
        prefers the native.
    """
    z = np.full(len(foreign), np.nan)
    length = batch.mask.shape[1]
    most = max(map(len, foreign))
    energies = torch.full((most, len(foreign)), torch.nan)
    for k in range(most):
        rows = [here[k] if k < len(here) else np.zeros((1, 3), np.float32) for here in foreign]
        x = pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True)
        x = torch.nn.functional.pad(x, (0, 0, 0, length - x.shape[1]))
        energies[k] = batch.energy(x)
    for b, here in enumerate(foreign):
        known = energies[: len(here), b].double()
        if len(known) >= MIN_FOREIGN and (spread := float(known.std())) > 0:
            z[b] = (float(native_energy[b]) - float(known.mean())) / spread
    return z

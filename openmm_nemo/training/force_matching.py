"""Force matching: the energy learns the mean forces of a simulation (nemo.md, 6; Noid et al. 2008)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from openmm_nemo.data.force_frames import ForceFrames
from openmm_nemo.dynamics import energy_and_gradient
from openmm_nemo.errors import InputError
from openmm_nemo.models import NemoModel
from openmm_nemo.models.batch import evaluation_mode
from openmm_nemo.residues import AMINO_ACIDS

FORCES = "forces"
"""Name of the loss in settings."""


class FrameBatch(NamedTuple):
    """B frames of K proteins, of at most L residues; everything is zero at padding.

    Attributes
    ----------
    s : Tensor, shape (K, L, 20)
        One-hot sequences.
    mask : Tensor, shape (K, L)
        1 for residues.
    protein : Tensor, shape (B,), int64
        Index of the protein that each frame belongs to.
    x : Tensor, shape (B, L, 3)
        C-alpha positions, Angstrom, with the mean of every frame at the origin.
    forces : Tensor, shape (B, L, 3)
        kT/Angstrom.
    """

    s: Tensor
    mask: Tensor
    protein: Tensor
    x: Tensor
    forces: Tensor

    def to(self, device: torch.device) -> "FrameBatch":
        """The same batch on a device."""
        return FrameBatch(*(tensor.to(device) for tensor in self))


class FramePool:
    """All frames of some files, to draw batches from.

    Parameters
    ----------
    paths : sequence of Path
        Files of `ForceFrames.write`.

    Raises
    ------
    InputError
        If there are no files, one cannot be read, or their temperatures differ.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise InputError("There are no files of force frames: give at least one.")
        self._files = [ForceFrames.read(path) for path in paths]
        for path, frames in zip(paths, self._files, strict=True):
            if frames.temperature != self._files[0].temperature:
                raise InputError(
                    f"{paths[0]} is at {self._files[0].temperature:g} K and {path} at {frames.temperature:g} K: "
                    "give files with the same temperature."
                )
        self._ends = np.cumsum([len(frames) for frames in self._files])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def draw(self, n: int, seed: int) -> FrameBatch:
        """Batch of ``n`` frames, drawn uniformly with replacement; determined by the seed."""
        return self.take(np.random.default_rng(seed).integers(len(self), size=n))

    def take(self, frames: Sequence[int] | np.ndarray) -> FrameBatch:
        """Batch of frames, numbered from 0 across all files."""
        numbers = np.asarray(frames)
        file = np.searchsorted(self._ends, numbers, side="right")
        chosen, protein = np.unique(file, return_inverse=True)
        sequences = [
            torch.tensor([AMINO_ACIDS.index(letter) for letter in self._files[k].sequence])
            for k in chosen
        ]
        one_hot = [torch.nn.functional.one_hot(letters, len(AMINO_ACIDS)) for letters in sequences]
        x, forces = [], []
        for k, number in zip(file, numbers, strict=True):
            here = self._files[k]
            i = number - self._ends[k]  # from the end
            x.append(torch.from_numpy(here.positions[i] - here.positions[i].mean(0)))
            forces.append(torch.from_numpy(here.forces[i].copy()))
        # All are padded to the longest protein; the longest frame belongs to it.
        return FrameBatch(
            s=pad_sequence(one_hot, batch_first=True).float(),
            mask=pad_sequence([torch.ones(len(s)) for s in sequences], batch_first=True),
            protein=torch.from_numpy(protein),
            x=pad_sequence(x, batch_first=True),
            forces=pad_sequence(forces, batch_first=True),
        )


def model_forces(model: NemoModel, frames: FrameBatch) -> Tensor:
    """Forces -grad U on the C-alphas of frames; differentiable with respect to all weights where gradients are enabled.

    The networks are pure functions here, without dropout and with their running statistics: these are the forces that a
    simulation uses.

    Parameters
    ----------
    model : NemoModel
        Model with an energy and without profiles.
    frames : FrameBatch

    Returns
    -------
    Tensor, shape (B, L, 3)
        kT/Angstrom; zero at padding.
    """
    with evaluation_mode(model):
        chains = model.condition_batch(frames.s, frames.mask).select(frames.protein)
        _, gradient = energy_and_gradient(
            chains.energy, frames.x, create_graph=torch.is_grad_enabled()
        )
    return -gradient


def force_error(model: NemoModel, frames: FrameBatch) -> Tensor:
    """Mean over residues and components of the squared error of the forces, (kT/Angstrom)^2; shape (B,)."""
    squared = (model_forces(model, frames) - frames.forces) ** 2
    return squared.sum((-1, -2)) / (3 * frames.mask.sum(-1)[frames.protein])

"""Energies of many structures of one System, from a pool of OpenMM Contexts."""

import functools
import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import openmm as mm
import torch
from torch import Tensor

from openmm_nemo.engine.units import ANGSTROM_PER_NM, GAS_CONSTANT
from openmm_nemo.errors import InputError

ON_PROCESSOR = ("Reference", "CPU")
"""Platforms of which each thread gets its own Context; on a GPU one Context is enough."""


class EnergyPool:
    """Energies and gradients in parallel: OpenMM lets other threads of Python run while it computes.

    Parameters
    ----------
    system : openmm.System
    platform : str
        Name of OpenMM's platform. For tens of atoms Reference is the fastest.
    workers : int, optional
        Number of Contexts. Default: one per processor, or one on a GPU.

    Attributes
    ----------
    platform : openmm.Platform
    evaluations : int
        Number of energies since the beginning.
    failures : int
        Number of these that were not finite, or for which OpenMM raised an exception. They count as infinite.

    Raises
    ------
    InputError
        If there is no such platform.
    """

    def __init__(
        self, system: mm.System, platform: str = "Reference", workers: int | None = None
    ) -> None:
        try:
            found = mm.Platform.getPlatformByName(platform)
        except mm.OpenMMException:
            names = [
                mm.Platform.getPlatform(i).getName() for i in range(mm.Platform.getNumPlatforms())
            ]
            raise InputError(
                f"OpenMM has no platform {platform} here: choose one of {', '.join(names)}."
            ) from None
        self.platform = found
        on_processor = platform in ON_PROCESSOR
        workers = workers or ((os.cpu_count() or 1) if on_processor else 1)
        properties = {"Threads": "1"} if platform == "CPU" else {}
        self._contexts = [
            mm.Context(system, mm.VerletIntegrator(1e-3), found, properties) for _ in range(workers)
        ]
        self._threads = ThreadPoolExecutor(workers)
        self.evaluations = self.failures = 0

    def __call__(self, x: Tensor, temperature: float) -> Tensor:
        """Energies U/kT.

        Parameters
        ----------
        x : Tensor, shape (n, N, 3)
            Positions, Angstrom; gradients flow back to them.
        temperature : float
            Kelvin.

        Returns
        -------
        Tensor, shape (n,), float64
            Infinite where OpenMM finds no energy; the gradient is zero there.
        """
        energies: Tensor = _Energy.apply(x, self, GAS_CONSTANT * temperature)
        return energies

    def evaluate(self, x: np.ndarray, forces: bool) -> tuple[np.ndarray, np.ndarray]:
        """Energies (n,), kJ/mol, and forces (n, N, 3), kJ/mol/nm, at ``x (n, N, 3)``, nm; without ``forces`` zeros."""
        parts = np.array_split(x, len(self._contexts))
        found = list(
            self._threads.map(functools.partial(_evaluate, forces=forces), self._contexts, parts)
        )
        energies = np.concatenate([part[0] for part in found])
        self.evaluations += len(energies)
        self.failures += int((~np.isfinite(energies)).sum())
        return energies, np.concatenate([part[1] for part in found])


def _evaluate(context: mm.Context, x: np.ndarray, forces: bool) -> tuple[np.ndarray, np.ndarray]:
    energies, found = np.full(len(x), np.inf), np.zeros_like(x)
    for i, positions in enumerate(x):
        try:
            context.setPositions(positions)
            state = context.getState(energy=True, forces=forces)
        except mm.OpenMMException:  # such as "Particle coordinate is NaN"
            continue
        energy = state.getPotentialEnergy()._value
        force = state.getForces(asNumpy=True)._value if forces else found[i]
        if math.isfinite(energy) and np.isfinite(force).all():
            energies[i], found[i] = energy, force
    return energies, found


class _Energy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pool: EnergyPool, kt: float) -> Tensor:
        positions = x.detach().double().numpy() / ANGSTROM_PER_NM
        energies, forces = pool.evaluate(positions, forces=x.requires_grad)
        ctx.save_for_backward(torch.from_numpy(-forces / (ANGSTROM_PER_NM * kt)).to(x))
        return torch.from_numpy(energies / kt)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (per_angstrom,) = ctx.saved_tensors
        return gradient[:, None, None].to(per_angstrom) * per_angstrom, None, None

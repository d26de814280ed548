"""Simulations of windows, and controls of what the energy contributes to them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from openmm_nemo.dynamics import snapshots
from openmm_nemo.models.batch import ConditionedBatch


class Simulation(NamedTuple):
    """States of B chains of at most L residues after K numbers of steps; K = 1 for a baseline.

    Attributes
    ----------
    x : Tensor, shape (K, B, L, 3)
        Angstrom.
    energy : Tensor, shape (K, B)
        U at x, kT; NaN for a baseline.
    clipped : Tensor, shape (K, B)
        Share of the steps so far that hit the speed limit; NaN at step 0.
    """

    x: Tensor
    energy: Tensor
    clipped: Tensor


def simulate(
    batch: ConditionedBatch,
    steps: Sequence[int],
    seed: int,
    start: Tensor,
    energy: Callable[[Tensor], Tensor] | None = None,
) -> Simulation:
    """Simulate with the model's schedule for the last number of steps.

    Parameters
    ----------
    batch : ConditionedBatch
    steps : sequence of int
        K increasing numbers; the first is 0.
    seed : int
        Random seed of the noise.
    start : Tensor, shape (B, L, 3)
        Angstrom.
    energy : callable, optional
        Energy that moves the chains. Default: that of the model.
    """
    if batch.parameters is None:
        unknown = torch.full_like(start[None, :, 0, 0], torch.nan)
        return Simulation(start[None], unknown, unknown)
    schedule = batch.schedule(steps[-1])
    if energy is None:
        states = batch.snapshots(start, steps, seed, schedule)
    else:
        states = snapshots(energy, start, batch.parameters, steps, seed=seed, schedule=schedule)
    share = states.clipped / torch.tensor(steps)[:, None]
    return Simulation(states.x, torch.stack([batch.energy(x) for x in states.x]), share)


def no_energy(x: Tensor) -> Tensor:
    """Zero (B,), with a gradient of zero, at ``x (B, L, 3)``."""
    return 0 * x.sum((1, 2))

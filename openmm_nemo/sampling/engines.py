"""Engines of the sampling: last states of independent simulations of one protein."""

import openmm as mm
import torch
from torch import Tensor

from openmm_nemo.engine.forces import choose_backend
from openmm_nemo.engine.units import ANGSTROM_PER_NM
from openmm_nemo.models import ConditionedModel

STEPS_KEPT = 10
"""Number of steps whose states are in memory at once."""


def sample_with_torch(
    protein: ConditionedModel,
    seeds: range,
    steps: int,
    temperature: float = 300.0,
    anneal: bool = True,
) -> Tensor:
    """Last states of independent simulations, as one batch.

    Parameters
    ----------
    protein : ConditionedModel
    seeds : range
        Consecutive seeds, one per simulation.
    steps : int
    temperature : float
        Temperature, kelvin.
    anneal : bool
        Follow the model's schedule of temperature and step sizes; otherwise they are constant.

    Returns
    -------
    Tensor, shape (B, L, 3)
        Angstrom.
    """
    batch = protein.copies(len(seeds))
    x = batch.initial_positions(seeds[0])
    schedule = batch.schedule(steps) if anneal else None
    for first in range(0, steps, STEPS_KEPT):
        n_steps = min(STEPS_KEPT, steps - first)
        trajectory = batch.rollout(
            n_steps,
            x,
            seed=seeds[0],
            first_step=first,
            temperature=temperature,
            schedule=schedule,
        )
        x = trajectory.x[-1]
    return x


def sample_with_openmm(
    protein: ConditionedModel,
    seeds: range,
    steps: int,
    temperature: float = 300.0,
    anneal: bool = True,
) -> Tensor:
    """As `sample_with_torch`, in OpenMM, one simulation after another.

    Uses one thread, and positions in double precision: the Reference platform, which every OpenMM has, because most of
    the time is spent in the network; or the CPU platform, whose kernels are much faster, if the plugin computes the
    energy.
    """
    schedule = protein.schedule(steps) if anneal and steps else None
    integrator = protein.create_integrator(temperature, schedule=schedule)
    system = protein.create_system()
    if choose_backend("auto", "CPU", protein.require_energy()) == "native":
        cpu = mm.Platform.getPlatformByName("CPU")
        context = mm.Context(system, integrator, cpu, {"Threads": "1"})
    else:
        context = mm.Context(system, integrator, mm.Platform.getPlatformByName("Reference"))
    context.setPositions(protein.initial_positions())
    start = context.createCheckpoint()
    x = []
    for seed in seeds:
        context.loadCheckpoint(start)  # including the step counter, on which the noise depends
        context.setPositions(protein.initial_positions(seed))
        integrator.setRandomNumberSeed(seed)
        integrator.step(steps)
        positions = context.getState(positions=True).getPositions(asNumpy=True)._value
        x.append(torch.from_numpy(positions * ANGSTROM_PER_NM).to(protein.z0))
    return torch.stack(x)


ENGINES = {"torch": sample_with_torch, "openmm": sample_with_openmm}


def minimised(protein: ConditionedModel, x: Tensor, steps: int, batch_size: int) -> Tensor:
    """States after a minimisation, where it lowers U, and otherwise as they were.

    Parameters
    ----------
    protein : ConditionedModel
    x : Tensor, shape (B, L, 3)
        Angstrom.
    steps : int
        See `openmm_nemo.dynamics.minimisation.minimise`.
    batch_size : int
        Number of states that are minimised at once.

    Returns
    -------
    Tensor, shape (B, L, 3)
        Angstrom.
    """
    found = []
    for start in x.split(batch_size):
        batch = protein.copies(len(start))
        (lower,), (energy,) = batch.minimised(start, [steps])
        lowered = energy < batch.energy(start)
        found.append(torch.where(lowered[:, None, None], lower, start))
    return torch.cat(found)

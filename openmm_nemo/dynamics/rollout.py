"""Roll-out of the simulator: many steps of Langevin dynamics, differentiable end to end (nemo.md section 5)."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from openmm_nemo.dynamics.noise import Noise
from openmm_nemo.dynamics.schedule import Schedule, scaled
from openmm_nemo.dynamics.steps import INTEGRATORS, StepOptions, StepParameters

MODEL_TEMPERATURE = 300.0
"""Temperature, kelvin, of the kT in which the model's energies U are expressed."""

Energy = Callable[[Tensor], Tensor]


class Trajectory(NamedTuple):
    """States of a roll-out, the initial one first.

    Attributes
    ----------
    x : Tensor, shape (S+1, B, L, 3)
        Positions, Angstrom.
    energy : Tensor, shape (S, B)
        U before each of the S steps, kT.
    clipped : Tensor, shape (S, B), bool
        Steps that hit the speed limit.
    largest_displacement : Tensor, shape (S, B)
        Angstrom.
    """

    x: Tensor
    energy: Tensor
    clipped: Tensor
    largest_displacement: Tensor


class Snapshots(NamedTuple):
    """States of simulations after K numbers of steps.

    Attributes
    ----------
    x : Tensor, shape (K, B, L, 3)
        Positions, Angstrom.
    clipped : Tensor, shape (K, B)
        Number of steps so far that hit the speed limit.
    """

    x: Tensor
    clipped: Tensor


def _ordinary(x: Tensor) -> Tensor:
    """``x``, or a copy if it was made in inference mode, where no gradients can be computed."""
    return x.clone() if x.is_inference() else x


def energy_and_gradient(
    energy: Energy, x: Tensor, create_graph: bool = False
) -> tuple[Tensor, Tensor]:
    """U (B,) and grad_x U (B, L, 3) at ``x (B, L, 3)``; differentiable again with ``create_graph``."""
    with torch.inference_mode(False), torch.enable_grad():
        if not x.requires_grad:
            x = _ordinary(x.detach()).requires_grad_()
        u = energy(x)
        (gradient,) = torch.autograd.grad(u.sum(), x, create_graph=create_graph)
    return (u, gradient) if create_graph else (u.detach(), gradient)


def rollout(
    energy: Energy,
    x0: Tensor,
    parameters: StepParameters,
    n_steps: int,
    *,
    seed: int = 0,
    first_step: int = 0,
    temperature: float = MODEL_TEMPERATURE,
    integrator: str = "mixed",
    options: StepOptions | None = None,
    schedule: Schedule | None = None,
    differentiable: bool = False,
) -> Trajectory:
    """Simulate a batch of chains.

    Parameters
    ----------
    energy : callable
        Maps positions (B, L, 3) in Angstrom to energies (B,) in kT at 300 K.
    x0 : Tensor, shape (B, L, 3)
        Initial positions, Angstrom.
    parameters : StepParameters
    n_steps : int
        Number of steps S.
    seed : int
        Random seed. Chain b of the batch uses ``seed + b`` and moves as it would alone, here or in OpenMM. The seeds of
        independent batches must be at least B apart.
    first_step : int
        Number of the first step, to continue an earlier roll-out.
    temperature : float
        Temperature, kelvin.
    integrator : str
        A key of `openmm_nemo.dynamics.steps.INTEGRATORS`: "direct", "transform" or "mixed".
    options : StepOptions, optional
        Default: the paper's options.
    schedule : Schedule, optional
        Factors of the temperature and the step sizes. Default: 1 at all times.
    differentiable : bool
        Keep the graph, so that gradients flow from every state to ``x0``, ``parameters`` and the energy's parameters.

    Returns
    -------
    Trajectory
    """
    step = INTEGRATORS[integrator]
    options = options or StepOptions()
    anneal = schedule or Schedule(n_steps, 1.0, 1.0)
    noise = Noise.consecutive(seed, x0, stop=first_step + n_steps)
    x = x0 if differentiable else x0.detach()
    states, energies, clipped, largest = [x], [], [], []
    with torch.inference_mode(False), torch.set_grad_enabled(differentiable):
        for t in range(n_steps):
            factor = anneal.factor(first_step + t)
            scale = MODEL_TEMPERATURE / (temperature * factor)
            u, gradient = energy_and_gradient(energy, x, create_graph=differentiable)
            steps = parameters if factor == 1 else scaled(parameters, factor)
            numbers = noise.at(first_step + t).to(x0.dtype)
            result = step(x, scale * gradient, numbers, steps, options)
            x = result.x
            states.append(x)
            energies.append(u)
            clipped.append(result.clipped)
            largest.append(result.largest_displacement)
    return Trajectory(
        torch.stack(states), torch.stack(energies), torch.stack(clipped), torch.stack(largest)
    )


def snapshots(
    energy: Energy,
    x0: Tensor,
    parameters: StepParameters,
    steps: Sequence[int],
    *,
    seed: int,
    schedule: Schedule,
) -> Snapshots:
    """States of a simulation without gradients, of which only some are kept.

    Parameters
    ----------
    energy, x0, parameters, seed, schedule
        As for `rollout`.
    steps : sequence of int
        K increasing numbers of steps.

    Returns
    -------
    Snapshots
    """
    x, clipped = x0.detach(), x0.new_zeros(len(x0))
    states, counts = [], []
    for before, after in pairwise((0, *steps)):
        if after > before:
            trajectory = rollout(
                energy,
                x,
                parameters,
                after - before,
                seed=seed,
                first_step=before,
                schedule=schedule,
            )
            x, clipped = trajectory.x[-1], clipped + trajectory.clipped.sum(0)
        states.append(x)
        counts.append(clipped)
    return Snapshots(torch.stack(states), torch.stack(counts))

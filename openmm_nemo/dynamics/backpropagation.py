"""Back-propagation through long roll-outs: recomputed steps, damped gradients (nemo.md section 7; paper, B.4)."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from openmm_nemo.dynamics.noise import Noise
from openmm_nemo.dynamics.rollout import MODEL_TEMPERATURE, energy_and_gradient
from openmm_nemo.dynamics.schedule import Schedule, scaled
from openmm_nemo.dynamics.steps import INTEGRATORS, StepOptions, StepParameters, StepResult

CoefficientEnergy = Callable[..., Tensor]
"""U (B,) as a function of positions (B, L, 3) and the coefficients, in this order."""


class GradientGrowth:
    """Growth of the gradient in each step of a roll-out, measured during back-propagation.

    Attributes
    ----------
    log_growth : list of Tensor, shape (B,)
        log(|J^T g| / |g|) before damping, last step first; g is the gradient of the loss with respect to the step's
        result and J the step's Jacobian.
    norms : list of Tensor, shape (B,)
        |g| at the same steps, with the damping of all later ones, 1/Angstrom.
    """

    def __init__(self) -> None:
        self.log_growth: list[Tensor] = []
        self.norms: list[Tensor] = []

    def mean(self) -> float:
        """Mean over steps and chains, nats per step; NaN if a gradient was not finite or nothing was measured."""
        return float(torch.stack(self.log_growth).mean()) if self.log_growth else math.nan


class AdaptiveDamping:
    """Damping factor gamma that cancels the mean growth of the gradient (paper, Algorithm 4).

    Parameters
    ----------
    smallest : float
        gamma stays between this and 1.
    memory : float
        Weight of earlier measurements in the running mean of the growth.
    """

    def __init__(self, smallest: float = 0.8, memory: float = 0.9) -> None:
        self.smallest = smallest
        self.memory = memory
        self.log_growth = 0.0

    @property
    def factor(self) -> float:
        """gamma for the next roll-out."""
        return min(1.0, max(self.smallest, math.exp(-self.log_growth)))

    def update(self, measured: float) -> None:
        """Take a measurement of `GradientGrowth.mean` into account.

        It is limited to what damping can cancel, in both directions, so that a single roll-out is soon forgotten. A
        measurement that is not finite counts as the largest growth.
        """
        limit = -math.log(self.smallest)
        measured = max(-limit, min(limit, measured)) if math.isfinite(measured) else limit
        self.log_growth = self.memory * self.log_growth + (1 - self.memory) * measured


class _Recipe(NamedTuple):
    """What a step needs besides the tensors that have gradients."""

    energy: CoefficientEnergy
    temperature: float
    factor: float
    step: Callable[..., StepResult]
    mask: Tensor
    options: StepOptions

    def __call__(
        self, x: Tensor, noise: Tensor, parameters: Sequence[Tensor], coefficients: Sequence[Tensor]
    ) -> Tensor:
        _, gradient = energy_and_gradient(
            lambda x: self.energy(x, *coefficients), x, create_graph=torch.is_grad_enabled()
        )
        steps = StepParameters._make((*parameters, self.mask))
        if self.factor != 1:
            steps = scaled(steps, self.factor)
        return self.step(
            x,
            MODEL_TEMPERATURE / (self.temperature * self.factor) * gradient,
            noise,
            steps,
            self.options,
        ).x


_N_PARAMETERS = len(StepParameters._fields) - 1


class _RecomputedStep(torch.autograd.Function):
    """A step that stores only its input and is recomputed when its gradient is needed."""

    @staticmethod
    def forward(
        ctx: Any,
        recipe: _Recipe,
        weights: list[Tensor],
        damping: float,
        growth: GradientGrowth | None,
        noise: Tensor,
        x: Tensor,
        *tensors: Tensor,
    ) -> Tensor:
        ctx.recipe, ctx.weights, ctx.damping, ctx.growth = recipe, weights, damping, growth
        inputs = tensors[: len(tensors) - len(weights)]
        ctx.save_for_backward(noise, x, *inputs)
        with torch.no_grad():
            return recipe(x, noise, inputs[:_N_PARAMETERS], inputs[_N_PARAMETERS:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        noise, x, *inputs = ctx.saved_tensors
        (gradient,) = gradients
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            inputs = [tensor.detach().requires_grad_() for tensor in inputs]
            y = ctx.recipe(x, noise, inputs[:_N_PARAMETERS], inputs[_N_PARAMETERS:])
            found = torch.autograd.grad(y, [x, *inputs, *ctx.weights], gradient, allow_unused=True)
        if ctx.growth is not None:
            before, after = (g.flatten(1).norm(dim=1) for g in (found[0], gradient))
            ctx.growth.norms.append(after)
            # A chain without a gradient shows no growth.
            ctx.growth.log_growth.append((before.clamp_min(1e-30) / after.clamp_min(1e-30)).log())
        return None, None, None, None, None, ctx.damping * found[0], *found[1:]


def trainable_rollout(
    energy: CoefficientEnergy,
    coefficients: Sequence[Tensor],
    weights: Iterable[Tensor],
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
    damping: float = 1.0,
    growth: GradientGrowth | None = None,
) -> Tensor:
    """Simulate a batch of chains as `openmm_nemo.dynamics.rollout` does, for training.

    Only the states and the activations of one step are held in memory, because every step is recomputed in the backward
    pass. Everything that needs a gradient is passed explicitly, because a recomputed step is not part of the graph.

    Parameters
    ----------
    energy : callable
        Maps positions (B, L, 3), Angstrom, and the coefficients to energies (B,), kT. Must be a pure function: no
        dropout, and no updates of running statistics.
    coefficients : sequence of Tensor
        Outputs of other networks, passed to ``energy``.
    weights : iterable of Tensor
        Leaf tensors that ``energy`` reads besides its arguments, such as the parameters of its network.
    x0 : Tensor, shape (B, L, 3)
        Angstrom.
    parameters, n_steps, seed, first_step, temperature, integrator, options, schedule
        See `openmm_nemo.dynamics.rollout`.
    damping : float
        gamma: fraction of its incoming gradient that a step passes on, from 0 (exclusive) to 1.
    growth : GradientGrowth, optional
        Records the growth of the gradient.

    Returns
    -------
    Tensor, shape (S+1, B, L, 3)
        States, the initial one first, Angstrom.
    """
    recipe = _Recipe(
        energy,
        temperature,
        1.0,
        INTEGRATORS[integrator],
        parameters.mask,
        options or StepOptions(),
    )
    leaves = [weight for weight in weights if weight.requires_grad]
    tensors = [*parameters[:_N_PARAMETERS], *coefficients, *leaves]
    noise = Noise.consecutive(seed, x0, stop=first_step + n_steps)
    states = [x0]
    for t in range(n_steps):
        numbers = noise.at(first_step + t).to(x0)
        if schedule is not None:
            recipe = recipe._replace(factor=schedule.factor(first_step + t))
        states.append(
            _RecomputedStep.apply(recipe, leaves, damping, growth, numbers, states[-1], *tensors)
        )
    return torch.stack(states)


def perturbation_growth(
    step: Callable[[Tensor], Tensor], x: Tensor, mask: Tensor, generator: torch.Generator
) -> Tensor:
    """Growth of a small perturbation in a step (paper, eq. 13).

    Parameters
    ----------
    step : callable
        Maps positions (B, L, 3), Angstrom, to those after the step, with the same noise on every call.
    x : Tensor, shape (B, L, 3)
    mask : Tensor, shape (B, L)
    generator : torch.Generator
        Draws the perturbation, which is normal with a standard deviation of 0.01 Angstrom.

    Returns
    -------
    Tensor, shape (B,)
        log(|F(x) - F(x + delta)| / |delta|).
    """
    delta = 0.01 * torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x)
    delta = delta * mask.unsqueeze(-1)
    moved = (step(x + delta) - step(x)) * mask.unsqueeze(-1)
    # The square root has no gradient at zero.
    return 0.5 * ((moved**2).sum((1, 2)).clamp_min(1e-20) / (delta**2).sum((1, 2))).log()

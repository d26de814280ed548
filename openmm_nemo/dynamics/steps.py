"""One step of overdamped Langevin dynamics of a chain (nemo.md section 5; paper, Algorithms 1-3).

All steps are functions of the positions, the gradient of the energy there and the noise. They are differentiable, and a
batch of padded chains gives the same numbers as each chain alone.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from openmm_nemo.geometry import (
    ChainAxes,
    cartesian_to_internal,
    chain_axes,
    detrend,
    detrend_rigidly,
    internal_to_cartesian,
    jacobian_product,
    jacobian_transpose_product,
    log_volume_gradient,
    rigid_frame,
)


class StepParameters(NamedTuple):
    """Step sizes and preconditioners of a batch of chains.

    Attributes
    ----------
    cartesian_step : Tensor, shape (B,)
        eps_x: variance of the Cartesian noise per step where C = 1, Angstrom^2.
    internal_step : Tensor, shape (B,)
        eps_z: the same for the internal coordinates, in the units of z.
    cartesian_preconditioner : Tensor, shape (B, L)
        C_x, non-negative; 0 in padding.
    internal_preconditioner : Tensor, shape (B, L, 3)
        C_z, non-negative; 0 in padding.
    mask : Tensor, shape (B, L)
        1 for residues, 0 for padding.
    """

    cartesian_step: Tensor
    internal_step: Tensor
    cartesian_preconditioner: Tensor
    internal_preconditioner: Tensor
    mask: Tensor


class StepOptions(NamedTuple):
    """What a step does beyond the plain discretisation.

    Attributes
    ----------
    max_displacement : float
        Speed limit of the internal step, Angstrom: largest displacement of a point after removal of rigid motion. inf:
        no limit.
    detrend : bool
        Remove net translation and rotation from every step.
    measure_correction : bool
        Add grad_z log|det dx/dz| to the internal drift, so that the internal step also targets exp(-U) dx. Detrending
        then rotates the chain back as a rigid body, because the paper's linear form biases the distribution.
    """

    max_displacement: float = 2.0
    detrend: bool = True
    measure_correction: bool = False


class StepResult(NamedTuple):
    """Outcome of one step.

    Attributes
    ----------
    x : Tensor, shape (B, L, 3)
        New positions, Angstrom.
    clipped : Tensor, shape (B,), bool
        Whether the speed limit was hit.
    largest_displacement : Tensor, shape (B,)
        Largest displacement of a point in the whole step, Angstrom.
    """

    x: Tensor
    clipped: Tensor
    largest_displacement: Tensor


def _langevin(gradient: Tensor, noise: Tensor, variance: Tensor) -> Tensor:
    """Euler-Maruyama: -(variance / 2) gradient + sqrt(variance) noise; the square root is safe at 0."""
    moves = variance > 0
    scale = torch.where(moves, variance, torch.ones_like(variance)).sqrt()
    return torch.where(moves, scale * noise - 0.5 * variance * gradient, torch.zeros_like(noise))


def cartesian_displacement(gradient: Tensor, noise: Tensor, parameters: StepParameters) -> Tensor:
    """Cartesian step (5.1), shape (B, L, 3), Angstrom.

    Parameters
    ----------
    gradient : Tensor, shape (B, L, 3)
        grad_x U, kT per Angstrom.
    noise : Tensor, shape (B, L, 3)
    parameters : StepParameters
    """
    variance = (
        parameters.cartesian_step.view(-1, 1, 1) * parameters.cartesian_preconditioner[..., None]
    )
    return _langevin(gradient, noise, variance.expand_as(gradient))


def _internal_change(
    x: Tensor, gradient: Tensor, noise: Tensor, parameters: StepParameters, options: StepOptions
) -> tuple[Tensor, ChainAxes, Tensor]:
    """Internal step (5.2) under the speed limit: dz (B, L, 3), the axes at x, and whether it was clipped (B,)."""
    axes = chain_axes(x)
    mask = parameters.mask
    gradient_z = jacobian_transpose_product(axes, gradient * mask[..., None])
    if options.measure_correction:
        gradient_z = gradient_z - log_volume_gradient(x)
    variance = parameters.internal_step.view(-1, 1, 1) * parameters.internal_preconditioner
    dz = _langevin(gradient_z, noise, variance)
    if math.isinf(options.max_displacement):
        return dz, axes, torch.zeros_like(x[:, 0, 0], dtype=torch.bool)
    speed = _largest(detrend(x, jacobian_product(axes, dz) * mask[..., None], mask))
    scale = (options.max_displacement / speed.clamp_min(options.max_displacement)).view(-1, 1, 1)
    return dz * scale, axes, speed > options.max_displacement


def _heun(x: Tensor, dz: Tensor, axes: ChainAxes) -> Tensor:
    """Displacement of the transform integrator (5.4): Heun's method on the Jacobian."""
    predictor = jacobian_product(axes, dz)
    return 0.5 * (predictor + jacobian_product(chain_axes(x + predictor), dz))


def _largest(dx: Tensor) -> Tensor:
    """Largest displacement of a point, shape (B,)."""
    # The gradient of a norm is undefined at zero; no other displacement is that small.
    return ((dx * dx).sum(-1).amax(-1) + 1e-24).sqrt()


def _finish(
    x: Tensor, dx: Tensor, clipped: Tensor, mask: Tensor, options: StepOptions
) -> StepResult:
    dx = dx * mask.unsqueeze(-1)
    if options.detrend:
        remove = detrend_rigidly if options.measure_correction else detrend
        dx = remove(x, dx, mask)
    return StepResult(x + dx, clipped, _largest(dx))


def direct_step(
    x: Tensor, gradient: Tensor, noise: Tensor, parameters: StepParameters, options: StepOptions
) -> StepResult:
    """Internal step that rebuilds the chain: x' = F(z + dz) (5.3; Algorithm 1). Exact, and sequential in principle.

    Parameters
    ----------
    x : Tensor, shape (B, L, 3)
        Positions, Angstrom.
    gradient : Tensor, shape (B, L, 3)
        grad_x U at x, kT per Angstrom.
    noise : Tensor, shape (B, L, 2, 3)
        Standard normal numbers, see `openmm_nemo.dynamics.noise.langevin_noise`.
    parameters : StepParameters
    options : StepOptions
    """
    dz, _, clipped = _internal_change(x, gradient, noise[..., 1, :], parameters, options)
    rebuilt = internal_to_cartesian(cartesian_to_internal(x) + dz, *rigid_frame(x))
    return _finish(x, rebuilt - x, clipped, parameters.mask, options)


def transform_step(
    x: Tensor, gradient: Tensor, noise: Tensor, parameters: StepParameters, options: StepOptions
) -> StepResult:
    """Internal step by Heun's method on the Jacobian (5.4; Algorithm 2). Parameters as for `direct_step`."""
    dz, axes, clipped = _internal_change(x, gradient, noise[..., 1, :], parameters, options)
    return _finish(x, _heun(x, dz, axes), clipped, parameters.mask, options)


def mixed_step(
    x: Tensor, gradient: Tensor, noise: Tensor, parameters: StepParameters, options: StepOptions
) -> StepResult:
    """Cartesian step, then a transform step from there with the same gradient (5.5; Algorithm 3).

    Parameters as for `direct_step`. One gradient per step; this is "mixed" in `INTEGRATORS`.
    """
    cartesian = cartesian_displacement(gradient, noise[..., 0, :], parameters)
    y = x + cartesian
    dz, axes, clipped = _internal_change(y, gradient, noise[..., 1, :], parameters, options)
    return _finish(x, cartesian + _heun(y, dz, axes), clipped, parameters.mask, options)


Step = Callable[[Tensor, Tensor, Tensor, StepParameters, StepOptions], StepResult]

INTEGRATORS: dict[str, Step] = {
    "direct": direct_step,
    "transform": transform_step,
    "mixed": mixed_step,
}

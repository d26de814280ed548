"""Denoising score matching: forces should undo noise that is added to the data (nemo.md, 6).

Noise of size s turns data into a density q(x~) = E[k(x~ | x)] with a known kernel k, and the score grad log q is the
mean of grad log k over the data that x~ may come from. So -grad U, fitted by least squares to grad log k, learns
grad log q without simulation or normalisation (Vincent, Neural Computation 23, 1661, 2011). With several sizes and
errors times s (Song & Ermon, NeurIPS 2019), an energy that does not know the size learns the score of a mixture of
the densities of all sizes, with weights that are proportional to s^2.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from openmm_nemo.dynamics import energy_and_gradient
from openmm_nemo.dynamics.rollout import Energy
from openmm_nemo.geometry import cartesian_to_internal, internal_to_cartesian
from openmm_nemo.geometry.jacobian import chain_axes, jacobian_transpose_product
from openmm_nemo.geometry.padding import without_padding

TURNS = 4
"""Number of full turns, in both directions, that the wrapped normal density sums over."""


def cartesian_error(energy: Energy, x: Tensor, mask: Tensor, sizes: Sequence[float]) -> Tensor:
    """Mean of |s grad U(x + s e) - e|^2 over residues and components, with normal e; shape (B,).

    It is 1 on average without an energy. Noise includes rigid motions, which no energy can see, so that it is at least
    2 / L.

    Parameters
    ----------
    energy : callable
        Maps positions (B, L, 3), Angstrom, to energies (B,), kT.
    x : Tensor, shape (B, L, 3)
        Positions of the data, Angstrom.
    mask : Tensor, shape (B, L)
    sizes : sequence of float
        Standard deviations s, Angstrom; each chain draws one.
    """
    size = _draw(sizes, x)
    noise = torch.randn_like(x)
    noised = without_padding(x, mask) + size * noise
    gradient = _gradient(energy, noised)
    squared = (size * gradient - noise) ** 2 * mask.unsqueeze(-1)
    return squared.sum((1, 2)) / (3 * mask.sum(1))


def internal_error(energy: Energy, x: Tensor, mask: Tensor, sizes: Sequence[float]) -> Tensor:
    """The same for noise of the unconstrained angles and the dihedrals, mean over these; shape (B,).

    Bonds keep their lengths. The gradient is that by z, J^T grad_x U, whose negative is the drift of the internal step;
    the density is that in z, which the internal step leaves invariant (nemo.md, 5.6). Dihedrals are periodic, and so is
    their kernel.

    Parameters
    ----------
    energy : callable
        Maps positions (B, L, 3), Angstrom, to energies (B,), kT.
    x : Tensor, shape (B, L, 3)
        Positions of the data, Angstrom.
    mask : Tensor, shape (B, L)
    sizes : sequence of float
        Standard deviations of a~ and of d, radian; each chain draws one.
    """
    size = _draw(sizes, x)
    row = torch.arange(x.shape[1], device=x.device)
    defined = torch.stack([row < 0, row > 1, row > 2], dim=-1) * mask.unsqueeze(-1)
    noise = torch.randn_like(x) * defined
    noised = internal_to_cartesian(cartesian_to_internal(without_padding(x, mask)) + size * noise)
    gradient = jacobian_transpose_product(chain_axes(noised), _gradient(energy, noised))
    dihedral = -size[..., 0] * wrapped_score(size[..., 0] * noise[..., 2], size[..., 0])
    target = torch.cat([noise[..., :2], dihedral.unsqueeze(-1)], dim=-1)
    squared = (size * gradient - target) ** 2 * defined
    return squared.sum((1, 2)) / defined.sum((1, 2))


def wrapped_score(turn: Tensor, size: Tensor) -> Tensor:
    """d/dt log sum_k exp(-(t + 2 pi k)^2 / 2 s^2): score of the wrapped normal density, per radian.

    Parameters
    ----------
    turn : Tensor, shape (...)
        t, radian.
    size : Tensor, shape (...)
        s, radian, up to about pi, where the density is almost uniform.
    """
    nearest = torch.remainder(turn + math.pi, 2 * math.pi) - math.pi
    turns = 2 * math.pi * torch.arange(-TURNS, TURNS + 1, device=turn.device, dtype=turn.dtype)
    images, variance = nearest.unsqueeze(-1) + turns, (size * size).unsqueeze(-1)
    weights = torch.softmax(-(images**2) / (2 * variance), dim=-1)
    return -(weights * images / variance).sum(-1)


def _draw(sizes: Sequence[float], x: Tensor) -> Tensor:
    """One of the sizes for each chain: (B, 1, 1)."""
    number = torch.randint(len(sizes), (len(x), 1, 1), device=x.device)
    return torch.tensor(sizes, dtype=x.dtype, device=x.device)[number]


def _gradient(energy: Energy, x: Tensor) -> Tensor:
    """grad_x U, differentiable by the weights of the energy."""
    return energy_and_gradient(energy, x, create_graph=torch.is_grad_enabled())[1]

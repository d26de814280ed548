"""Rigid-body motion of a set of points with unit masses: removing it from a displacement (nemo.md 5.5; paper, A.3)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from openmm_nemo.geometry.vectors import cross, length


def centre(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the points that count, shape (..., 1, 3).

    Parameters
    ----------
    x : Tensor, shape (..., L, 3)
    mask : Tensor, shape (..., L)
        1 for points that count, 0 for padding.
    """
    weight = mask.unsqueeze(-1)
    return (x * weight).sum(-2, keepdim=True) / weight.sum(-2, keepdim=True).clamp_min(1)


def angular_velocity(x: Tensor, dx: Tensor, mask: Tensor) -> Tensor:
    """Rotation vector with the angular momentum of the displacement: I^-1 sum (x - x_mean) x dx.

    Parameters
    ----------
    x, dx : Tensor, shape (..., L, 3)
        Positions and their displacement, Angstrom.
    mask : Tensor, shape (..., L)
        1 for points that count, 0 for padding.

    Returns
    -------
    Tensor, shape (..., 3)
        Radian; zero about an axis on which all points lie.
    """
    arm = (x - centre(x, mask)) * mask.unsqueeze(-1)
    momentum = cross(arm, dx).sum(-2)
    outer = arm.transpose(-1, -2) @ arm
    trace = outer.diagonal(dim1=-2, dim2=-1).sum(-1)
    # The ridge is at rounding level; it makes the tensor of collinear points and of a single point invertible.
    rounding = 2e-15 if x.dtype == torch.float64 else 1e-6
    ridge = rounding * trace + 1e-15
    identity = torch.eye(3, dtype=x.dtype, device=x.device)
    inertia = (trace + ridge)[..., None, None] * identity - outer
    return torch.linalg.solve(inertia, momentum)


def detrend(x: Tensor, dx: Tensor, mask: Tensor) -> Tensor:
    """Displacement without its net translation and net rotation.

    Parameters
    ----------
    x, dx : Tensor, shape (..., L, 3)
        Positions and their displacement, Angstrom.
    mask : Tensor, shape (..., L)
        1 for points that count, 0 for padding.

    Returns
    -------
    Tensor, shape (..., L, 3)
        Its momentum and angular momentum are zero; so are the rows of padding.
    """
    dx = dx - centre(dx, mask)
    omega = angular_velocity(x, dx, mask).unsqueeze(-2)
    return (dx - cross(omega, x - centre(x, mask))) * mask.unsqueeze(-1)


def rotate(v: Tensor, rotation_vector: Tensor) -> Tensor:
    """Rotate vectors by the exponential map (Rodrigues' formula).

    Parameters
    ----------
    v : Tensor, shape (..., L, 3)
    rotation_vector : Tensor, shape (..., 3)
        Axis times angle, radian.

    Returns
    -------
    Tensor, shape (..., L, 3)
    """
    w = rotation_vector.unsqueeze(-2)
    angle = length(w).unsqueeze(-1) / math.pi  # its floor changes nothing: 1 - sinc is 1e-13 there
    once = cross(w, v)
    return v + torch.sinc(angle) * once + 0.5 * torch.sinc(angle / 2) ** 2 * cross(w, once)


def detrend_rigidly(x: Tensor, dx: Tensor, mask: Tensor) -> Tensor:
    """Displacement that leads to the same shape as ``dx``, moved back by a rigid-body motion.

    `detrend` subtracts the rotation as a linear displacement, which changes distances at second order in the
    rotation, the order of the drift of Langevin dynamics: it biases what is sampled. Here the displaced points are
    moved back by a true rotation, so that every distance of x + dx is kept.

    Parameters and return value are those of `detrend`; the net angular momentum is zero to first order only.
    """
    mean = centre(x, mask)
    target = x + dx
    target = target - centre(target, mask)
    omega = angular_velocity(x, dx - centre(dx, mask), mask)
    return (rotate(target, -omega) + mean - x) * mask.unsqueeze(-1)


def rotation_of_numbers(numbers: Tensor) -> Tensor:
    """Rotations that are uniformly distributed if the numbers are: quaternions of Shoemake (Graphics Gems III, 1992).

    Parameters
    ----------
    numbers : Tensor, shape (..., 3)
        Between 0 and 1.

    Returns
    -------
    Tensor, shape (..., 3, 3)
        Matrices that turn column vectors.
    """
    share, first, second = numbers.unbind(-1)
    first, second = 2 * math.pi * first, 2 * math.pi * second
    x, y = (1 - share).sqrt() * first.sin(), (1 - share).sqrt() * first.cos()
    z, w = share.sqrt() * second.sin(), share.sqrt() * second.cos()
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], dim=-1),
        torch.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], dim=-1),
        torch.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def side_by_side(chains: Sequence[Tensor], gap: float) -> list[Tensor]:
    """Chains along a line, each as near to those before it as they come without being turned.

    Parameters
    ----------
    chains : sequence of Tensor, shape (L, 3)
        Positions, centred at the origin.
    gap : float
        Smallest distance between points of different chains.

    Returns
    -------
    list of Tensor, shape (L, 3)
        The first chain is where it was, the others are moved along the first axis.
    """
    placed = [chains[0]]
    for chain in chains[1:]:
        apart = torch.cat(placed).unsqueeze(1) - chain
        # A point passes another one at a distance; beyond it, it is in front of it.
        beside = (apart[..., 1:] ** 2).sum(-1)
        ahead = apart[..., 0] + (gap * gap - beside).clamp_min(0).sqrt()
        shift = ahead[beside < gap * gap].max() if (beside < gap * gap).any() else ahead.max()
        placed.append(chain + shift * torch.tensor([1.0, 0.0, 0.0]).to(chain))
    return placed

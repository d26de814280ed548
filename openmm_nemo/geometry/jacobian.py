"""Products with the robot-arm Jacobian dx/dz in O(L), by prefix and suffix sums (nemo.md section 2; paper, A.1).

A change of the internal coordinates of row j turns and shifts all points from j on. From bond to bond, this is
    d(x[k] - x[k-1]) = u dz_b[k] + Omega[k] x (x[k] - x[k-1]),   Omega[k] = sum of the rotations of rows 1 ... k,
so J dz is two nested prefix sums and J^T f two nested suffix sums. Only bond vectors enter, never positions, so float32
loses nothing to lever arms far from the origin.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from openmm_nemo.geometry.internal import bond_directions
from openmm_nemo.geometry.vectors import cross, dot, length, place_rows, suffix_sum, unit


class ChainAxes(NamedTuple):
    """Effect of each internal coordinate; all of shape (..., L, 3), zero for the rigid-body coordinates.

    Attributes
    ----------
    bond : Tensor
        Row j: x[j] - x[j-1], Angstrom.
    stretch : Tensor
        Row j: translation of the points from j on per unit of b~[j].
    bend : Tensor
        Row j: rotation vector (about x[j-1]) of the points from j on per unit of a~[j].
    twist : Tensor
        Row j: rotation vector (about x[j-1]) of the points from j on per radian of d[j].
    """

    bond: Tensor
    stretch: Tensor
    bend: Tensor
    twist: Tensor


def chain_axes(x: Tensor) -> ChainAxes:
    """Axes of the internal coordinates at ``x (..., L, 3)``, Angstrom."""
    n = x.shape[-2]
    u, b = bond_directions(x)
    normal = cross(u[..., :-1, :], u[..., 1:, :])
    a = torch.atan2(length(normal), -dot(u[..., :-1, :], u[..., 1:, :]))
    db = -torch.expm1(-b)  # db/db~ = sigmoid(b~)
    da = a * (math.pi - a) / math.pi  # da/da~
    return ChainAxes(
        bond=place_rows(u * b.unsqueeze(-1), 1, n),
        stretch=place_rows(u * db.unsqueeze(-1), 1, n),
        bend=place_rows(-unit(normal) * da.unsqueeze(-1), 2, n),
        twist=place_rows(u[..., 1:-1, :], 3, n),
    )


def jacobian_product(axes: ChainAxes, dz: Tensor) -> Tensor:
    """J dz: the displacement of the points for a change of the internal coordinates.

    Parameters
    ----------
    axes : ChainAxes
    dz : Tensor, shape (..., L, 3)
        Change of (b~, a~, d); the rigid-body entries are not read.

    Returns
    -------
    Tensor, shape (..., L, 3)
        Angstrom; x[0] stays where it is.
    """
    rotation = (axes.bend * dz[..., 1:2] + axes.twist * dz[..., 2:3]).cumsum(-2)
    return (axes.stretch * dz[..., 0:1] + cross(rotation, axes.bond)).cumsum(-2)


def jacobian_transpose_product(axes: ChainAxes, f: Tensor) -> Tensor:
    """J^T f: forces on the internal coordinates from forces on the points.

    Parameters
    ----------
    axes : ChainAxes
    f : Tensor, shape (..., L, 3)
        Forces (or gradients) per Angstrom.

    Returns
    -------
    Tensor, shape (..., L, 3)
        Forces on (b~, a~, d); zero for the rigid-body coordinates.
    """
    downstream = suffix_sum(f)
    torque = suffix_sum(cross(axes.bond, downstream))
    return torch.stack(
        [dot(axes.stretch, downstream), dot(axes.bend, torque), dot(axes.twist, torque)], dim=-1
    )

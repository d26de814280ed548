"""Volume element of the map from unconstrained internal coordinates to positions (nemo.md sections 2 and 5.6)."""

import math

import torch
from torch import Tensor

from openmm_nemo.geometry.internal import bond_angles
from openmm_nemo.geometry.vectors import place_rows


def log_volume(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """log |det dx/dz| modulo rigid motions, with z = (b~, a~, d) unconstrained.

    sum 2 log b + sum log sin a + sum log(db/db~) + sum log(da/da~).

    Parameters
    ----------
    x : Tensor, shape (..., L, 3)
        Positions, Angstrom.
    mask : Tensor, shape (..., L), optional
        1 for residues, 0 for padding after them. Default: there is none.

    Returns
    -------
    Tensor, shape (...)
    """
    b, a, _ = bond_angles(x)
    bonds = 2 * torch.log(b) + torch.log(-torch.expm1(-b))
    angles = torch.log(torch.sin(a)) + torch.log(a * (math.pi - a) / math.pi)
    if mask is not None:
        bonds, angles = bonds * mask[..., 1:], angles * mask[..., 2:]
    return bonds.sum(-1) + angles.sum(-1)


def log_volume_gradient(x: Tensor) -> Tensor:
    """Gradient of `log_volume` with respect to z.

    In closed form, independent of the dihedrals.

    Parameters
    ----------
    x : Tensor, shape (..., L, 3)
        Positions, Angstrom.

    Returns
    -------
    Tensor, shape (..., L, 3)
        In the row layout of `openmm_nemo.geometry.internal`.
    """
    n = x.shape[-2]
    b, a, _ = bond_angles(x)
    slope_b = -torch.expm1(-b)
    slope_a = a * (math.pi - a) / math.pi
    stretch = 2 * slope_b / b + 1 - slope_b
    bend = slope_a / torch.tan(a) + 1 - 2 * a / math.pi
    columns = [place_rows(stretch.unsqueeze(-1), 1, n), place_rows(bend.unsqueeze(-1), 2, n)]
    return torch.cat([columns[0], columns[1], torch.zeros_like(columns[0])], dim=-1)

"""Rigid-motion invariant base features of a chain (nemo.md section 3.1; paper, section 2.2)."""

import torch
from torch import Tensor

from openmm_nemo.geometry.internal import bond_directions
from openmm_nemo.geometry.vectors import cross, dot, length, place_rows, unit

N_CHAIN_FEATURES = 4
"""Channels of `chain_features`."""


def chain_features(x: Tensor) -> Tensor:
    """Internal coordinates without the six rigid-body ones, as smooth functions of x.

    An energy must be continuous where a dihedral passes from pi to -pi and where an angle is straight, so angles and
    dihedrals enter through polynomials of the bond directions.

    Parameters
    ----------
    x : Tensor, shape (..., L, 3)
        Positions, Angstrom.

    Returns
    -------
    Tensor, shape (..., L, 4)
        Row j describes how x[j] is placed: bond length - 3.8 Angstrom, cos(a), and the cosine and sine of d, both times
        sin(a) sin(a') of the two angles that the dihedral joins. Zero where undefined.
    """
    n = x.shape[-2]
    u, b = bond_directions(x)
    before, after = u[..., :-1, :], u[..., 1:, :]
    normal = cross(before, after)
    columns = [
        place_rows((b - 3.8).unsqueeze(-1), 1, n),
        place_rows(-dot(before, after).unsqueeze(-1), 2, n),
        place_rows(dot(normal[..., :-1, :], normal[..., 1:, :]).unsqueeze(-1), 3, n),
        place_rows(dot(before[..., :-1, :], normal[..., 1:, :]).unsqueeze(-1), 3, n),
    ]
    return torch.cat(columns, dim=-1)


def radial_basis(distance: Tensor, centres: Tensor, widths: Tensor) -> Tensor:
    """Gaussian radial basis functions exp(-((D - centre) / width)^2).

    Parameters
    ----------
    distance : Tensor, shape (...)
        Angstrom.
    centres, widths : Tensor, shape (K,)
        Angstrom.

    Returns
    -------
    Tensor, shape (..., K)
    """
    return torch.exp(-(((distance.unsqueeze(-1) - centres) / widths) ** 2))


def pair_geometry(x: Tensor) -> tuple[Tensor, Tensor]:
    """Distances and directions between all pairs of points.

    Parameters
    ----------
    x : Tensor, shape (..., L, 3)
        Positions, Angstrom.

    Returns
    -------
    distance : Tensor, shape (..., L, L)
        |x[j] - x[i]|, Angstrom (1e-6 for i = j).
    direction : Tensor, shape (..., L, L, 3)
        Unit vector from x[i] to x[j] in the frame of x[i]: unit(u[i-1] - u[i]), n[i] and their cross product. Zero for
        the first and the last i, which have no frame, and for i = j.
    """
    n = x.shape[-2]
    u, _ = bond_directions(x)
    before, after = u[..., :-1, :], u[..., 1:, :]
    bisector = unit(before - after)
    normal = unit(cross(before, after))
    frame = torch.stack([bisector, normal, cross(bisector, normal)], dim=-2)
    frame = place_rows(frame.flatten(-2), 1, n).unflatten(-1, (3, 3))
    to_other = x.unsqueeze(-3) - x.unsqueeze(-2)
    distance = length(to_other)
    direction = (to_other / distance.unsqueeze(-1)) @ frame.transpose(-1, -2)
    return distance, direction

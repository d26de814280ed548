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


def pair_geometry(x: Tensor, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Distances and directions between all pairs of points.

    Parameters
    ----------
    x : Tensor, shape (..., L, 3)
        Positions, Angstrom.
    other : Tensor, shape (..., M, 3), optional
        Positions y of another chain. Default: ``x``.

    Returns
    -------
    distance : Tensor, shape (..., L, M)
        |y[j] - x[i]|, Angstrom (1e-6 for points in one place).
    direction : Tensor, shape (..., L, M, 3)
        Unit vector from x[i] to y[j] in the frame of x[i]: unit(u[i-1] - u[i]), n[i] and their cross product. Zero for
        the first and the last i, which have no frame, and for points in one place.
    """
    n = x.shape[-2]
    u, _ = bond_directions(x)
    before, after = u[..., :-1, :], u[..., 1:, :]
    bisector = unit(before - after)
    normal = unit(cross(before, after))
    frame = torch.stack([bisector, normal, cross(bisector, normal)], dim=-2)
    frame = place_rows(frame.flatten(-2), 1, n).unflatten(-1, (3, 3))
    y = x if other is None else other
    to_other = y.unsqueeze(-3) - x.unsqueeze(-2)
    distance = length(to_other)
    direction = (to_other / distance.unsqueeze(-1)) @ frame.transpose(-1, -2)
    return distance, direction


def smooth_pair_geometry(
    x: Tensor, mask: Tensor, straight: float, far: float, other: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Distances and smooth directions v_ij of padded chains, or from one chain to another.

    The unit vectors of `pair_geometry` are faded out where they jump, so that forces stay finite: where x[j] is on top
    of x[i] (below about 1 Angstrom), and where the angle at x[i] is straight, so that it has no frame. They are also
    faded with distance, as 1 / (1 + (D / far)^2).

    Parameters
    ----------
    x : Tensor, shape (B, L, 3)
        Angstrom.
    mask : Tensor, shape (B, L)
        1 for residues, 0 for padding, which comes last.
    straight : float
        Squared sine of the angle at x[i] at which directions are half faded.
    far : float
        Angstrom; may be infinite.
    other : Tensor, shape (B, M, 3), optional
        Positions y of another chain, Angstrom. Default: ``x``.

    Returns
    -------
    distance : Tensor, shape (B, L, M)
        Angstrom.
    direction : Tensor, shape (B, L, M, 3)
        Direction of y[j] in the frame of x[i], of length below 1; zero for the ends of the chain.
    """
    distance, direction = pair_geometry(x, other)
    u, _ = bond_directions(x)
    normal = cross(u[:, :-1], u[:, 1:])
    squared_sine = dot(normal, normal)
    bent = place_rows((squared_sine / (squared_sine + straight)).unsqueeze(-1), 1, x.shape[1])
    # The residue before a padded one has a frame here that it lacks in an unpadded chain.
    has_next = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)
    bent = bent * has_next.unsqueeze(-1)
    squared = distance * distance
    fade = distance * torch.rsqrt(squared + 1) / (1 + squared / (far * far))
    return distance, direction * (fade * bent).unsqueeze(-1)

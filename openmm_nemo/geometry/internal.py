"""Internal coordinates of a chain and back: z = F^-1(x), x = F(z) (nemo.md section 2; paper, section 2.1).

Layout. Row j of every (L, 3) array of internal coordinates holds the three numbers that place x[j] from the points
before it: the length of the bond (j-1, j), the angle at x[j-1] and the dihedral about the bond (j-2, j-1).
The six numbers that would place the first three points in space (row 0, the angle of row 1, the dihedrals of rows 1
and 2) are the rigid-body degrees of freedom: they are zero here and are never moved by an internal step.
"""

import math

import torch
from torch import Tensor

from openmm_nemo.geometry.vectors import (
    cross,
    dot,
    length,
    place_rows,
    unit,
)


def bond_directions(x: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors and lengths of the bonds of a chain.

    Parameters
    ----------
    x : Tensor, shape (..., L, 3)
        Positions.

    Returns
    -------
    u : Tensor, shape (..., L-1, 3)
        u[i] points from x[i] to x[i+1].
    b : Tensor, shape (..., L-1)
        Bond lengths, in the unit of ``x``.
    """
    t = x[..., 1:, :] - x[..., :-1, :]
    b = length(t)
    return t / b.unsqueeze(-1), b


def bond_angles(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bond lengths, angles and dihedrals.

    Parameters
    ----------
    x : Tensor, shape (..., L, 3)
        Positions.

    Returns
    -------
    b : Tensor, shape (..., L-1)
        Bond lengths, in the unit of ``x``.
    a : Tensor, shape (..., L-2)
        Angles at x[1] ... x[L-2], radian, strictly inside (0, pi) even for a straight chain.
    d : Tensor, shape (..., L-3)
        Dihedrals about the bonds 1 ... L-3, radian, in (-pi, pi]; 0 where a neighbouring angle is straight.
    """
    u, b = bond_directions(x)
    before, after = u[..., :-1, :], u[..., 1:, :]
    normal = cross(before, after)  # length sin(a)
    # atan2 keeps full precision near 0 and pi, where the arccos of the definition loses half the digits.
    a = torch.atan2(length(normal), -dot(before, after))
    sine = dot(before[..., :-1, :], normal[..., 1:, :])  # times sin(a) of both angles
    cosine = dot(normal[..., :-1, :], normal[..., 1:, :])
    undefined = sine * sine + cosine * cosine < 1e-12
    d = torch.atan2(
        torch.where(undefined, torch.zeros_like(sine), sine),
        torch.where(undefined, torch.ones_like(cosine), cosine),
    )
    return b, a, d


def cartesian_to_internal(x: Tensor) -> Tensor:
    """Unconstrained internal coordinates z = F^-1(x).

    Parameters
    ----------
    x : Tensor, shape (..., L, 3)
        Positions, Angstrom.

    Returns
    -------
    Tensor, shape (..., L, 3)
        Columns b~ = log(exp(b) - 1), a~ = log(a / (pi - a)) and d, in the row layout of this module.

    Examples
    --------
    >>> x = torch.tensor([[0.0, 0, 0], [3.8, 0, 0], [5, 3.6, 0], [8, 3, 2]], dtype=torch.float64)
    >>> z = cartesian_to_internal(x)
    >>> bool((internal_to_cartesian(z, *rigid_frame(x)) - x).abs().max() < 1e-12)
    True
    """
    n = x.shape[-2]
    b, a, d = bond_angles(x)
    stretch = b + torch.log(-torch.expm1(-b))
    bend = torch.log(a) - torch.log((math.pi - a).clamp_min(1e-6))
    return torch.cat(
        [
            place_rows(stretch.unsqueeze(-1), 1, n),
            place_rows(bend.unsqueeze(-1), 2, n),
            place_rows(d.unsqueeze(-1), 3, n),
        ],
        dim=-1,
    )


def cumulative_rotation(q: Tensor) -> Tensor:
    """Products Q[0] Q[1] ... Q[k] for every k, by a scan of depth log2(K).

    With the tree, float32 rounding errors grow only with its depth. The recurrence that builds each normal from cross
    products of the last two directions is quadratic in the frame, and its errors explode within tens of residues.

    Parameters
    ----------
    q : Tensor, shape (..., K, 3, 3)

    Returns
    -------
    Tensor, shape (..., K, 3, 3)
    """
    shift = 1
    while shift < q.shape[-3]:
        q = torch.cat([q[..., :shift, :, :], q[..., :-shift, :, :] @ q[..., shift:, :, :]], dim=-3)
        shift *= 2
    return q


def internal_to_cartesian(
    z: Tensor, origin: Tensor | None = None, frame: Tensor | None = None
) -> Tensor:
    """Positions x = F(z).

    Parameters
    ----------
    z : Tensor, shape (..., L, 3)
        Unconstrained internal coordinates, in the row layout of this module. The rigid-body entries are not read.
    origin : Tensor, shape (..., 3), optional
        Position of x[0], Angstrom. Default: the origin.
    frame : Tensor, shape (..., 3, 3), optional
        Rotation with columns u[0], n[1] x u[0], n[1] (see `rigid_frame`). Default: the identity.

    Returns
    -------
    Tensor, shape (..., L, 3)
        Angstrom.
    """
    zero = torch.zeros_like(z[..., 1:2, 0])
    b = torch.logaddexp(z[..., 1:, 0], torch.zeros_like(z[..., 1:, 0]))
    a = math.pi * torch.sigmoid(z[..., 2:, 1])
    d = torch.cat([zero, z[..., 3:, 2]], dim=-1)[..., : a.shape[-1]]
    ca, sa, cd, sd = torch.cos(a), torch.sin(a), torch.cos(d), torch.sin(d)
    # Columns: the next bond's direction u, n x u and n, in the frame of the bond before it.
    turn = torch.stack(
        [
            torch.stack([-ca, -sa, torch.zeros_like(ca)], dim=-1),
            torch.stack([sa * cd, -ca * cd, -sd], dim=-1),
            torch.stack([sa * sd, -ca * sd, cd], dim=-1),
        ],
        dim=-2,
    )
    if frame is None:
        frame = torch.eye(3, dtype=z.dtype, device=z.device)
    first = frame.expand(z.shape[:-2] + (3, 3)).unsqueeze(-3)
    direction = cumulative_rotation(torch.cat([first, turn], dim=-3))[..., 0]
    steps = direction[..., : b.shape[-1], :] * b.unsqueeze(-1)
    if origin is None:
        origin = torch.zeros(3, dtype=z.dtype, device=z.device)
    start = origin.expand(z.shape[:-2] + (3,)).unsqueeze(-2)
    return torch.cat([start, steps], dim=-2).cumsum(-2)


def rigid_frame(x: Tensor) -> tuple[Tensor, Tensor]:
    """Position and orientation of a chain: what `internal_to_cartesian` needs to restore it.

    Parameters
    ----------
    x : Tensor, shape (..., L, 3)
        Positions.

    Returns
    -------
    origin : Tensor, shape (..., 3)
        x[0].
    frame : Tensor, shape (..., 3, 3)
        Rotation with columns u[0], n[1] x u[0], n[1]. If there is no n[1], because the first three points are collinear
        or missing, any normal to u[0] is taken; if there is no u[0], the frame is zero.
    """
    bond = place_rows(x[..., 1:3, :] - x[..., :-1, :][..., :2, :], 0, 2)
    u, v = unit(bond[..., 0, :]), unit(bond[..., 1, :])
    n = cross(u, v)
    across = torch.nn.functional.one_hot(u.abs().argmin(-1), 3).to(u.dtype)
    straight = (n * n).sum(-1, keepdim=True) < 1e-12
    n = unit(torch.where(straight, cross(u, across), n))
    return x[..., 0, :], torch.stack([u, cross(n, u), n], dim=-1)

"""Local frames in which atoms are placed (nemo.md section 4; paper, section 2.4)."""

import torch
from torch import Tensor

from openmm_nemo.geometry.internal import bond_directions
from openmm_nemo.geometry.vectors import cross, place_rows, unit


def residue_frames(x: Tensor, mask: Tensor) -> Tensor:
    """Frames [u[i-1], n[i], n[i] x u[i-1]] at every point of a chain.

    The ends borrow what they lack from their neighbour: x[0] takes the frame of its first bond and n[1], x[L-1] the
    normal n[L-2].

    Parameters
    ----------
    x : Tensor, shape (B, L, 3)
        Positions.
    mask : Tensor, shape (B, L)
        1 for residues, 0 for padding, which comes last.

    Returns
    -------
    Tensor, shape (B, L, 3, 3)
        The three unit vectors are the columns. Columns 1 and 2 are zero where there is no normal: at a straight angle
        and in a chain of fewer than three points. Column 0 is zero for a single point.
    """
    length = x.shape[1]
    u, _ = bond_directions(x)
    u = place_rows(u * mask[:, 1:].unsqueeze(-1), 0, length)
    n = place_rows(unit(cross(u[:, :-1], u[:, 1:])), 0, length)
    row = torch.arange(length, device=x.device).expand(x.shape[:2])
    last = mask.sum(1, keepdim=True).to(row.dtype) - 1
    bond = torch.minimum((row - 1).clamp_min(0), (last - 1).clamp_min(0))
    normal = torch.minimum((row - 1).clamp_min(0), (last - 2).clamp_min(0))
    ui = u.gather(1, bond.unsqueeze(-1).expand(-1, -1, 3))
    ni = n.gather(1, normal.unsqueeze(-1).expand(-1, -1, 3))
    return torch.stack([ui, ni, cross(ni, ui)], dim=-1)

"""Optimal superposition of two sets of points (Kabsch, Acta Cryst. A32, 922, 1976)."""

import torch
from torch import Tensor


def superpose(mobile: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Move points by the rotation and translation that bring them closest to ``target``.

    Reflections are not allowed: mirror images stay apart.

    Parameters
    ----------
    mobile, target : Tensor, shape (..., L, 3)
    weight : Tensor, shape (..., L), optional
        Non-negative weight of each point. Default: equal weights.

    Returns
    -------
    Tensor, shape (..., L, 3)
        ``mobile``, superposed.
    """
    if weight is None:
        weight = torch.ones_like(mobile[..., 0])
    share = (weight / weight.sum(-1, keepdim=True)).unsqueeze(-1)
    mobile = mobile - (share * mobile).sum(-2, keepdim=True)
    centre = (share * target).sum(-2, keepdim=True)
    covariance = (share * mobile).transpose(-1, -2) @ (target - centre)
    return mobile @ best_rotation(covariance) + centre


def best_rotation(covariance: Tensor) -> Tensor:
    """Rotation that brings centred points closest to others.

    Parameters
    ----------
    covariance : Tensor, shape (..., 3, 3)
        sum w x y^T of the points x and their targets y.

    Returns
    -------
    Tensor, shape (..., 3, 3)
        To be multiplied from the right; never a reflection.
    """
    left, _, right = torch.linalg.svd(covariance)
    handedness = torch.linalg.det(left @ right)
    signs = torch.stack([torch.ones_like(handedness)] * 2 + [handedness.sign()], dim=-1)
    return (left * signs.unsqueeze(-2)) @ right


def rmsd(mobile: Tensor, target: Tensor) -> Tensor:
    """Root-mean-square deviation after superposition, shape (...), in the unit of the input.

    Examples
    --------
    Rigid motions do not count:

    >>> square = torch.tensor([[0.0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]])
    >>> moved = square @ torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]) + 5
    >>> bool(rmsd(moved, square) < 1e-5)
    True
    """
    return ((superpose(mobile, target) - target) ** 2).sum(-1).mean(-1).sqrt()

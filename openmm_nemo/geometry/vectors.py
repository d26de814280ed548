"""Vector helpers that stay finite, forward and backward, for vectors of length zero."""

import torch
from torch import Tensor


def length(v: Tensor, shortest: float = 1e-6) -> Tensor:
    """Length of the vectors ``v (..., 3)``; its gradient at zero length is zero.

    Parameters
    ----------
    v : Tensor, shape (..., 3)
    shortest : float
        Shorter lengths count as zero. The default (points 1e-6 Angstrom apart, angles 1e-6 rad from straight) is far
        below anything in a structure and large enough that gradients stay finite in float32.

    Returns
    -------
    Tensor, shape (...)
        At least ``shortest``, so that it is safe to divide by.
    """
    squared = (v * v).sum(-1)
    floor = torch.full_like(squared, shortest * shortest)
    return torch.where(squared > floor, squared, floor).sqrt()


def unit(v: Tensor) -> Tensor:
    """Unit vectors along ``v (..., 3)``; (nearly) zero for a vector of length zero."""
    return v / length(v).unsqueeze(-1)


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Cross product along the last dimension; dimensions of size one broadcast, missing ones do not."""
    return torch.linalg.cross(a, b, dim=-1)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Dot product along the last dimension, with broadcasting."""
    return (a * b).sum(-1)


def suffix_sum(v: Tensor) -> Tensor:
    """Sum over this row and all later ones, along the second-to-last dimension."""
    return v.flip(-2).cumsum(-2).flip(-2)


def place_rows(v: Tensor, first_row: int, n_rows: int) -> Tensor:
    """Zeros of shape (..., n_rows, k) with the rows of ``v (..., m, k)`` from ``first_row`` on.

    Rows that do not fit are cut, so that chains too short to have them need no special case.
    """
    shape = list(v.shape)
    shape[-2] = first_row
    after = list(v.shape)
    after[-2] = n_rows
    padded = torch.cat([v.new_zeros(shape), v, v.new_zeros(after)], dim=-2)
    return padded[..., :n_rows, :]

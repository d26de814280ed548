"""Measures of how close two structures of the same chain are."""

import torch
from torch import Tensor

from openmm_nemo.geometry import superpose


def tm_distance(length: int) -> float:
    """D0 of the TM-score, Angstrom: 1.24 (L - 15)^(1/3) - 1.8, at least 0.5 (Zhang & Skolnick 2004)."""
    return max(1.24 * max(length - 15, 0) ** (1 / 3) - 1.8, 0.5)


def tm_score(mobile: Tensor, target: Tensor) -> float:
    """TM-score for a fixed alignment: residue i of one chain on residue i of the other.

    The largest value over superpositions is searched as TM-score does (Zhang & Skolnick, Proteins 57, 702, 2004): start
    from superpositions of fragments, then superpose again the residues that are close, until they stay the same.

    Parameters
    ----------
    mobile, target : Tensor, shape (L, 3)
        Positions, Angstrom.

    Returns
    -------
    float
        From 0 to 1.
    """
    n = mobile.shape[0]
    d0 = tm_distance(n)
    weight = _fragments(n).to(mobile)
    best = torch.zeros((), dtype=mobile.dtype)
    reach = min(max(d0, 4.5), 8.0)
    for step in range(20):
        moved = superpose(
            mobile.expand(len(weight), -1, -1), target.expand(len(weight), -1, -1), weight
        )
        distance = torch.linalg.vector_norm(moved - target, dim=-1)
        best = torch.maximum(best, (1 / (1 + (distance / d0) ** 2)).mean(-1).max())
        # At least three residues define a superposition: the closest ones, if fewer are within reach.
        third = distance.kthvalue(min(3, n), dim=-1, keepdim=True).values
        close = (distance <= third.clamp_min(reach - 1 if step == 0 else reach + 1)).to(weight)
        if torch.equal(close, weight):
            break
        weight = close
    return float(best)


def _fragments(n: int) -> Tensor:
    """Indicator (S, n) of overlapping fragments of lengths n, n/2, n/4, ... down to 4."""
    rows = []
    size = n
    while True:
        for start in range(0, n - size + 1, max(size // 2, 1)):
            rows.append((torch.arange(n) >= start) & (torch.arange(n) < start + size))
        if size <= 4:
            return torch.stack(rows)
        size = max(size // 2, 4)

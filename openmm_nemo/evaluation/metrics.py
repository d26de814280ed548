"""Measures of how close two structures of the same chain are."""

import torch
from torch import Tensor

from openmm_nemo.geometry import superpose


def tm_distance(length: int) -> float:
    """D0 of the TM-score, Angstrom: 1.24 (L - 15)^(1/3) - 1.8, at least 0.5 (Zhang & Skolnick 2004)."""
    return max(1.24 * max(length - 15, 0) ** (1 / 3) - 1.8, 0.5)


def tm_score(mobile: Tensor, target: Tensor) -> float:
    """TM-score for a fixed alignment: residue i of one chain on residue i of the other.

    The largest value over superpositions is searched from superpositions of fragments. Each is improved by superposing
    again with the weights 1 / (1 + (D_i / D0)^2)^2, which never lowers the score: what a residue adds is a convex
    function of its squared distance, and its weight is the slope. In chains of fewer than 20 residues, where D0 is as
    short as 0.5 Angstrom, so many superpositions fit a few residues that the best may be missed.

    Parameters
    ----------
    mobile, target : Tensor, shape (L, 3)
        Positions, Angstrom.

    Returns
    -------
    float
        From 0 to 1.
    """
    d0 = tm_distance(len(mobile))
    weight = _fragments(len(mobile)).to(mobile)
    best = mobile.new_zeros(())
    for step in range(20):
        moved = superpose(
            mobile.expand(len(weight), -1, -1), target.expand(len(weight), -1, -1), weight
        )
        distance = torch.linalg.vector_norm(moved - target, dim=-1)
        close = 1 / (1 + (distance / d0) ** 2)
        score = close.mean(-1)
        best = torch.maximum(best, score.max())
        weight = close**2
        if step == 3:  # by now the others are far behind
            weight = weight[score.topk(min(32, len(score))).indices]
    return float(best)


def _fragments(n: int) -> Tensor:
    """Indicator (S, n) of overlapping fragments of lengths n, n/2, n/4, ... down to 4."""
    rows = []
    size = n
    while True:
        for start in range(0, n - size + 1, max(size // 4, 1)):
            rows.append((torch.arange(n) >= start) & (torch.arange(n) < start + size))
        if size <= 4:
            return torch.stack(rows)
        size = max(size // 2, 4)

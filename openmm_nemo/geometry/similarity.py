"""Similarity of two structures of the same chain, with residue i aligned to residue i."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from openmm_nemo.geometry import best_rotation

GDT_TS_CUTOFFS = (1.0, 2.0, 4.0, 8.0)
LDDT_RADIUS = 15.0
LDDT_THRESHOLDS = (0.5, 1.0, 2.0, 4.0)
CONTACT_DISTANCE = 8.0
CONTACT_SEPARATION = 6
OVERLAP_DISTANCE = 3.5
OVERLAP_SEPARATION = 3


class LocalDistanceTest(NamedTuple):
    """Outcome of `lddt_ca`.

    Attributes
    ----------
    score : float
        lDDT of the whole chain, from 0 to 1.
    per_residue : Tensor, shape (L,)
        lDDT of each residue, over the distances to it; NaN for a residue without neighbours.
    """

    score: float
    per_residue: Tensor


def tm_distance(length: Tensor) -> Tensor:
    """D0 of the TM-score for chains of L residues, Angstrom: 1.24 (L - 15)^(1/3) - 1.8, at least 0.5."""
    return (1.24 * (length - 15).clamp_min(0) ** (1 / 3) - 1.8).clamp_min(0.5)


def tm_score(mobile: Tensor, target: Tensor) -> float:
    """TM-score for a fixed alignment (Zhang & Skolnick, Proteins 57, 702, 2004).

    The search for the largest value over superpositions starts from superpositions of fragments. Each is improved by
    superposing again with the weights 1 / (1 + (D_i / D0)^2)^2, which never lowers the score: the contribution of a
    residue is a convex function of its squared distance, and its weight is the slope. In chains of fewer than 20
    residues, where D0 is as short as 0.5 Angstrom, so many superpositions fit a few residues that the best may be
    missed.

    Parameters
    ----------
    mobile, target : Tensor, shape (L, 3)
        Positions, Angstrom.

    Returns
    -------
    float
        From 0 to 1.
    """
    d0 = float(tm_distance(torch.tensor(len(mobile), dtype=torch.float64)))

    def close(distance2: Tensor) -> Tensor:
        return 1 / (1 + distance2 / d0**2)

    found = [close(distance2).mean(-1).max() for distance2 in _search(mobile, target, close)]
    return float(torch.stack(found).max())


def gdt_ts(mobile: Tensor, target: Tensor) -> float:
    """Global distance test, total score (Zemla, Nucleic Acids Res. 31, 3370, 2003).

    The mean over cutoffs of 1, 2, 4 and 8 Angstrom of the largest fraction of residues that one superposition brings
    within the cutoff of their partners. Each cutoff has its own superposition, found as in `tm_score`, with the weights
    1 / (1 + (D_i / cutoff)^4)^2.

    Parameters
    ----------
    mobile, target : Tensor, shape (L, 3)
        Positions, Angstrom.

    Returns
    -------
    float
        From 0 to 1.
    """
    best = mobile.new_zeros(len(GDT_TS_CUTOFFS), dtype=torch.float64)
    cutoff2 = best.new_tensor(GDT_TS_CUTOFFS) ** 2
    for scale2 in cutoff2:

        def close(distance2: Tensor, scale2: Tensor = scale2) -> Tensor:
            # With a sharper edge, the search gets stuck sooner.
            return 1 / (1 + (distance2 / scale2) ** 2)

        for distance2 in _search(mobile, target, close):
            within = distance2 <= cutoff2[:, None, None]
            best = torch.maximum(best, within.to(best).mean(-1).amax(-1))
    return float(best.mean())


def lddt_ca(model: Tensor, native: Tensor) -> LocalDistanceTest:
    """Local distance difference test of C-alpha atoms (Mariani et al., Bioinformatics 29, 2722, 2013).

    The fraction of pairs within 15 Angstrom in the native whose distance in the model differs by at most a threshold,
    averaged over thresholds of 0.5, 1, 2 and 4 Angstrom. No superposition is involved.

    Parameters
    ----------
    model, native : Tensor, shape (L, 3)
        C-alpha positions, Angstrom.

    Returns
    -------
    LocalDistanceTest
    """
    distance = _distances(native)
    error = (_distances(model) - distance).abs()
    preserved = (error[..., None] <= error.new_tensor(LDDT_THRESHOLDS)).to(error).mean(-1)
    pairs = (distance < LDDT_RADIUS).to(error).fill_diagonal_(0)
    kept, possible = (preserved * pairs).sum(-1), pairs.sum(-1)
    return LocalDistanceTest(float(kept.sum() / possible.sum()), kept / possible)


def contacts(x: Tensor) -> Tensor:
    """Pairs of residues in contact, see `contact_precision`.

    Parameters
    ----------
    x : Tensor, shape (..., L, 3)
        C-alpha positions, Angstrom.

    Returns
    -------
    Tensor, shape (..., L, L), bool
        True for residues i and j in contact, with i < j.
    """
    return (_distances(x) < CONTACT_DISTANCE).triu(CONTACT_SEPARATION)


def contact_precision(model: Tensor, native: Tensor) -> float:
    """Fraction of the model's contacts that are also contacts in the native.

    A contact is a pair of residues at least 6 apart in the sequence, the shortest range that CASP counts, whose C-alpha
    atoms are less than 8 Angstrom apart. (CASP takes C-beta, which NEMO's coarse state lacks.)

    Parameters
    ----------
    model, native : Tensor, shape (L, 3)
        C-alpha positions, Angstrom.

    Returns
    -------
    float
        From 0 to 1; NaN if the model has no contact.
    """
    there, right = contacts(model), contacts(native)
    return float((there & right).sum() / there.sum())


def overlap_share(x: Tensor) -> float:
    """Fraction of the pairs of residues three or more apart in the sequence that are closer than 3.5 Angstrom.

    Parameters
    ----------
    x : Tensor, shape (L, 3)
        C-alpha positions, Angstrom.

    Returns
    -------
    float
        From 0 to 1; NaN if there is no such pair.
    """
    n = len(x)
    i, j = torch.triu_indices(n, n, OVERLAP_SEPARATION)
    return float((_distances(x)[i, j] < OVERLAP_DISTANCE).double().mean())


def radius_of_gyration(x: Tensor) -> Tensor:
    """Root-mean-square distance of points (..., L, 3) from their mean, shape (...), in the unit of the input."""
    return ((x - x.mean(-2, keepdim=True)) ** 2).sum(-1).mean(-1).sqrt()


def _distances(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x[..., :, None, :] - x[..., None, :, :], dim=-1)


def _search(
    mobile: Tensor, target: Tensor, closeness: Callable[[Tensor], Tensor]
) -> Iterator[Tensor]:
    """Yield squared distances (S, L), float64, for S superpositions that start from fragments and improve.

    Parameters
    ----------
    mobile, target : Tensor, shape (L, 3)
    closeness : callable
        Maps squared distances (S, L) to numbers from 0 to 1. Its mean is to be maximised; its square is the weight in
        the next superposition.
    """
    x, y = (points.double() - points.double().mean(0) for points in (mobile, target))
    # Weighted means are linear in these columns, and so are squared distances after a motion: two matrix products.
    outer = (x[:, :, None] * y[:, None]).flatten(1)
    columns = torch.cat([torch.ones_like(x[:, :1]), x, y, outer], dim=1)
    square = (x**2 + y**2).sum(-1)
    weight = _fragments(len(x)).to(x)
    for step in range(20):
        means = weight @ columns / weight.sum(-1, keepdim=True)
        here, there = means[:, None, 1:4], means[:, None, 4:7]
        turn = best_rotation(means[:, 7:].unflatten(1, (3, 3)) - here.mT @ there)
        shift = there - here @ turn
        motion = [shift @ shift.mT, 2 * shift @ turn.mT, -2 * shift, -2 * turn.flatten(1)[:, None]]
        distance2 = (torch.cat(motion, dim=-1).squeeze(1) @ columns.T + square).clamp_min(0)
        yield distance2
        close = closeness(distance2)
        weight = close**2
        if step == 3:  # by now the others are far behind
            weight = weight[close.mean(-1).topk(min(32, len(close))).indices]


def _fragments(n: int) -> Tensor:
    """Indicator (S, n) of overlapping fragments of lengths n, n/2, n/4, ... down to 4."""
    spans: list[tuple[int, int]] = []
    size = n
    while True:
        step = max(size // 4, 1)
        spans += [(start, start + size) for start in range(0, n - size + 1, step)]
        if size <= 4:
            break
        size = max(size // 2, 4)
    start, stop = torch.tensor(spans)[:, :, None].unbind(1)
    residue = torch.arange(n)
    return (residue >= start) & (residue < stop)

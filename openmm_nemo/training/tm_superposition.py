"""The superposition of highest TM-score, by sign gradient descent (nemo.md section 6; paper, B.2)."""

import torch
from torch import Tensor

from openmm_nemo.geometry import rotate, superpose
from openmm_nemo.geometry.similarity import tm_distance
from openmm_nemo.geometry.vectors import cross

ITERATIONS = 100
FIRST_STEP, LAST_STEP = 1.0, 0.003
"""Angstrom; the steps shrink geometrically."""

CANDIDATES = 4
"""Number of starts that are continued beyond the first `SCREENING` iterations."""

SCREENING = 20

SEGMENTS = tuple(
    (start / (2 * parts), (start + 2) / (2 * parts))
    for parts in (1, 2, 4, 8)
    for start in range(2 * parts - 1)
)
"""Parts of the chain whose Kabsch superpositions start the search; the whole chain alone often traps it."""


def tm_superpose(mobile: Tensor, target: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Move chains to where their TM-score with others is highest.

    Every iteration moves and rotates a chain by a fixed step along the sign of each component of the gradient. Signs
    have no gradient: back-propagation through these iterations, as in the paper, leaves the derivative with rotation
    and translation held fixed, which is that of the maximum.

    Parameters
    ----------
    mobile, target : Tensor, shape (B, L, 3)
        Angstrom.
    mask : Tensor, shape (B, L)
        1 for residues.

    Returns
    -------
    moved : Tensor, shape (B, L, 3)
        Differentiable in ``mobile``.
    d0 : Tensor, shape (B,)
        D0 of the TM-score, Angstrom.
    """
    d0 = tm_distance(mask.sum(-1))
    with torch.no_grad():
        frame = torch.cat([mobile.new_zeros(1, 3), torch.eye(3).to(mobile)])
        frame = _search(mobile, target, mask, d0, frame.expand(len(mobile), 4, 3))
    return frame[:, :1] + mobile @ (frame[:, 1:] - frame[:, :1]), d0


def _search(mobile: Tensor, target: Tensor, mask: Tensor, d0: Tensor, frame: Tensor) -> Tensor:
    """Where the best superposition takes the points of ``frame (B, 4, 3)``."""
    n_residues = mask.sum(-1)
    position = torch.arange(mask.shape[1], device=mask.device) / n_residues.unsqueeze(-1)
    parts = torch.stack([(position >= a) & (position < b) for a, b in SEGMENTS], dim=1)
    weight = parts * mask.unsqueeze(1)
    # Rotation about the centre by step / radius moves the chain's residues by about a step.
    x = superpose(
        torch.cat([mobile, frame], dim=1).unsqueeze(1).expand(-1, len(SEGMENTS), -1, -1),
        torch.cat([target, frame], dim=1).unsqueeze(1).expand(-1, len(SEGMENTS), -1, -1),
        torch.cat([weight, weight.new_zeros(*weight.shape[:2], 4)], dim=-1),
    )
    n = mask.shape[1]
    mask, target = mask.unsqueeze(1), target.unsqueeze(1)
    residues = mask.unsqueeze(-1) / n_residues[:, None, None, None]
    best = x.new_full(x.shape[:2], -1.0)
    best_frame = x[:, :, n:]
    shrink = (LAST_STEP / FIRST_STEP) ** (1 / (ITERATIONS - 1))
    for i in range(ITERATIONS):
        apart = x[:, :, :n] - target
        close = 1 / (1 + (apart**2).sum(-1) / d0[:, None, None] ** 2)
        score = (close * mask).sum(-1) / n_residues.unsqueeze(-1)
        better = score > best
        best = torch.where(better, score, best)
        best_frame = torch.where(better[:, :, None, None], x[:, :, n:], best_frame)
        step = FIRST_STEP * shrink**i
        force = -apart * (close**2 * mask).unsqueeze(-1)
        centre = (x[:, :, :n] * residues).sum(-2, keepdim=True)
        arm = x[:, :, :n] - centre
        radius = ((arm**2).sum(-1, keepdim=True) * residues).sum(-2, keepdim=True).sqrt()
        turn = step / radius.squeeze(-2) * cross(arm, force).sum(-2).sign()
        x = rotate(x - centre, turn) + centre + step * force.sum(-2, keepdim=True).sign()
        if i == SCREENING:
            chosen = torch.arange(len(x)).unsqueeze(1), best.topk(CANDIDATES, dim=1).indices
            x, best, best_frame = x[chosen], best[chosen], best_frame[chosen]
    return best_frame[torch.arange(len(best)), best.argmax(dim=1)]

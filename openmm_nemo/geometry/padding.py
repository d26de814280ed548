"""Padded batches of chains: a mask (B, L) of 1 for residues and 0 for padding, which comes last."""

import torch
from torch import Tensor

from openmm_nemo.geometry.rigid import centre


def pair_mask(mask: Tensor) -> Tensor:
    """Mask of pairs (B, L, L) from the mask of residues (B, L): 1 where both residues are present."""
    return mask.unsqueeze(1) * mask.unsqueeze(2)


def without_padding(x: Tensor, mask: Tensor) -> Tensor:
    """Positions with padding moved to the origin, so that nothing there (even NaN) spreads."""
    return torch.where(mask.unsqueeze(-1) > 0, x, torch.zeros_like(x))


def centred(x: Tensor, mask: Tensor) -> Tensor:
    """``x (B, L, 3)`` with the centre of every chain at the origin; zero at padding."""
    return (x - centre(x, mask)) * mask.unsqueeze(-1)

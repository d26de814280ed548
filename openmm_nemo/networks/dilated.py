"""Residual blocks of one dilated convolution, normalised position by position."""

import torch.nn.functional as F
from torch import Tensor, nn

from openmm_nemo.networks.blocks import convolution


class PositionNorm(nn.Module):
    """Layer normalisation over the channels of each position, independent of all other positions and of padding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, h: Tensor) -> Tensor:
        """Normalised ``h (B, C, ...)``."""
        return self.norm(h.movedim(1, -1)).movedim(-1, 1)


class DilatedBlock(nn.Module):
    """h + (1x1 convolution)(elu((3 or 3x3 convolution)(elu(norm(h))))); an untrained block adds nothing.

    Parameters
    ----------
    channels : int
    dilation : int
        Dilation of the wide convolution.
    dimensions : int
        1 for chains, 2 for pairs.
    """

    def __init__(self, channels: int, dilation: int, dimensions: int) -> None:
        super().__init__()
        self.norm = PositionNorm(channels)
        self.spread = convolution(dimensions, channels, channels, 3, dilation)
        self.mix = convolution(dimensions, channels, channels)
        nn.init.zeros_(self.mix.weight)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        """``h (B, C, ...)`` and ``mask (B, 1, ...)`` to (B, C, ...)."""
        spread = F.elu(self.spread(F.elu(self.norm(h)) * mask))
        return h + self.mix(spread) * mask

"""Residual convolutional networks over padded chains and their pairs (paper, A.2, Table 3)."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from openmm_nemo.networks.normalization import BatchRenorm

SILU_SECOND_MOMENT = 0.3557
"""E[silu(x)^2] for x ~ N(0, 1)."""


RESIDUAL_GAIN = 0.3
"""Root-mean-square of what an untrained residual branch adds to features of about 1."""


def initialise(weight: Tensor, gain: float = 1.0, second_moment: float = 1.0) -> None:
    """Random weights that give outputs of root-mean-square ``gain``.

    Before training, the running statistics do nothing, so only this keeps an untrained network well scaled: features
    passed between parts of the networks have a mean square of about 1.

    Parameters
    ----------
    weight : Tensor, shape (out, in, ...)
        Weights of a convolution or a linear layer, overwritten.
    gain : float
    second_moment : float
        Mean square of the inputs.
    """
    fan_in = weight[0].numel()
    nn.init.normal_(weight, std=gain / math.sqrt(fan_in * second_moment))


def convolution(
    dimensions: int, n_in: int, n_out: int, width: int = 1, dilation: int = 1, bias: bool = True
) -> nn.Conv1d | nn.Conv2d:
    """Zero-padded convolution over a chain (1D) or its pairs (2D) that keeps the size."""
    kind = nn.Conv1d if dimensions == 1 else nn.Conv2d
    padding = dilation * (width // 2)
    layer = kind(n_in, n_out, width, padding=padding, dilation=dilation, bias=bias)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class NormalizedConvolution(nn.Module):
    """Batch Renormalisation, SiLU, dropout and a convolution that sees padding as zeros."""

    def __init__(
        self,
        channels: int,
        width: int,
        dilation: int,
        dimensions: int,
        dropout: float,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.norm = BatchRenorm(channels)
        self.dropout = nn.Dropout(dropout)
        # No bias: the next normalisation has one.
        self.convolution = convolution(dimensions, channels, channels, width, dilation, bias=False)
        initialise(self.convolution.weight, gain, SILU_SECOND_MOMENT)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        """``h (B, C, ...)`` and ``mask (B, ...)`` to (B, C, ...)."""
        h = self.dropout(F.silu(self.norm(h, mask)))
        return self.convolution(h * mask.unsqueeze(1))


class ResidualBlock(nn.Module):
    """h + (1x1, wide, 1x1 convolution)(h) with pre-activation (He et al., ECCV 2016).

    Parameters
    ----------
    channels, width, dilation : int
        Size of the middle convolution.
    dimensions : int
        1 for chains, 2 for pairs.
    dropout : float
        Probability of dropping a value.
    gain : float
        Standard deviation of what an untrained block adds.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        dilation: int,
        dimensions: int,
        dropout: float,
        gain: float,
    ) -> None:
        super().__init__()
        self.mix_in = NormalizedConvolution(channels, 1, 1, dimensions, dropout)
        self.spread = NormalizedConvolution(channels, width, dilation, dimensions, dropout)
        self.mix_out = NormalizedConvolution(channels, 1, 1, dimensions, dropout, gain)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        """``h (B, C, ...)`` and ``mask (B, ...)`` to (B, C, ...)."""
        return h + self.mix_out(self.spread(self.mix_in(h, mask), mask), mask)


class ResidualStack(nn.Module):
    """Residual blocks followed by a normalisation.

    There is no final activation: successive stacks add to one stream of features that keeps its scale.

    Parameters
    ----------
    channels : int
    blocks : int
    width : int
        Width of the convolutions, odd.
    dimensions : int
        1 for (B, C, L), 2 for (B, C, L, L).
    dropout : float
        Probability of dropping a value.
    dilations : tuple of int
        Dilations of successive blocks, repeated from the start.
    """

    def __init__(
        self,
        channels: int,
        blocks: int,
        width: int,
        dimensions: int,
        dropout: float,
        dilations: tuple[int, ...] = (1,),
    ) -> None:
        super().__init__()
        gain = RESIDUAL_GAIN / math.sqrt(blocks)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels, width, dilations[k % len(dilations)], dimensions, dropout, gain)
            for k in range(blocks)
        )
        self.norm = BatchRenorm(channels)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        """Transform features.

        Parameters
        ----------
        h : Tensor, shape (B, C, ...)
        mask : Tensor, shape (B, ...)
            1 for valid positions, 0 for padding.

        Returns
        -------
        Tensor, shape of ``h``
            Zero at padding.
        """
        for block in self.blocks:
            h = block(h, mask)
        return self.norm(h, mask) * mask.unsqueeze(1)

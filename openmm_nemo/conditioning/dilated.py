"""Sequence network of residual dilated convolutions: deep, cheap pair layers instead of the paper's wide ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmm_nemo.conditioning.sequence import SequenceNetwork
from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders import input_width
from openmm_nemo.geometry.padding import pair_mask
from openmm_nemo.networks.blocks import convolution
from openmm_nemo.networks.dilated import DilatedBlock


class DilatedSequenceNetwork(SequenceNetwork):
    """1D blocks over the chain, their outer sum and product, and 2D blocks over the pairs.

    ``sequence_blocks`` and ``pair_blocks`` of the configuration are the numbers of blocks, ``dilations`` and
    ``pair_dilations`` their dilations; heads and output are as in `SequenceNetwork`.

    Parameters
    ----------
    config : NemoConfig
    """

    def __init__(self, config: NemoConfig) -> None:
        nn.Module.__init__(self)
        nodes, pairs = config.node_channels, config.pair_channels
        self.max_separation = config.max_separation
        self.embedding = convolution(1, input_width(config), nodes)
        self.node_blocks = nn.ModuleList(
            DilatedBlock(nodes, config.dilations[k % len(config.dilations)], 1)
            for k in range(config.sequence_blocks)
        )
        self.row = convolution(1, nodes, pairs)
        self.column = convolution(1, nodes, pairs, bias=False)
        self.product = convolution(2, pairs, pairs, bias=False)
        self.separation = nn.Embedding(2 * config.max_separation + 1, pairs)
        self.pair_blocks = nn.ModuleList(
            DilatedBlock(pairs, config.pair_dilations[k % len(config.pair_dilations)], 2)
            for k in range(config.pair_blocks)
        )
        self._make_heads(config, nodes, pairs)

    def features(self, s: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """1D (B, C1, L) and 2D (B, C2, L, L) features."""
        mask = mask.to(s.dtype)
        row = mask.unsqueeze(1)
        h = self.embedding(s.transpose(1, 2)) * row
        for block in self.node_blocks:
            h = block(h, row)
        first, second = self.row(h).unsqueeze(3), self.column(h).unsqueeze(2)
        p = first + second + self.product(first * second) + self._separations(s.shape[1])
        p = p.contiguous(memory_format=torch.channels_last)
        pairs = pair_mask(mask).unsqueeze(1)
        for block in self.pair_blocks:
            p = block(p, pairs)
        return F.elu(h), F.elu(p)

"""Messages between residues and their pairs (nemo.md section 3.2; paper, Figure 6 and Table 3)."""

import math

import torch
from torch import Tensor, nn

from openmm_nemo.config import NemoConfig
from openmm_nemo.geometry.padding import pair_mask
from openmm_nemo.networks.blocks import RESIDUAL_GAIN, ResidualStack, convolution, initialise


class PairAttention(nn.Module):
    """Pairs to nodes: every residue i gathers features from all nodes j and pairs (i, j).

    Multi-head attention. The logits add the scaled product of node queries and keys to a linear
    function of the pair; the values are linear functions of the node j and of the pair (i, j).
    """

    def __init__(self, nodes: int, pairs: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = convolution(1, nodes, nodes, bias=False)
        self.key = convolution(1, nodes, nodes, bias=False)
        self.value = convolution(1, nodes, nodes, bias=False)
        self.pair_logit = convolution(2, pairs, heads, bias=False)
        self.output = convolution(1, nodes + heads * pairs, nodes)
        for layer in (self.query, self.key, self.value, self.pair_logit):
            initialise(layer.weight)
        initialise(self.output.weight, RESIDUAL_GAIN)

    def forward(self, h: Tensor, p: Tensor, mask: Tensor) -> Tensor:
        """``h (B, C, L)``, ``p (B, P, L, L)``, ``mask (B, L)`` to messages (B, C, L)."""
        q = self.query(h).unflatten(1, (self.heads, -1))
        k = self.key(h).unflatten(1, (self.heads, -1))
        v = self.value(h).unflatten(1, (self.heads, -1))
        logits = q.transpose(2, 3) @ k / math.sqrt(q.shape[2]) + self.pair_logit(p)
        attention = logits.masked_fill(mask[:, None, None, :] == 0, -1e9).softmax(-1)
        from_nodes = v @ attention.transpose(2, 3)  # (B, heads, C / heads, L)
        # Averaging the pairs before the linear layer saves a (B, C, L, L) tensor.
        from_pairs = torch.einsum("bhij,bpij->bhpi", attention, p)
        return self.output(torch.cat([from_nodes.flatten(1, 2), from_pairs.flatten(1, 2)], dim=1))


class OuterExpansion(nn.Module):
    """Nodes to pairs: linear functions of the nodes i and j plus a bilinear form of low rank.

    ``gain`` is the root-mean-square of its untrained output, to which each part contributes a third of the square.
    """

    def __init__(self, nodes: int, pairs: int, rank: int, gain: float) -> None:
        super().__init__()
        self.row = convolution(1, nodes, pairs, bias=False)
        self.column = convolution(1, nodes, pairs)
        self.left = convolution(1, nodes, rank, bias=False)
        self.right = convolution(1, nodes, rank, bias=False)
        self.contraction = nn.Parameter(torch.empty(rank, rank, pairs))
        part = gain / math.sqrt(3)
        initialise(self.row.weight, part)
        initialise(self.column.weight, part)
        initialise(self.left.weight)
        initialise(self.right.weight)
        nn.init.normal_(self.contraction, std=part / rank)

    def forward(self, h: Tensor) -> Tensor:
        """``h (B, C, L)`` to (B, P, L, L)."""
        # Contracted with the rows first: (B, L, rank * P), never (B, L, L, rank * rank).
        left = torch.einsum("bri,rsp->bpis", self.left(h), self.contraction)
        bilinear = left @ self.right(h).unsqueeze(1)
        return bilinear + self.row(h).unsqueeze(3) + self.column(h).unsqueeze(2)


class MessagePassing(nn.Module):
    """One iteration: pairs to nodes, 1D network, nodes to pairs, 2D network."""

    def __init__(self, config: NemoConfig) -> None:
        super().__init__()
        nodes, pairs = config.node_channels, config.pair_channels
        self.attention = PairAttention(nodes, pairs, config.attention_heads)
        self.expansion = OuterExpansion(nodes, pairs, config.expansion_rank, RESIDUAL_GAIN)
        self.node_network = ResidualStack(
            nodes, config.message_blocks, config.node_width, 1, config.dropout, config.dilations
        )
        self.pair_network = ResidualStack(
            pairs, config.message_pair_blocks, config.message_pair_width, 2, config.dropout
        )

    def forward(self, h: Tensor, p: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Update nodes and pairs.

        Parameters
        ----------
        h : Tensor, shape (B, C, L)
            Node features.
        p : Tensor, shape (B, P, L, L)
            Pair features.
        mask : Tensor, shape (B, L)

        Returns
        -------
        h, p : Tensor
            Updated features of the same shapes, zero at padding.
        """
        h = self.node_network(h + self.attention(h, p, mask), mask)
        p = self.pair_network(p + self.expansion(h), pair_mask(mask))
        return h, p

"""Sequence network: coefficients, initial state and step sizes (paper, 2.2 and Figure 6)."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from openmm_nemo.conditioning.initial_state import InitialState
from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders import input_width, node_features
from openmm_nemo.energies import terms_of
from openmm_nemo.geometry.padding import pair_mask
from openmm_nemo.networks.blocks import ResidualStack, convolution, initialise
from openmm_nemo.networks.message_passing import MessagePassing, OuterExpansion

SECONDARY_STRUCTURE_CLASSES = 8

# Step sizes of an untrained model.
CARTESIAN_STEP = 0.02  # Angstrom^2
INTERNAL_STEP = 0.002  # at 20 residues
LEVER_AWARE_STEP = 0.01
STIFF_STEP = 0.006
"""Cartesian step with the bonds of the term "backbone". A chain of springs diverges if half the variance times the
largest curvature, four times that of a spring (12 kT / (0.3 Angstrom)^2), is more than 2: at 0.0075 Angstrom^2."""


class SequenceOutput(NamedTuple):
    """Everything the simulator needs to know about a sequence; zero at padding.

    Attributes
    ----------
    coefficients : list of Tensor
        Coefficients of the terms of the energy, see `openmm_nemo.energies.Energy`, kT.
    z0 : Tensor, shape (B, L, 3)
        Initial unconstrained internal coordinates (b~, a~, d) in the row layout of
        `openmm_nemo.geometry.internal`.
    cartesian_step : Tensor, shape (B,)
        eps_x, Angstrom^2.
    internal_step : Tensor, shape (B,)
        eps_z.
    cartesian_preconditioner : Tensor, shape (B, L)
        Between 1/e and e.
    internal_preconditioner : Tensor, shape (B, L, 3)
        Between 1/e and e, one for each of (b~, a~, d).
    secondary_structure : Tensor, shape (B, L, 8)
        Logits.
    """

    coefficients: list[Tensor]
    z0: Tensor
    cartesian_step: Tensor
    internal_step: Tensor
    cartesian_preconditioner: Tensor
    internal_preconditioner: Tensor
    secondary_structure: Tensor


class SequenceNetwork(nn.Module):
    """Convolutions, message passing and convolutions again (paper, Table 3).

    An angle or dihedral turns all residues on one side of it. The learned preconditioners, between 1/e and e, cannot
    compensate for a lever of a hundred residues; with ``lever_aware`` in the configuration, those of angles and
    dihedrals are multiplied by min(1, 4 / n), where n is the number of residues on the shorter side.

    Parameters
    ----------
    config : NemoConfig
    """

    def __init__(self, config: NemoConfig) -> None:
        super().__init__()
        nodes, pairs = config.node_channels, config.pair_channels
        width, dropout, dilations = config.node_width, config.dropout, config.dilations
        self.max_separation = config.max_separation
        width_of_input = input_width(config)
        self.embedding = convolution(1, width_of_input, nodes)
        initialise(self.embedding.weight, second_moment=1 / width_of_input)
        self.initial_nodes = ResidualStack(
            nodes, config.sequence_blocks, width, 1, dropout, dilations
        )
        self.initial_pairs = OuterExpansion(nodes, pairs, config.expansion_rank, math.sqrt(0.5))
        self.separation = nn.Embedding(2 * config.max_separation + 1, pairs)
        nn.init.normal_(self.separation.weight, std=math.sqrt(0.5))
        self.message_passing = nn.ModuleList(
            MessagePassing(config) for _ in range(config.message_iterations)
        )

        c1, c2 = node_features(config), config.pair_features
        self.node_network = ResidualStack(c1, config.feature_blocks, width, 1, dropout, dilations)
        self.pair_network = ResidualStack(c2, config.pair_blocks, config.pair_width, 2, dropout)

        self._make_heads(config, c1, c2)

    def _make_heads(self, config: NemoConfig, c1: int, c2: int) -> None:
        """Last layers, for features with these numbers of channels."""
        # TorchScript cannot see globals.
        self.cartesian_step, self.internal_step = CARTESIAN_STEP, INTERNAL_STEP
        self.lever_aware = config.lever_aware
        if config.lever_aware:
            self.internal_step = LEVER_AWARE_STEP
        if "backbone" in config.terms:
            self.cartesian_step = STIFF_STEP
        heads = {name: term.make_head(config, c1, c2) for name, term in terms_of(config).items()}
        self.term_heads: Any = nn.ModuleDict(heads)
        self.initial_state = InitialState(c1)
        self.preconditioners = convolution(1, c1, 4)
        self.steps = convolution(1, c1, 2)
        self.secondary_structure = convolution(1, c1, SECONDARY_STRUCTURE_CLASSES)
        for head in heads.values():
            head.initialise()
        self.initial_state.initialise()
        initialise(self.secondary_structure.weight)
        # Start from exactly 1 and from the default steps, whatever the sequence.
        for layer in (self.preconditioners, self.steps):
            nn.init.zeros_(layer.weight)

    def cool(self, factor: float, strength: float = 1.0) -> None:
        """Make an untrained model start as if at 300 K / factor: scale energies up by factor and shorten steps.

        The drift stays the same and there is less noise. Terms without coefficients keep their size.

        Parameters
        ----------
        factor : float
            From 1 to 19, because steps and preconditioners can shorten moves at most e^3 times.
        strength : float
            Further scaling of all coefficients except that of the bond strain; the drift scales with it.
        """
        for head in self.term_heads.values():
            head.scale(factor, strength)
        # Their weights are zero.
        for layer in (self.steps, self.preconditioners):
            nn.init.constant_(layer.get_parameter("bias"), -math.atanh(math.log(factor) / 3))

    def forward(self, s: Tensor, mask: Tensor) -> SequenceOutput:
        """Process sequences.

        Parameters
        ----------
        s : Tensor, shape (B, L, q)
            One-hot sequence, with a profile appended if the model takes one.
        mask : Tensor, shape (B, L)
            1 for residues, 0 for padding, which comes last.

        Returns
        -------
        SequenceOutput
        """
        h, p = self.features(s, mask)
        return self.heads(h, p, mask)

    def features(self, s: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """1D (B, C1, L) and 2D (B, C2, L, L) features."""
        mask = mask.to(s.dtype)
        s = s.transpose(1, 2)
        initial_h = self.initial_nodes(self.embedding(s), mask)
        initial_p = self.initial_pairs(initial_h) + self._separations(s.shape[2])
        h, p = initial_h, initial_p
        for iteration in self.message_passing:
            h, p = iteration(h, p, mask)
        h = self.node_network(torch.cat([s, initial_h, h], dim=1), mask)
        p = self.pair_network(torch.cat([initial_p, p], dim=1), pair_mask(mask))
        return h, p

    def heads(self, h: Tensor, p: Tensor, mask: Tensor) -> SequenceOutput:
        """Output for the results of `features`."""
        mask = mask.to(h.dtype)
        row = mask.unsqueeze(-1)
        coefficients: list[Tensor] = []
        for head in self.term_heads.values():
            coefficients += head(h, p, mask)
        preconditioners = torch.exp(torch.tanh(self.preconditioners(h))).transpose(1, 2) * row
        # Steps can become up to e^2 times shorter or longer.
        pooled = h.sum(-1, keepdim=True) / mask.sum(-1).clamp_min(1)[:, None, None]
        steps = torch.exp(2 * torch.tanh(self.steps(pooled).squeeze(-1)))
        if self.lever_aware:
            preconditioners = preconditioners * self._levers(mask)
            shorter = torch.ones_like(mask[:, 0])
        else:
            # Random rotations about L bonds with lever arms of about sqrt(L) move the ends of a chain by sqrt(eps_z) L.
            # This keeps them near 1 Angstrom, below the speed limit, at every length.
            shorter = (20 / mask.sum(-1).clamp_min(20)) ** 2
        return SequenceOutput(
            coefficients=coefficients,
            z0=self.initial_state(h) * row,
            cartesian_step=self.cartesian_step * steps[:, 0],
            internal_step=self.internal_step * shorter * steps[:, 1],
            cartesian_preconditioner=preconditioners[..., 0],
            internal_preconditioner=preconditioners[..., 1:],
            secondary_structure=self.secondary_structure(h).transpose(1, 2) * row,
        )

    def _levers(self, mask: Tensor) -> Tensor:
        """min(1, 4 / n) for angles and dihedrals, and 1 for Cartesian steps and bonds: (B, L, 4)."""
        index = torch.arange(mask.shape[1], device=mask.device, dtype=mask.dtype)
        n = torch.minimum(index, mask.sum(-1, keepdim=True) - index).clamp_min(1)
        lever = (4 / n).clamp_max(1)
        ones = torch.ones_like(lever)
        return torch.stack([ones, ones, lever, lever], dim=-1)

    def _separations(self, n: int) -> Tensor:
        """Embedding (1, P, L, L) of the signed separation j - i along the sequence."""
        index = torch.arange(n, device=self.separation.weight.device)
        separation = (index.unsqueeze(0) - index.unsqueeze(1)).clamp(
            -self.max_separation, self.max_separation
        )
        return self.separation(separation + self.max_separation).permute(2, 0, 1).unsqueeze(0)

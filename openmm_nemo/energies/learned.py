"""Learned features: the paper's energy, whose functions of the chain are neural networks (nemo.md 3; paper, 2.2)."""

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders import node_features
from openmm_nemo.energies.term import CoefficientHead, Coefficients, EnergyTerm
from openmm_nemo.geometry import N_CHAIN_FEATURES, chain_features, radial_basis
from openmm_nemo.geometry.features import smooth_pair_geometry
from openmm_nemo.geometry.padding import pair_mask, without_padding
from openmm_nemo.networks.blocks import ResidualStack, convolution, initialise
from openmm_nemo.networks.normalization import BatchRenorm

# Coefficients of an untrained model.
BOND_STIFFNESS = 10.0  # kT / Angstrom^2: bonds of 3.8 +- 0.3 Angstrom
# Give an untrained model an rms force per residue of about 1 kT / Angstrom.
NODE_COEFFICIENT = 0.5
PAIR_COEFFICIENT = 0.4


FAR = 10.0
"""Angstrom. Turning x[i]'s frame turns all x[j], however far, and the torques of distant pairs would add up to forces
that grow with the length of the chain; so directions fade out with distance."""

STRAIGHT = 0.1
"""Squared sine of the angle at which a frame is half faded."""


class StructureNetwork(nn.Module):
    """1D and 2D convolutional networks over the invariant base features of a chain.

    The first 1D feature is the strain of the bond (j-1, j), sqrt(1 + (b - 3.8)^2) - 1 with b in
    Angstrom. All others are bounded: without an unbounded one, exp(-U) could not be normalised and a chain would come
    apart for good.
    """

    def __init__(self, config: NemoConfig) -> None:
        super().__init__()
        c1, c2 = node_features(config), config.pair_features
        n_rbf = len(config.rbf_centres)
        self.straight, self.far = STRAIGHT, FAR  # TorchScript cannot see globals
        self.rbf_centres: Tensor
        self.rbf_widths: Tensor
        self.register_buffer("rbf_centres", torch.tensor(config.rbf_centres), persistent=False)
        self.register_buffer("rbf_widths", torch.tensor(config.rbf_widths), persistent=False)
        self.node_input = convolution(1, N_CHAIN_FEATURES, c1)
        self.pair_input = convolution(2, n_rbf + 3, c2)
        self.node_network = ResidualStack(
            c1, config.feature_blocks, config.node_width, 1, config.dropout, config.dilations
        )
        self.pair_network = ResidualStack(
            c2, config.pair_blocks, config.pair_width, 2, config.dropout
        )
        self.node_output = convolution(1, c1, c1 - 1)
        self.pair_output = convolution(2, c2, c2)
        # Mean squares: cosines and sines of a C-alpha chain; few radial functions are active at a time.
        initialise(self.node_input.weight, second_moment=0.25)
        initialise(self.pair_input.weight, second_moment=0.25)
        initialise(self.node_output.weight)
        initialise(self.pair_output.weight)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Features of chains.

        Parameters
        ----------
        x : Tensor, shape (B, L, 3)
            Angstrom.
        mask : Tensor, shape (B, L)
            1 for residues, 0 for padding, which comes last and whose positions are not read.

        Returns
        -------
        f1 : Tensor, shape (B, L, C1)
        f2 : Tensor, shape (B, L, L, C2)
            Zero at padding.
        """
        mask = mask.to(x.dtype)
        x = without_padding(x, mask)
        pairs = pair_mask(mask)
        chain = chain_features(x)
        distance, direction = smooth_pair_geometry(x, mask, self.straight, self.far)
        rbf = radial_basis(distance, self.rbf_centres, self.rbf_widths)

        h = self.node_input(chain.transpose(1, 2))
        p = self.pair_input(torch.cat([rbf, direction], dim=-1).permute(0, 3, 1, 2))
        h = torch.tanh(self.node_output(self.node_network(h, mask)))
        p = torch.tanh(self.pair_output(self.pair_network(p, pairs)))
        stretch = chain[..., :1]
        strain = torch.sqrt(1 + stretch * stretch) - 1
        f1 = torch.cat([strain, h.transpose(1, 2)], dim=-1) * mask.unsqueeze(-1)
        f2 = p.permute(0, 2, 3, 1) * pairs.unsqueeze(-1)
        return f1, f2


class LearnedFeaturesHead(CoefficientHead):
    """One linear layer for l1 and one for l2.

    Parameters
    ----------
    node_channels, pair_channels : int
        Features of the sequence network.
    c1, c2 : int
        Coefficients per residue and per pair.
    """

    def __init__(self, node_channels: int, pair_channels: int, c1: int, c2: int) -> None:
        super().__init__()
        self.node_coefficients = convolution(1, node_channels, c1)
        self.pair_coefficients = convolution(2, pair_channels, c2)

    def initialise(self) -> None:
        """Start with bonds that hold and features that exert forces of about 1 kT / Angstrom."""
        nodes, pairs = self.node_coefficients, self.pair_coefficients
        initialise(nodes.weight, NODE_COEFFICIENT / math.sqrt(nodes.in_channels))
        initialise(pairs.weight, PAIR_COEFFICIENT / math.sqrt(pairs.in_channels))
        bias = F.pad(torch.tensor([BOND_STIFFNESS]), (0, nodes.out_channels - 1))
        nodes.bias = nn.Parameter(bias)

    def scale(self, factor: float, strength: float) -> None:
        """Multiply all coefficients by ``factor``, and all except that of the bond strain by ``strength``."""
        with torch.no_grad():
            for layer in (self.node_coefficients, self.pair_coefficients):
                for parameter in layer.parameters():
                    parameter.mul_(factor * strength)
            for parameter in self.node_coefficients.parameters():
                parameter[0] /= strength

    def forward(self, h: Tensor, p: Tensor, mask: Tensor) -> list[Tensor]:
        """Coefficients l1 (B, L, C1) and l2 (B, L, L, C2), see `CoefficientHead`."""
        l1 = self.node_coefficients(h).transpose(1, 2)
        l1 = torch.cat([F.softplus(l1[..., :1]), l1[..., 1:]], dim=-1)
        l2 = self.pair_coefficients(p).permute(0, 2, 3, 1)
        return [l1 * mask.unsqueeze(-1), l2 * pair_mask(mask).unsqueeze(-1)]


class LearnedFeatures(EnergyTerm):
    """sum l1(s) f1(x) + sum l2(s) f2(x), with f1 and f2 from a `StructureNetwork` (paper, equation 3).

    The first coefficient l1 of each residue, that of the bond strain, is positive, so that a chain cannot come apart.

    Parameters
    ----------
    config : NemoConfig
    """

    handed: ClassVar[bool] = True

    def __init__(self, config: NemoConfig) -> None:
        super().__init__(config)
        self.structure_network = StructureNetwork(config)

    @staticmethod
    def coefficients(config: NemoConfig) -> list[Coefficients]:
        """l1 (B, L, C1) and l2 (B, L, L, C2)."""
        return [
            Coefficients("l1", False, node_features(config)),
            Coefficients("l2", True, config.pair_features),
        ]

    @staticmethod
    def make_head(
        config: NemoConfig, node_channels: int, pair_channels: int
    ) -> LearnedFeaturesHead:
        """Head for a sequence network with these numbers of channels; not initialised."""
        c1, c2 = node_features(config), config.pair_features
        return LearnedFeaturesHead(node_channels, pair_channels, c1, c2)

    def forward(self, x: Tensor, coefficients: list[Tensor], mask: Tensor) -> Tensor:
        """Energies (B,), kT, see `EnergyTerm`."""
        f1, f2 = self.structure_network(x, mask)
        l1, l2 = coefficients[0], coefficients[1]
        return (l1 * f1).sum(dim=[1, 2]) + (l2 * f2).sum(dim=[1, 2, 3])

    def update_statistics(self, x: Tensor, mask: Tensor) -> None:
        """Update the statistics of the normalisations with positions ``x (B, L, 3)``, Angstrom."""
        for module in self.modules():
            if isinstance(module, BatchRenorm):
                module.train()
        self.structure_network(x, mask)

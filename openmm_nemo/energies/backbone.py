"""Bonds and soft cores, the same for every sequence."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from openmm_nemo.config import NemoConfig
from openmm_nemo.energies.basis import NoHead
from openmm_nemo.energies.term import Coefficients, EnergyTerm
from openmm_nemo.geometry.features import chain_features
from openmm_nemo.geometry.padding import pair_mask, without_padding
from openmm_nemo.geometry.vectors import length

BOND_WIDTH = 0.3  # Angstrom
BOND_STRENGTH = 12.0  # kT: grows linearly beyond the width
CORE_DIAMETER = 4.2  # Angstrom: C-alphas of residues three or more apart rarely come closer
CORE_STIFFNESS = 6.0  # kT / Angstrom^2
MIN_SEPARATION = 3
"""Smallest sequence separation at which residues repel."""


class Backbone(EnergyTerm):
    """Bonds of 3.8 Angstrom and repulsion of residues that overlap; no coefficients, bounded from below.

    U = sum_j k (sqrt(1 + ((b_j - 3.8) / w)^2) - 1) + sum_{i < j} (c / 2) max(0, D0 - D_ij)^2.

    Parameters
    ----------
    config : NemoConfig
    """

    handed: ClassVar[bool] = False
    joins_chains: ClassVar[bool] = True

    @staticmethod
    def coefficients(config: NemoConfig) -> list[Coefficients]:
        """None."""
        return []

    @staticmethod
    def make_head(config: NemoConfig, node_channels: int, pair_channels: int) -> NoHead:
        """A head without output."""
        return NoHead()

    def __init__(self, config: NemoConfig) -> None:
        super().__init__(config)
        # TorchScript cannot see globals.
        self.bond_width, self.bond_strength = BOND_WIDTH, BOND_STRENGTH
        self.core_diameter, self.core_stiffness = CORE_DIAMETER, CORE_STIFFNESS
        self.min_separation = MIN_SEPARATION

    def forward(self, x: Tensor, coefficients: list[Tensor], mask: Tensor) -> Tensor:
        """Energies (B,), kT, see `EnergyTerm`."""
        mask = mask.to(x.dtype)
        x = without_padding(x, mask)
        stretch = chain_features(x)[..., 0] / self.bond_width
        strain = (torch.sqrt(1 + stretch * stretch) - 1) * mask
        distance = length(x.unsqueeze(2) - x.unsqueeze(1))
        apart = (separations(x.shape[1], x.device) >= self.min_separation).to(x.dtype)
        overlap = F.relu(self.core_diameter - distance) * apart * pair_mask(mask)
        # Each pair occurs twice.
        core = 0.25 * self.core_stiffness * (overlap * overlap).sum(dim=[1, 2])
        return self.bond_strength * strain.sum(1) + core

    def between(
        self, x: Tensor, y: Tensor, coefficients: list[Tensor], back: list[Tensor]
    ) -> Tensor:
        """Energies (B,), kT, of residues of two chains that overlap, see `EnergyTerm`."""
        # Each pair twice, so that sums are rounded in the same way whichever chain comes first.
        cores = self._squared_overlaps(x, y) + self._squared_overlaps(y, x)
        return 0.25 * self.core_stiffness * cores

    def _squared_overlaps(self, x: Tensor, y: Tensor) -> Tensor:
        overlap = F.relu(self.core_diameter - length(y.unsqueeze(1) - x.unsqueeze(2)))
        return (overlap * overlap).sum(dim=[1, 2])


def separations(n: int, device: torch.device) -> Tensor:
    """|i - j| (n, n), int64."""
    index = torch.arange(n, device=device)
    return (index.unsqueeze(0) - index.unsqueeze(1)).abs()

"""Common parts of terms with fixed basis functions: heads with one linear layer."""

import torch
from torch import Tensor, nn

from openmm_nemo.energies.term import CoefficientHead
from openmm_nemo.geometry.padding import pair_mask
from openmm_nemo.networks.blocks import convolution


class _LinearHead(CoefficientHead):
    """One linear layer, ``coefficients``; an untrained model starts from zero."""

    def initialise(self) -> None:
        """Start with zero energy."""
        nn.init.zeros_(self.get_parameter("coefficients.weight"))

    def scale(self, factor: float, strength: float) -> None:
        """Multiply all coefficients by ``factor`` and ``strength``."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(factor * strength)


class NodeHead(_LinearHead):
    """One linear layer from the features of residues; an untrained model starts from zero.

    Parameters
    ----------
    node_channels : int
        Features of the sequence network.
    channels : int
        Coefficients per residue.
    """

    def __init__(self, node_channels: int, channels: int) -> None:
        super().__init__()
        self.coefficients = convolution(1, node_channels, channels)

    def forward(self, h: Tensor, p: Tensor, mask: Tensor) -> list[Tensor]:
        """Coefficients (B, L, C), see `CoefficientHead`."""
        return [self.coefficients(h).transpose(1, 2) * mask.unsqueeze(-1)]


class PairHead(_LinearHead):
    """One linear layer from the features of pairs; an untrained model starts from zero.

    Parameters
    ----------
    pair_channels : int
        Features of the sequence network.
    channels : int
        Coefficients per pair.
    """

    def __init__(self, pair_channels: int, channels: int) -> None:
        super().__init__()
        self.coefficients = convolution(2, pair_channels, channels)

    def forward(self, h: Tensor, p: Tensor, mask: Tensor) -> list[Tensor]:
        """Coefficients (B, L, L, C), see `CoefficientHead`."""
        return [self.coefficients(p).permute(0, 2, 3, 1) * pair_mask(mask).unsqueeze(-1)]


class NoHead(CoefficientHead):
    """Head of a term without coefficients."""

    def initialise(self) -> None:
        """There is nothing to initialise."""

    def scale(self, factor: float, strength: float) -> None:
        """There is nothing to scale."""

    def forward(self, h: Tensor, p: Tensor, mask: Tensor) -> list[Tensor]:
        """No coefficients."""
        nothing: list[Tensor] = []
        return nothing

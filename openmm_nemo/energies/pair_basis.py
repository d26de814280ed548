"""Fixed functions of the distance and the direction of each pair, with coefficients of the sequence."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from openmm_nemo.config import NemoConfig
from openmm_nemo.energies.backbone import MIN_SEPARATION, separated
from openmm_nemo.energies.basis import PairHead
from openmm_nemo.energies.term import Coefficients, EnergyTerm
from openmm_nemo.geometry import radial_basis
from openmm_nemo.geometry.features import smooth_pair_geometry
from openmm_nemo.geometry.padding import pair_mask, without_padding

N_RADIAL = 24
NEAREST, FARTHEST = 3.5, 21.5
RADIAL_CENTRES = tuple(NEAREST + k * (FARTHEST - NEAREST) / (N_RADIAL - 1) for k in range(N_RADIAL))
RADIAL_WIDTH = (FARTHEST - NEAREST) / (N_RADIAL - 1)
"""Of the Gaussians of the distance, Angstrom: their centres are one width apart."""

DIRECTION_CENTRES = (5.0, 7.0, 9.0, 12.0, 15.0, 19.0)
DIRECTION_WIDTHS = (1.5, 1.5, 2.0, 2.5, 3.0, 3.5)
"""Gaussians of the distance that the components of the direction are multiplied by, Angstrom."""

STRAIGHT = 0.01
"""Squared sine of the angle at which a frame has faded by half: real chains have none like that."""

N_FUNCTIONS = N_RADIAL + 3 * len(DIRECTION_CENTRES)


class PairFunctions(nn.Module):
    """Functions of the distance D and the direction v of pairs; zero far away.

    Gaussians of D, and the three components of v, each times wider Gaussians of D.
    """

    centres: Tensor
    widths: Tensor
    shell_centres: Tensor
    shell_widths: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name, values in (
            ("centres", RADIAL_CENTRES),
            ("widths", (RADIAL_WIDTH,) * N_RADIAL),
            ("shell_centres", DIRECTION_CENTRES),
            ("shell_widths", DIRECTION_WIDTHS),
        ):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def forward(self, distance: Tensor, direction: Tensor) -> Tensor:
        """Values (..., 42).

        Parameters
        ----------
        distance : Tensor, shape (...)
            Angstrom.
        direction : Tensor, shape (..., 3)
            See `openmm_nemo.geometry.features.smooth_pair_geometry`.
        """
        shells = radial_basis(distance, self.shell_centres, self.shell_widths)
        turned = (shells.unsqueeze(-1) * direction.unsqueeze(-2)).flatten(-2)
        return torch.cat([radial_basis(distance, self.centres, self.widths), turned], dim=-1)


class PairBasis(EnergyTerm):
    """(1/2) sum_{i, j} l_ij . f(D_ij, v_ij) over residues three or more apart, with f of `PairFunctions`; bounded.

    Its coefficients are learnt directly, see `openmm_nemo.training.losses`: exp(-l . f) is the density of a pair's
    distance and direction, relative to a reference. Pairs are not independent, so that their sum counts the same
    evidence several times over: ``scale`` weighs it down.

    Parameters
    ----------
    config : NemoConfig
    """

    handed: ClassVar[bool] = True

    def __init__(self, config: NemoConfig) -> None:
        super().__init__(config)
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.functions = PairFunctions()
        self.min_separation, self.straight = MIN_SEPARATION, STRAIGHT  # TorchScript sees no globals

    @staticmethod
    def coefficients(config: NemoConfig) -> list[Coefficients]:
        """One tensor (B, L, L, 42)."""
        return [Coefficients("pairs", True, N_FUNCTIONS)]

    @staticmethod
    def make_head(config: NemoConfig, node_channels: int, pair_channels: int) -> PairHead:
        """Head for a sequence network with so many channels; not initialised."""
        return PairHead(pair_channels, N_FUNCTIONS)

    def forward(self, x: Tensor, coefficients: list[Tensor], mask: Tensor) -> Tensor:
        """Energies (B,), kT, see `EnergyTerm`."""
        mask = mask.to(x.dtype)
        distance, direction = smooth_pair_geometry(
            without_padding(x, mask), mask, self.straight, math.inf
        )
        apart = separated(x.shape[1], self.min_separation, x.device).to(x.dtype) * pair_mask(mask)
        energies = (coefficients[0] * self.functions(distance, direction)).sum(-1) * apart
        return 0.5 * self.scale * energies.sum(dim=[1, 2])

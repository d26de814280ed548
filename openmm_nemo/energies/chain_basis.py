"""Fixed functions of the angle and the dihedral that place each residue, with coefficients from the sequence."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmm_nemo.config import NemoConfig
from openmm_nemo.energies.basis import NodeHead
from openmm_nemo.energies.scales import Scales
from openmm_nemo.energies.term import Coefficients, EnergyTerm
from openmm_nemo.geometry import bond_angles
from openmm_nemo.geometry.features import chain_features
from openmm_nemo.geometry.padding import without_padding

ANGLE_CENTRES = tuple(math.cos(math.radians(angle)) for angle in (80, 92, 104, 116, 128, 144))
ANGLE_WIDTH = 0.18
"""Width of the Gaussians of the cosine of the angle; their centres cover the angles of C-alpha traces."""

ORDERS = 3
"""Highest multiple of the dihedral."""

SMOOTHING = 0.01
"""Fades out the dihedral where an angle is straight and it is undefined; compared with the squared sines of both
angles."""

N_ANGLES, N_DIHEDRALS = 12, 24
GRID_ANGLES = (math.radians(70), math.radians(170))
TYPICAL_ANGLE = 1.9
"""Previous angle, radian, on which the functions of the dihedral hardly depend."""

N_FUNCTIONS = len(ANGLE_CENTRES) + 3 * 2 * ORDERS


class ChainFunctions(nn.Module):
    """Functions of the angle a and the dihedral d that place each residue.

    Gaussians in cos(a); and cos(k d) and sin(k d), k = 1 to 3, each times 1, cos(a) and cos(2 a).
    """

    def __init__(self) -> None:
        super().__init__()
        self.centres: Tensor
        self.register_buffer("centres", torch.tensor(ANGLE_CENTRES), persistent=False)
        self.width, self.smoothing = ANGLE_WIDTH, SMOOTHING  # TorchScript cannot see globals

    def forward(self, features: Tensor) -> Tensor:
        """Values (..., 24).

        Parameters
        ----------
        features : Tensor, shape (..., 4)
            See `openmm_nemo.geometry.features.chain_features`: they are smooth in x, and so is the result.
        """
        cosine = features[..., 1]
        # Both are multiplied by sin(a) sin(a') of the two angles.
        c, s = features[..., 2], features[..., 3]
        scale = torch.rsqrt(c * c + s * s + self.smoothing)
        c, s = c * scale, s * scale
        c2, s2 = c * c - s * s, 2 * c * s
        turns = torch.stack([c, s, c2, s2, c * c2 - s * s2, s * c2 + c * s2], dim=-1)
        bends = torch.stack([torch.ones_like(cosine), cosine, 2 * cosine * cosine - 1], dim=-1)
        gaussians = torch.exp(-(((cosine.unsqueeze(-1) - self.centres) / self.width) ** 2))
        products = (turns.unsqueeze(-1) * bends.unsqueeze(-2)).flatten(-2)
        return torch.cat([gaussians, products], dim=-1)


class ChainBasis(EnergyTerm):
    """c sum_j l_j . f(a_j, d_j) with f from `ChainFunctions`, over residues with a dihedral; bounded.

    Its coefficients are learnt directly, see `openmm_nemo.training.losses`: exp(-l . f) is the density of a residue's
    angle and dihedral, relative to a reference. The scale c is the weight of the term.

    Parameters
    ----------
    config : NemoConfig
    """

    handed: ClassVar[bool] = True
    joins_chains: ClassVar[bool] = True

    def __init__(self, config: NemoConfig) -> None:
        super().__init__(config)
        self.scales = Scales([1.0])
        self.functions = ChainFunctions()
        self.grid: Tensor
        self.reference: Tensor
        angles = torch.linspace(*GRID_ANGLES, N_ANGLES)[:, None].expand(-1, N_DIHEDRALS)
        dihedrals = ((torch.arange(N_DIHEDRALS) + 0.5) / N_DIHEDRALS * 2 - 1) * math.pi
        sines = angles.sin() * math.sin(TYPICAL_ANGLE)
        features = [
            torch.zeros_like(angles), angles.cos(), sines * dihedrals.cos(), sines * dihedrals.sin()
        ]  # fmt: skip
        grid = self.functions(torch.stack(features, -1)).flatten(0, 1)
        self.register_buffer("grid", grid, persistent=False)
        self.register_buffer("reference", torch.zeros(N_ANGLES * N_DIHEDRALS))

    @staticmethod
    def coefficients(config: NemoConfig) -> list[Coefficients]:
        """One tensor (B, L, 24)."""
        return [Coefficients("angles", False, N_FUNCTIONS)]

    @staticmethod
    def make_head(config: NemoConfig, node_channels: int, pair_channels: int) -> NodeHead:
        """Head for a sequence network with these numbers of channels; not initialised."""
        return NodeHead(node_channels, N_FUNCTIONS)

    def forward(self, x: Tensor, coefficients: list[Tensor], mask: Tensor) -> Tensor:
        """Energies (B,), kT, see `EnergyTerm`."""
        mask = mask.to(x.dtype)
        values = self.functions(chain_features(without_padding(x, mask))[:, 3:])
        energies = (coefficients[0][:, 3:] * values).sum(-1) * mask[:, 3:]
        return self.scales()[0] * energies.sum(1)

    def between(
        self, x: Tensor, y: Tensor, coefficients: list[Tensor], back: list[Tensor]
    ) -> Tensor:
        """Zero, shape (B,): no angle or dihedral joins two chains."""
        return x.new_zeros(x.shape[0])

    def bins(self, x: Tensor) -> Tensor:
        """Bin of the angle and the dihedral (..., L-3), int64, of residues 3 ... L-1 of ``x (..., L, 3)``."""
        _, angle, dihedral = bond_angles(x)
        low, high = GRID_ANGLES
        row = ((angle[..., 1:] - low) / (high - low) * (N_ANGLES - 1) + 0.5).long()
        column = ((dihedral / math.pi + 1) / 2 * N_DIHEDRALS).long()
        return row.clamp(0, N_ANGLES - 1) * N_DIHEDRALS + column.clamp(0, N_DIHEDRALS - 1)

    def fit_reference(self, chains: Sequence[Tensor]) -> None:
        """Set ``reference``, log p(bin), from chains (L, 3), Angstrom; with one count added to each bin."""
        counts = torch.ones_like(self.reference, dtype=torch.int64)
        for x in chains:
            counts += torch.bincount(self.bins(x), minlength=len(counts))
        self.reference.copy_((counts / counts.sum()).log())

    def log_density(self, coefficients: Tensor) -> Tensor:
        """Density of the angles and dihedrals of residues, from their coefficients (..., 24).

        exp(-l . f) times the reference, normalised over bins: log p, shape (..., 288).
        """
        return F.log_softmax(self.reference - coefficients @ self.grid.T, -1)

    def draw(self, coefficients: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Angles and dihedrals of residues, each drawn from its density as if it were alone.

        Parameters
        ----------
        coefficients : Tensor, shape (..., 24)
        numbers : Tensor, shape (...), float64
            Uniform in (0, 1).

        Returns
        -------
        angle, dihedral : Tensor, shape (...)
            Centres of bins, radian.
        """
        cumulative = self.log_density(coefficients).double().exp().cumsum(-1)
        chosen = (cumulative < numbers.unsqueeze(-1)).sum(-1).clamp_max(len(self.reference) - 1)
        low, high = GRID_ANGLES
        row, column = (chosen // N_DIHEDRALS).double(), (chosen % N_DIHEDRALS).double()
        angle = low + row * ((high - low) / (N_ANGLES - 1))
        dihedral = ((column + 0.5) / N_DIHEDRALS * 2 - 1) * math.pi
        return angle.to(coefficients.dtype), dihedral.to(coefficients.dtype)

    def cross_entropy(self, x: Tensor, coefficients: Tensor, mask: Tensor) -> Tensor:
        """Mean of -log p of the angle and dihedral of the residues of chains, nats per residue; shape (B,).

        Parameters
        ----------
        x : Tensor, shape (B, L, 3)
            Positions of the data, Angstrom.
        coefficients : Tensor, shape (B, L, 24)
        mask : Tensor, shape (B, L)
        """
        log_p = self.log_density(coefficients[:, 3:])
        bins = self.bins(without_padding(x, mask))
        surprise = -log_p.gather(-1, bins.unsqueeze(-1)).squeeze(-1)
        defined = mask[:, 3:]
        return (surprise * defined).sum(1) / defined.sum(1).clamp_min(1)

"""Fixed functions of the distance and the direction of each pair, with coefficients from the sequence."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmm_nemo.config import NemoConfig
from openmm_nemo.energies.backbone import MIN_SEPARATION, separations
from openmm_nemo.energies.basis import PairHead
from openmm_nemo.energies.scales import Scales
from openmm_nemo.energies.term import Coefficients, EnergyTerm
from openmm_nemo.geometry import radial_basis
from openmm_nemo.geometry.features import smooth_pair_geometry
from openmm_nemo.geometry.padding import pair_mask, without_padding

N_RADIAL = 24
NEAREST, FARTHEST = 3.5, 21.5
RADIAL_CENTRES = tuple(NEAREST + k * (FARTHEST - NEAREST) / (N_RADIAL - 1) for k in range(N_RADIAL))
RADIAL_WIDTH = (FARTHEST - NEAREST) / (N_RADIAL - 1)
"""Width of the Gaussians of the distance, Angstrom; their centres are one width apart."""

N_BINS = N_RADIAL + 1
"""Bins of the distance: one around each centre, and one for everything farther, where pairs have no energy."""

DIRECTION_CENTRES = (5.0, 7.0, 9.0, 12.0, 15.0, 19.0)
DIRECTION_WIDTHS = (1.5, 1.5, 2.0, 2.5, 3.0, 3.5)
"""Gaussians of the distance by which the components of the direction are multiplied, Angstrom."""

STRAIGHT = 0.01
"""Squared sine of the angle at which a frame has faded by half; angles of real chains are far from it."""

SMALLEST = 1e-30
"""Smaller values of the functions are zero in the grid: processors are many times slower with denormal numbers."""

N_DIRECTIONS = 24
MAX_SEPARATION = 63
"""Pairs farther apart in sequence share one reference."""

SCALE_SEPARATIONS = (MIN_SEPARATION, 6, 12, 24)
"""Smallest sequence separations of the ranges that have a scale each."""

INITIAL_SCALE = 0.5

NEAR, FAR_WEIGHT = 14.0, 0.3
"""Bins beyond this distance (Angstrom) count less in `PairBasis.cross_entropy`: they are mostly chance."""

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
    """(1/2) sum_{i, j} c l_ij . f(D_ij, v_ij) over residues three or more apart, with f of `PairFunctions`; bounded.

    Its coefficients are learnt directly, see `openmm_nemo.training.losses`: exp(-l . f) is the density of a pair's
    distance and direction, relative to a reference. Pairs are not independent, so their sum counts the same evidence
    several times; the scales c, one for each of the ranges `SCALE_SEPARATIONS`, compensate for this.

    Parameters
    ----------
    config : NemoConfig
    """

    handed: ClassVar[bool] = True
    joins_chains: ClassVar[bool] = True

    def __init__(self, config: NemoConfig) -> None:
        super().__init__(config)
        self.scales = Scales([INITIAL_SCALE] * len(SCALE_SEPARATIONS))
        self.functions = PairFunctions()
        self.min_separation, self.straight = (
            MIN_SEPARATION,
            STRAIGHT,
        )  # TorchScript cannot see globals

        self.scale_separations: Tensor
        self.register_buffer("scale_separations", torch.tensor(SCALE_SEPARATIONS), persistent=False)
        self.directions: Tensor
        self.grid: Tensor
        self.reference: Tensor
        self.register_buffer("directions", sphere(N_DIRECTIONS), persistent=False)
        fade = self.functions.centres * torch.rsqrt(self.functions.centres**2 + 1)
        turned = fade[:, None, None] * self.directions
        distances = self.functions.centres[:, None].expand(-1, N_DIRECTIONS)
        grid = self.functions(distances, turned)
        grid = torch.where(grid.abs() < SMALLEST, 0.0, grid)
        grid = F.pad(grid, (0, 0, 0, 0, 0, N_BINS - N_RADIAL))  # farther pairs have no energy
        self.register_buffer("grid", grid, persistent=False)
        weights = torch.where(self.functions.centres < NEAR, 1.0, FAR_WEIGHT)
        self.weights: Tensor
        self.register_buffer(
            "weights", F.pad(weights, (0, N_BINS - N_RADIAL), value=FAR_WEIGHT), persistent=False
        )
        self.register_buffer("reference", torch.zeros(MAX_SEPARATION + 1, N_BINS))

    @staticmethod
    def coefficients(config: NemoConfig) -> list[Coefficients]:
        """One tensor (B, L, L, 42)."""
        return [Coefficients("pairs", True, N_FUNCTIONS)]

    @staticmethod
    def make_head(config: NemoConfig, node_channels: int, pair_channels: int) -> PairHead:
        """Head for a sequence network with these numbers of channels; not initialised."""
        return PairHead(pair_channels, N_FUNCTIONS)

    def forward(self, x: Tensor, coefficients: list[Tensor], mask: Tensor) -> Tensor:
        """Energies (B,), kT, see `EnergyTerm`."""
        mask = mask.to(x.dtype)
        distance, direction = smooth_pair_geometry(
            without_padding(x, mask), mask, self.straight, math.inf
        )
        scale = self.scale_of_pairs(x.shape[1])
        energies = (coefficients[0] * self.functions(distance, direction)).sum(-1)
        return 0.5 * (energies * scale * pair_mask(mask)).sum(dim=[1, 2])

    def between(
        self, x: Tensor, y: Tensor, coefficients: list[Tensor], back: list[Tensor]
    ) -> Tensor:
        """Energies (B,), kT, of all pairs of residues of two chains, with the scale of the farthest in sequence."""
        forth = self._sum_of_pairs(x, y, coefficients[0])
        return self.scales()[-1] * (forth + self._sum_of_pairs(y, x, back[0]))

    def _sum_of_pairs(self, x: Tensor, y: Tensor, coefficients: Tensor) -> Tensor:
        """(1/2) sum_ij l_ij . f(D_ij, v_ij) over residues i of x and j of y."""
        mask = torch.ones_like(x[:, :, 0])
        distance, direction = smooth_pair_geometry(x, mask, self.straight, math.inf, y)
        return 0.5 * (coefficients * self.functions(distance, direction)).sum(dim=[1, 2, 3])

    def scale_of_pairs(self, n: int) -> Tensor:
        """The scale of each pair of ``n`` residues, shape (n, n); zero for those without energy."""
        separation = separations(n, self.scale_separations.device)
        # Range 0, of nearer residues, has no energy.
        number = torch.bucketize(separation, self.scale_separations, right=True)
        return F.pad(self.scales(), (1, 0))[number]

    def scale_of_chains(self, lengths: Sequence[int]) -> Tensor:
        """The scale of each pair of the residues of several chains, shape (n, n), see `scale_of_pairs`."""
        within = torch.block_diag(*(torch.ones(n, n) for n in lengths)).to(self.scale_separations)
        alone = torch.block_diag(*(self.scale_of_pairs(n) for n in lengths))
        return torch.where(within > 0, alone, self.scales()[-1])

    def bins(self, distance: Tensor) -> Tensor:
        """Index of the nearest radial function, int64; 24 for everything farther."""
        return ((distance - NEAREST) / RADIAL_WIDTH + 0.5).long().clamp(0, N_BINS - 1)

    def fit_reference(self, chains: Sequence[Tensor]) -> None:
        """Set ``reference``, log p(bin | separation), from chains (L, 3), Angstrom; with one count added to each
        bin."""
        # Integers, because float32 cannot count beyond 2^24.
        counts = self.reference.new_ones(self.reference.numel(), dtype=torch.int64)
        for x in chains:
            separation = separations(len(x), x.device).clamp(max=MAX_SEPARATION)
            bins = separation * N_BINS + self.bins(torch.cdist(x, x))
            counts += torch.bincount(bins.flatten(), minlength=len(counts))
        counts = counts.view_as(self.reference)
        self.reference.copy_((counts / counts.sum(1, keepdim=True)).log())

    def log_density(self, coefficients: Tensor, separation: Tensor) -> Tensor:
        """Density of the distances and directions of N pairs, from their coefficients.

        exp(-l . f) times the reference of the distance, normalised over bins of distances and directions.

        Parameters
        ----------
        coefficients : Tensor, shape (N, 42)
        separation : Tensor, shape (N,), int64
            Sequence separation.

        Returns
        -------
        Tensor, shape (N, 25, 24)
            log p(bin of the distance, direction).
        """
        energies = (coefficients @ self.grid.flatten(0, 1).T).unflatten(1, (N_BINS, N_DIRECTIONS))
        reference = self.reference[separation.clamp(max=MAX_SEPARATION)]
        return F.log_softmax((reference.unsqueeze(-1) - energies).flatten(1), 1).view_as(energies)

    def probability_within(
        self, distance: float, coefficients: Tensor, separation: Tensor
    ) -> Tensor:
        """Probability that N pairs are closer than a distance, from `log_density`; shape (N,).

        The bin that contains the distance counts in proportion.

        Parameters
        ----------
        distance : float
            Angstrom, below 21.5.
        coefficients : Tensor, shape (N, 42)
        separation : Tensor, shape (N,), int64
        """
        probability = self.log_density(coefficients, separation).exp().sum(2)
        number = torch.arange(N_BINS, device=probability.device)
        below = ((distance - NEAREST) / RADIAL_WIDTH + 0.5 - number).clamp(0, 1)
        return probability @ below.to(probability)

    def cross_entropy(self, x: Tensor, coefficients: Tensor, mask: Tensor, share: float) -> Tensor:
        """Mean of -log p of the distance and direction of the pairs of chains, nats per pair; shape (B,).

        Pairs count with the weight of their bin. p is proportional to these weights, too: without this, the
        coefficients would learn them, an attraction of log(1 / 0.3) kT between all residues.

        Parameters
        ----------
        x : Tensor, shape (B, L, 3)
            Positions of the data, Angstrom.
        coefficients : Tensor, shape (B, L, L, 42)
        mask : Tensor, shape (B, L)
        share : float
            Fraction of the pairs, drawn at random, that is used.
        """
        n = x.shape[1]
        distance, direction = smooth_pair_geometry(
            without_padding(x, mask), mask, self.straight, math.inf
        )
        # The first residue and the last one have no frame.
        framed = F.pad(mask[:, 2:], (1, 1))
        apart = separations(n, x.device)
        there = (framed.unsqueeze(2) * mask.unsqueeze(1) > 0) & (apart >= self.min_separation)
        chosen = there & (torch.rand(there.shape, device=x.device) < share)
        chain, i, j = chosen.nonzero(as_tuple=True)
        log_p = self.log_density(coefficients[chain, i, j], apart[i, j])
        log_p = log_p + self.weights.log().unsqueeze(1)
        log_p = log_p - log_p.logsumexp((1, 2), keepdim=True)
        nearest = (direction[chain, i, j] @ self.directions.T).argmax(1)
        bins = self.bins(distance[chain, i, j])
        surprise = -log_p[torch.arange(len(chain), device=x.device), bins, nearest]
        weight = self.weights[bins].to(surprise)
        zero = x.new_zeros(len(x))
        total = zero.index_add(0, chain, surprise * weight)
        return total / zero.index_add(0, chain, weight).clamp_min(1e-6)


def sphere(n: int) -> Tensor:
    """Directions (n, 3) that cover the sphere evenly: a Fibonacci lattice."""
    index = torch.arange(n) + 0.5
    z = 1 - 2 * index / n
    turn = math.pi * (1 + math.sqrt(5)) * index
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * turn.cos(), radius * turn.sin(), z], dim=1)

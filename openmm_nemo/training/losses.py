"""Losses, one class for each term of nemo.md section 6 (paper, 3.2 and B.2); all give one number per chain, (B,)."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmm_nemo.data.batches import Batch
from openmm_nemo.errors import InputError
from openmm_nemo.geometry import bond_angles, pair_geometry
from openmm_nemo.geometry.vectors import length, place_rows, unit
from openmm_nemo.models.batch import ConditionedBatch
from openmm_nemo.residues import AMINO_ACIDS
from openmm_nemo.training.denoising import cartesian_error, internal_error
from openmm_nemo.training.tm_superposition import tm_superpose

CONTACT_DISTANCE = 12.0
"""D0 of the contact weights, Angstrom: our choice, the paper does not give it."""

CHARGES = 0.084 * 332
"""Product of the partial charges of DSSP's hydrogen bond, kcal/mol Angstrom (Kabsch & Sander 1983)."""

BOND_ENERGY = -0.5
"""Energy below which the data have a hydrogen bond, kcal/mol."""

MIN_SEPARATION = 3
"""Smallest sequence separation at which hydrogen bonds are scored."""

LEARNT_TERMS = {"pair_likelihood": "pair-basis", "chain_likelihood": "chain-basis"}
"""Losses on a single term of the energy, and the term that each needs."""

COMPARING = ("likelihood", "contrastive_likelihood")
"""Losses that compare the energies of natives with those of the model's positions, which a simulation must find."""

CARTESIAN_NOISE = (0.1, 0.3, 1.0)
"""Angstrom: from vibrations to about the distance at which the pair functions change."""

INTERNAL_NOISE = (0.03, 0.1, 0.3)
"""Radian: 0.3 is as much as angles vary, and turns the ends of a chain of 100 residues by several Angstrom."""

PAIR_SHARE = 0.3
"""Fraction of the pairs that the pair likelihood uses in an update."""


class Prediction(NamedTuple):
    """Prediction of the model for a batch of B chains of at most L residues.

    Attributes
    ----------
    x0, x : Tensor, shape (B, L, 3)
        Initial and final positions, Angstrom.
    states : Tensor, shape (K, B, L, 3)
        Intermediate positions, Angstrom.
    atoms : Tensor, shape (B, L, 5, 3)
        N, CA, C, O and side-chain centre at x, Angstrom.
    data_atoms : Tensor, shape (B, L, 5, 3)
        The same atoms, rebuilt at the C-alphas of the data.
    secondary_structure : Tensor, shape (B, L, 8)
        Logits of the sequence network.
    energy : callable
        U at positions (B, L, 3): shape (B,), kT.
    growth : Tensor, shape (B,)
        log(|F(x) - F(x + delta)| / |delta|) for some step F, with the same noise, and some small delta.
    chains : ConditionedBatch, optional
        Output of the networks, for losses on single terms of the energy.
    """

    x0: Tensor
    x: Tensor
    states: Tensor
    atoms: Tensor
    data_atoms: Tensor
    secondary_structure: Tensor
    energy: Callable[[Tensor], Tensor]
    growth: Tensor
    chains: ConditionedBatch | None = None

    def term(self, name: str) -> tuple[Any, Tensor]:
        """A term of the energy with one tensor of coefficients, and this tensor.

        Raises
        ------
        InputError
            If the model lacks the term.
        """
        coefficients = () if self.chains is None else self.chains.coefficients_of(name)
        if self.chains is None or self.chains.energy_network is None or not coefficients:
            raise InputError(
                f"A loss needs the energy term {name!r}, which the model does not have: "
                "add it to terms, or leave out the loss."
            )
        return self.chains.energy_network.terms[name], coefficients[0]


class Likelihood(nn.Module):
    """U(data) - U(model), with gradients only through the energy (eq. 6; eq. 7 is printed with the opposite sign).

    Its gradient is that of the negative log likelihood where the model's positions are samples of exp(-U).
    """

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Difference of the energies, kT; shape (B,)."""
        return prediction.energy(batch.x) - prediction.energy(prediction.x.detach())


class ContrastiveLikelihood(Likelihood):
    """The same per residue, so that chains of all lengths count alike.

    The model's positions are negatives at the end of the schedule that users simulate with, which is colder than 300 K:
    then its gradient vanishes where natives are as low as what this schedule finds, rather than at the maximum of the
    likelihood.
    """

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Difference of the energies, kT per residue; shape (B,)."""
        return super().forward(prediction, batch) / batch.mask.sum(-1)


class EnergySize(nn.Module):
    """Mean square of the energy per residue, at the data and at the model's positions, kT^2.

    On its own, the likelihood can fall forever: as energies grow, the steps of the simulation become too long for them,
    which makes the energies at the model's positions larger still. (Du & Mordatch, NeurIPS 2019, section 3.4.)
    """

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Shape (B,)."""
        energies = torch.stack(
            [prediction.energy(batch.x), prediction.energy(prediction.x.detach())]
        )
        return ((energies / batch.mask.sum(-1)) ** 2).mean(0)


class _OfPositions(nn.Module):
    """Loss on the final positions or, if ``initial``, on the initial ones, those of z(0).

    Parameters
    ----------
    initial : bool
    """

    def __init__(self, initial: bool = False) -> None:
        super().__init__()
        self.initial = initial

    def _positions(self, prediction: Prediction) -> Tensor:
        return prediction.x0 if self.initial else prediction.x


class Distances(_OfPositions):
    """Contact-weighted mean error of the distances between C-alphas, Angstrom."""

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Mean of |D(model) - D(data)| with weights sigmoid(D0 - min(D(model), D(data))); shape (B,)."""
        x = self._positions(prediction)
        model, data = _distances(x), _distances(batch.x)
        return _contact_mean((model - data).abs(), model, data, batch.mask)


class Angles(_OfPositions):
    """Mean error of the directions H = (cos a, sin a cos d, sin a sin d) of the bonds.

    The paper sums over residues; the mean treats chains of all lengths alike.
    """

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Mean of |H(model) - H(data)|, from 0 to 2; shape (B,)."""
        x = self._positions(prediction)
        error = length(_directions(x) - _directions(batch.x))
        defined = batch.mask[:, 3:]
        return (error * defined).sum(-1) / defined.sum(-1).clamp_min(1)


class Bonds(_OfPositions):
    """Mean error of the distances between consecutive C-alphas, Angstrom; H does not contain them."""

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Mean of |b(model) - b(data)|; shape (B,)."""
        x = self._positions(prediction)
        error = (bond_angles(x)[0] - bond_angles(batch.x)[0]).abs()
        there = batch.mask[:, 1:]
        return (error * there).sum(-1) / there.sum(-1)


class Trajectory(nn.Module):
    """Contact-weighted mean error of D_ij v_ij, i.e. x_j in the frame of x_i, over intermediate states, Angstrom."""

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Mean over pairs and states; shape (B,)."""
        model_distance, model = _places(prediction.states)
        data_distance, data = _places(batch.x)
        # Padding gives the last residue a frame, which it should not have.
        framed = F.pad(batch.mask[:, 2:], (1, 1))
        mask = framed.unsqueeze(-1) * batch.mask.unsqueeze(-2)
        error = length(model - data)
        weight = _contact_weight(model_distance, data_distance) * mask * _off_diagonal(mask)
        return ((error * weight).sum((-1, -2)) / weight.sum((-1, -2)).clamp_min(1e-9)).mean(0)


class TemplateModelling(_OfPositions):
    """1 - TM-score (Zhang & Skolnick 2004), at the best superposition."""

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Differentiable with the superposition held fixed, which is right at its optimum; shape (B,)."""
        x = self._positions(prediction)
        moved, d0 = tm_superpose(x, batch.x, batch.mask)
        close = 1 / (1 + ((moved - batch.x) ** 2).sum(-1) / d0.unsqueeze(-1) ** 2)
        return 1 - (close * batch.mask).sum(-1) / batch.mask.sum(-1)


class Imputation(nn.Module):
    """Mean distance between the atoms rebuilt at the data's C-alphas and those of the data, Angstrom."""

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Mean over the atoms that the data have; shape (B,)."""
        error = length(prediction.data_atoms - batch.backbone)
        return (error * batch.atom_mask).sum((-1, -2)) / batch.atom_mask.sum((-1, -2))


class HydrogenBonds(nn.Module):
    """Cross-entropy of the data's backbone hydrogen bonds under a logistic model of the predicted ones.

    p = sigmoid(a sigmoid(-b (U + 0.5)) + c), with a, b > 0 and c learned. The paper sums over pairs; this is the sum
    over pairs divided by the number of residues.
    """

    def __init__(self) -> None:
        super().__init__()
        # Start from p = 0.01 without a bond and 0.9 with one; softplus(6.8) and softplus(1.85) give 6.8 and 2.
        self.a = nn.Parameter(torch.tensor(6.8))
        self.b = nn.Parameter(torch.tensor(1.85))
        self.c = nn.Parameter(torch.tensor(-4.6))

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Cross-entropy per residue; shape (B,)."""
        data, there = hydrogen_bond_energy(batch.backbone, batch.atom_mask, batch.s)
        model, _ = hydrogen_bond_energy(prediction.atoms, batch.atom_mask, batch.s)
        bonded = (data < BOND_ENERGY).to(model)
        soft = torch.sigmoid(-F.softplus(self.b) * (model - BOND_ENERGY))
        logit = F.softplus(self.a) * soft + self.c
        entropy = F.binary_cross_entropy_with_logits(logit, bonded, reduction="none")
        return (entropy * there).sum((-1, -2)) / batch.mask.sum(-1)


class SecondaryStructure(nn.Module):
    """Cross-entropy of the 8-class secondary structure."""

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Mean over residues; shape (B,)."""
        logits = prediction.secondary_structure.transpose(1, 2)
        entropy = F.cross_entropy(logits, batch.dssp, reduction="none")
        return (entropy * batch.mask).sum(-1) / batch.mask.sum(-1)


class Lyapunov(nn.Module):
    """Growth of small perturbations in a step, where they grow (eq. 13)."""

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """max(0, log growth); shape (B,)."""
        return prediction.growth.clamp_min(0)


class PairLikelihood(nn.Module):
    """-log p of the distance and direction of pairs, nats per pair, see `PairBasis.cross_entropy`.

    The coefficients of fixed functions give the probability of each distance and direction of a pair as if it were
    alone: a pseudo-likelihood (Besag, The Statistician 24, 179, 1975) that needs no simulation.
    """

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Shape (B,)."""
        term, coefficients = prediction.term(LEARNT_TERMS["pair_likelihood"])
        loss: Tensor = term.cross_entropy(batch.x, coefficients, batch.mask, PAIR_SHARE)
        return loss


class ChainLikelihood(nn.Module):
    """-log p of the angle and dihedral of residues, nats per residue, see `ChainBasis.cross_entropy`."""

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Shape (B,)."""
        term, coefficients = prediction.term(LEARNT_TERMS["chain_likelihood"])
        loss: Tensor = term.cross_entropy(batch.x, coefficients, batch.mask)
        return loss


class CartesianDenoising(nn.Module):
    """Denoising score matching on positions, see `openmm_nemo.training.denoising.cartesian_error`.

    Parameters
    ----------
    sizes : sequence of float
        Sizes of the noise, Angstrom.
    """

    def __init__(self, sizes: Sequence[float] = CARTESIAN_NOISE) -> None:
        super().__init__()
        self.sizes = tuple(sizes)

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Shape (B,); 1 on average without an energy."""
        return cartesian_error(prediction.energy, batch.x, batch.mask, self.sizes)


class InternalDenoising(nn.Module):
    """Denoising score matching on angles and dihedrals, see `openmm_nemo.training.denoising.internal_error`.

    Parameters
    ----------
    sizes : sequence of float
        Sizes of the noise, radian.
    """

    def __init__(self, sizes: Sequence[float] = INTERNAL_NOISE) -> None:
        super().__init__()
        self.sizes = tuple(sizes)

    def forward(self, prediction: Prediction, batch: Batch) -> Tensor:
        """Shape (B,); 1 on average without an energy."""
        return internal_error(prediction.energy, batch.x, batch.mask, self.sizes)


LOSSES: dict[str, Callable[..., nn.Module]] = {
    "likelihood": Likelihood,
    "contrastive_likelihood": ContrastiveLikelihood,
    "energy_size": EnergySize,
    "distances": Distances,
    "initial_distances": lambda: Distances(initial=True),
    "angles": Angles,
    "initial_angles": lambda: Angles(initial=True),
    "bonds": Bonds,
    "initial_bonds": lambda: Bonds(initial=True),
    "trajectory": Trajectory,
    "tm": TemplateModelling,
    "initial_tm": lambda: TemplateModelling(initial=True),
    "imputation": Imputation,
    "hydrogen_bonds": HydrogenBonds,
    "secondary_structure": SecondaryStructure,
    "pair_likelihood": PairLikelihood,
    "chain_likelihood": ChainLikelihood,
    "denoising_x": CartesianDenoising,
    "denoising_z": InternalDenoising,
    "lyapunov": Lyapunov,
}
"""All losses by name, as used in the settings."""


def hydrogen_bond_energy(atoms: Tensor, atom_mask: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """Energy of DSSP's backbone hydrogen bonds from the donor N-H of residue i to the acceptor C=O of residue j.

    Parameters
    ----------
    atoms : Tensor, shape (B, L, 5, 3)
        Angstrom.
    atom_mask : Tensor, shape (B, L, 5)
        1 for atoms that are present.
    s : Tensor, shape (B, L, q)
        One-hot sequence: prolines have no hydrogen.

    Returns
    -------
    energy : Tensor, shape (B, L, L)
        kcal/mol.
    there : Tensor, shape (B, L, L)
        1 for pairs whose atoms are present and that are at least `MIN_SEPARATION` apart in sequence.
    """
    n, ca, c, o = atoms[:, :, :4].unbind(2)
    n_residues = n.shape[1]
    carbon_before = place_rows(c, 1, n_residues)
    hydrogen = n - unit(unit(carbon_before - n) + unit(ca - n))

    def inverse(first: Tensor, second: Tensor) -> Tensor:
        # DSSP treats atoms closer than 0.5 Angstrom as 0.5 Angstrom apart.
        return 1 / length(first.unsqueeze(2) - second.unsqueeze(1)).clamp_min(0.5)

    energy = CHARGES * (inverse(n, o) + inverse(hydrogen, c) - inverse(hydrogen, o) - inverse(n, c))
    proline = s[:, :, AMINO_ACIDS.index("P")]
    before = place_rows(atom_mask[:, :, 2:3], 1, n_residues).squeeze(-1)
    donor = atom_mask[:, :, 0] * atom_mask[:, :, 1] * before * (1 - proline)
    acceptor = atom_mask[:, :, 2] * atom_mask[:, :, 3]
    index = torch.arange(n_residues, device=atoms.device)
    apart = (index.unsqueeze(0) - index.unsqueeze(1)).abs() >= MIN_SEPARATION
    return energy, donor.unsqueeze(2) * acceptor.unsqueeze(1) * apart


def _distances(x: Tensor) -> Tensor:
    return length(x.unsqueeze(-3) - x.unsqueeze(-2))


def _places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (..., L, L) and D_ij v_ij (..., L, L, 3)."""
    distance, direction = pair_geometry(x)
    return distance, distance.unsqueeze(-1) * direction


def _directions(x: Tensor) -> Tensor:
    """H (..., L-3, 3) of the bonds that end at x[3], x[4], ..."""
    _, a, d = bond_angles(x)
    a = a[..., 1:]
    return torch.stack([a.cos(), a.sin() * d.cos(), a.sin() * d.sin()], dim=-1)


def _contact_weight(model: Tensor, data: Tensor) -> Tensor:
    """Weights of pairs, as constants: otherwise the loss could be lowered by moving residues out of range."""
    return torch.sigmoid(CONTACT_DISTANCE - torch.minimum(model, data)).detach()


def _off_diagonal(pairs: Tensor) -> Tensor:
    return 1 - torch.eye(pairs.shape[-1], device=pairs.device)


def _contact_mean(error: Tensor, model: Tensor, data: Tensor, mask: Tensor) -> Tensor:
    pairs = mask.unsqueeze(-1) * mask.unsqueeze(-2)
    weight = _contact_weight(model, data) * pairs * _off_diagonal(pairs)
    return (error * weight).sum((-1, -2)) / weight.sum((-1, -2)).clamp_min(1e-9)

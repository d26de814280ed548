"""A model conditioned on several chains."""

import copy
from collections.abc import Mapping, Sequence
from itertools import accumulate, combinations
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from openmm_nemo.conditioning import SequenceNetwork, SequenceOutput, coefficients_between
from openmm_nemo.config import NemoConfig
from openmm_nemo.dynamics import Trajectory
from openmm_nemo.dynamics.noise import orientation_numbers
from openmm_nemo.energies import Energy, Origin, terms_of
from openmm_nemo.errors import InputError
from openmm_nemo.geometry.rigid import rotation_of_numbers, side_by_side
from openmm_nemo.models.batch import ConditionedBatch, evaluation_mode
from openmm_nemo.models.conditioned import ConditionedModel
from openmm_nemo.models.imputation import Imputation
from openmm_nemo.residues import BREAK, chain_name

if TYPE_CHECKING:
    from openmm_nemo.models.model import NemoModel

GAP = 10.0
"""Smallest distance, Angstrom, between C-alphas of different chains in initial positions: beyond the contact of side
chains, and well within the reach of the energy."""

CAVEAT = (
    "The model was trained on single chains and has never seen an interface: what it says about a complex is what its "
    "pair terms say about such contacts within one chain."
)


class ConditionedComplex(ConditionedModel):
    """Energy, initial state, step sizes and atoms of a complex of several chains, with L residues in all.

    It is used as a protein: ``sequence``, positions, atoms and all tensors have the residues of the chains one after
    the other, ``chains`` has their indices. Every chain alone is what the model makes of it alone; to its energy, that
    of the pairs of residues of different chains is added. So U does not depend on the order of the chains, and stays
    the same if identical chains change places.

    Step sizes are those of the first chain, and those of other chains are in the preconditioners.

    It is simulated in OpenMM. `rollout` and `copies`, which move single chains, raise InputError.

    Attributes
    ----------
    caveat : str
        One sentence for users on what the model can say about complexes; empty if it was trained on them, see
        `openmm_nemo.NemoConfig.trained_on_complexes`.
    """

    def __init__(
        self,
        origin: Origin,
        sequence: str,
        s: Tensor,
        output: SequenceOutput,
        energy_network: Energy | None,
        imputation: Imputation,
    ) -> None:
        super().__init__(origin, sequence, s, output, energy_network, imputation)
        self.caveat = "" if origin.config.trained_on_complexes else CAVEAT

    def impute(self, x: Tensor) -> Tensor:
        """Atoms (..., L, 5, 3) of ``x (..., L, 3)``, Angstrom; those of each chain as if it were alone."""
        batch = x.reshape(-1, *x.shape[-2:])
        atoms = []
        for chain in self._slices():
            here = batch[:, chain]
            s = self.s[chain].expand(len(here), -1, -1)
            atoms.append(self.imputation(here, s, torch.ones_like(here[..., 0])))
        together = torch.cat(atoms, dim=1)
        return together.reshape(x.shape[:-1] + together.shape[-2:])

    def initial_state(self, seed: int | None = None) -> Tensor:
        """Initial positions (L, 3), Angstrom, with their centre at the origin.

        Each chain has the initial state of its own, see `ConditionedBatch.initial_positions`, with numbers of its own.
        A seed also turns each chain at random. They stand side by side: each is moved along the first axis towards
        those before it until the nearest C-alphas are 10 Angstrom apart.
        """
        chains = []
        for number, chain in enumerate(self._slices()):
            x = self._alone(chain).initial_positions(seed, number)[0]
            if seed is not None:
                x = x @ rotation_of_numbers(orientation_numbers(seed, number)).to(x).T
            chains.append(x)
        x = torch.cat(side_by_side(chains, GAP))
        return x - x.mean(0)

    def copies(self, n_chains: int) -> ConditionedBatch:
        """Raise InputError: a batch consists of single chains."""
        raise InputError(
            "Only single chains are simulated in PyTorch: simulate a complex in OpenMM, see create_system."
        )

    def rollout(self, *args: Any, **options: Any) -> Trajectory:
        """Raise InputError, see `copies`."""
        self.copies(1)
        raise AssertionError

    def _slices(self) -> list[slice]:
        return [slice(chain[0], chain[-1] + 1) for chain in self.chains]

    def _alone(self, chain: slice) -> ConditionedBatch:
        """A batch of one chain, without step sizes."""
        energy = self.require_energy()
        coefficients = [
            values[:, chain, chain] if values.dim() == 4 else values[:, chain]
            for values in energy.coefficient_values()
        ]
        z0 = self.z0[chain].unsqueeze(0)
        mask = torch.ones_like(z0[..., 0])
        structure = self.secondary_structure[chain].unsqueeze(0)
        return ConditionedBatch(mask, z0, structure, None, coefficients, energy.network)


def condition_complex(
    model: "NemoModel", chains: Sequence[str], inputs: Mapping[str, Any]
) -> ConditionedComplex:
    """A model conditioned on several chains, see `NemoModel.condition`.

    Parameters
    ----------
    model : NemoModel
    chains : sequence of str
        Their sequences.
    inputs : mapping of str to list
        Other inputs by name: one array, or None, per chain; None for an input that is not known for any.

    Raises
    ------
    InputError
        If the energy of the model is not defined for complexes, or the inputs do not fit the chains.
    """
    network = _network(model)
    of_chains = _inputs_of_chains(inputs, len(chains))
    with torch.inference_mode(False), torch.no_grad(), evaluation_mode(network):
        encoded = []
        for number, (chain, own) in enumerate(zip(chains, of_chains, strict=True)):
            try:
                encoded.append(model.encode(chain, **own))
            except InputError as error:
                raise InputError(f"Chain {chain_name(number)}: {error}") from None
        return ConditionedComplex(
            Origin(model.name, model.fingerprint(), model.config),
            BREAK.join(chains),
            torch.cat(encoded, dim=1),
            _joined_output(network, model.config, encoded),
            copy.deepcopy(model.energy),
            copy.deepcopy(model.imputation),
        )


def _network(model: "NemoModel") -> SequenceNetwork:
    """The sequence network; InputError if the energy of the model is not defined for complexes."""
    name = f"The model {model.name!r}" if model.name else "The model"
    if not isinstance(model.sequence_network, SequenceNetwork):
        raise InputError(
            f"{name} is a baseline without energy, which says nothing about several chains: use nemo-fold."
        )
    for term, kind in terms_of(model.config).items():
        if not kind.joins_chains:
            raise InputError(
                f"{name} has the energy term {term!r}, which is defined only for a single chain: use a model without "
                "it, such as nemo-fold."
            )
    return model.sequence_network


def _inputs_of_chains(
    inputs: Mapping[str, Any], n_chains: int
) -> list[dict[str, ArrayLike | None]]:
    """The inputs of each chain."""
    of_chains: list[dict[str, ArrayLike | None]] = [{} for _ in range(n_chains)]
    for name, arrays in inputs.items():
        if arrays is not None and len(arrays) != n_chains:
            raise InputError(
                f"The {name} has {len(arrays)} entries, but there are {n_chains} chains: give a list with one {name} "
                "per chain, or None where it is not known."
            )
        for own, array in zip(
            of_chains, [None] * n_chains if arrays is None else arrays, strict=True
        ):
            own[name] = array
    return of_chains


def _joined_output(
    network: SequenceNetwork, config: NemoConfig, chains: Sequence[Tensor]
) -> SequenceOutput:
    """The outputs for chains with the inputs (1, L, q) as one of all residues, with coefficients between chains."""
    outputs = [network(s, torch.ones_like(s[..., 0])) for s in chains]
    coefficients = [
        torch.cat(parts, dim=1) if parts[0].dim() == 3 else _block_diagonal(parts)
        for parts in zip(*(output.coefficients for output in outputs), strict=True)
    ]
    _fill_between(network, config, chains, [values for values in coefficients if values.dim() == 4])
    first = outputs[0]
    cartesian = [
        o.cartesian_step / first.cartesian_step * o.cartesian_preconditioner for o in outputs
    ]
    internal = [o.internal_step / first.internal_step * o.internal_preconditioner for o in outputs]
    return SequenceOutput(
        coefficients=coefficients,
        z0=torch.cat([output.z0 for output in outputs], dim=1),
        cartesian_step=first.cartesian_step,
        internal_step=first.internal_step,
        cartesian_preconditioner=torch.cat(cartesian, dim=1),
        internal_preconditioner=torch.cat(internal, dim=1),
        secondary_structure=torch.cat([output.secondary_structure for output in outputs], dim=1),
    )


def _block_diagonal(parts: Sequence[Tensor]) -> Tensor:
    """Coefficients (1, L, L, C) of all pairs from those (1, L', L', C) within each chain; zero between chains."""
    n = sum(part.shape[1] for part in parts)
    values = parts[0].new_zeros(1, n, n, parts[0].shape[-1])
    for chain, part in zip(_slices(parts), parts, strict=True):
        values[:, chain, chain] = part
    return values


def _fill_between(
    network: SequenceNetwork,
    config: NemoConfig,
    chains: Sequence[Tensor],
    coefficients: Sequence[Tensor],
) -> None:
    """Set the coefficients (1, L, L, C) between all pairs of chains; those of equal chains are computed once."""
    places = _slices(chains)
    kinds = [next(k for k, other in enumerate(chains) if _equal(other, chain)) for chain in chains]
    known: dict[tuple[int, int], tuple[list[Tensor], list[Tensor]]] = {}
    for a, b in combinations(range(len(chains)), 2):
        pair = kinds[a], kinds[b]
        if pair not in known:
            forth, back = coefficients_between(network, config, chains[a], chains[b])
            known[pair], known[pair[::-1]] = (forth, back), (back, forth)
        for values, from_a, from_b in zip(coefficients, *known[pair], strict=True):
            values[:, places[a], places[b]] = from_a
            values[:, places[b], places[a]] = from_b


def _slices(parts: Sequence[Tensor]) -> list[slice]:
    """Rows of tensors (1, L, ...) one after the other."""
    ends = list(accumulate(part.shape[1] for part in parts))
    return [slice(end - part.shape[1], end) for end, part in zip(ends, parts, strict=True)]


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first, second)

"""A model conditioned on several chains."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from openmm_nemo.conditioning import SequenceNetwork, SequenceOutput, joined_output
from openmm_nemo.dynamics.noise import orientation_numbers
from openmm_nemo.energies import Energy, Origin, terms_of
from openmm_nemo.errors import InputError
from openmm_nemo.geometry.chains import chain_slices
from openmm_nemo.geometry.rigid import rotation_of_numbers, side_by_side
from openmm_nemo.models.batch import ConditionedBatch, evaluation_mode
from openmm_nemo.models.conditioned import ConditionedModel
from openmm_nemo.models.imputation import Imputation
from openmm_nemo.residues import BREAK

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
        for chain in chain_slices(self.chain_lengths):
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
        for number, chain in enumerate(chain_slices(self.chain_lengths)):
            x = self._alone(chain).initial_positions(seed, number)[0]
            if seed is not None:
                x = x @ rotation_of_numbers(orientation_numbers(seed, number)).to(x).T
            chains.append(x)
        x = torch.cat(side_by_side(chains, GAP))
        return x - x.mean(0)

    def copies(self, n_chains: int) -> NoReturn:
        """Raise InputError: a batch consists of single chains."""
        raise InputError(
            "Only single chains are simulated in PyTorch: simulate a complex in OpenMM, see create_system."
        )

    def rollout(self, *args: Any, **options: Any) -> NoReturn:
        """Raise InputError, see `copies`."""
        self.copies(1)

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
                raise InputError(f"Chain {number + 1} of {len(chains)}: {error}") from None
        return ConditionedComplex(
            Origin(model.name, model.fingerprint(), model.config),
            BREAK.join(chains),
            torch.cat(encoded, dim=1),
            joined_output(network, model.config, encoded),
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

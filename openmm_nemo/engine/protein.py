"""What the OpenMM side needs to know about a protein."""

from typing import Protocol

from torch import Tensor

from openmm_nemo.energies import ProteinEnergy
from openmm_nemo.residues import Numbering


class Protein(Protocol):
    """A conditioned protein or complex of L residues; `openmm_nemo.ConditionedModel` is one.

    Attributes
    ----------
    sequence : str
    chain_lengths : tuple of int
        Number of residues of each chain.
    numbering : Numbering
    s : Tensor, shape (L, q)
        Input of the networks.
    cartesian_step, internal_step : Tensor, shape ()
        eps_x, Angstrom^2, and eps_z.
    cartesian_preconditioner, internal_preconditioner : Tensor, shape (L,), (L, 3)
    """

    sequence: str
    chain_lengths: tuple[int, ...]
    numbering: Numbering
    s: Tensor
    cartesian_step: Tensor
    internal_step: Tensor
    cartesian_preconditioner: Tensor
    internal_preconditioner: Tensor

    def require_energy(self) -> ProteinEnergy:
        """Its energy; InputError if it has none."""

    def initial_state(self, seed: int | None = None) -> Tensor:
        """Initial positions (L, 3), Angstrom."""

    def impute(self, x: Tensor) -> Tensor:
        """Atoms (L, 5, 3) of ``x (L, 3)``, Angstrom."""

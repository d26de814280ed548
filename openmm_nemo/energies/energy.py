"""The energy: a sum of terms (paper, equation 3)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from openmm_nemo.config import NemoConfig
from openmm_nemo.energies.registry import terms_of
from openmm_nemo.energies.term import EnergyTerm


class Energy(nn.Module):
    """U(x; s) = sum of the terms of a configuration.

    Parameters
    ----------
    config : NemoConfig

    Attributes
    ----------
    terms : nn.ModuleDict
        `EnergyTerm` objects by their names in `TERMS`.

    Raises
    ------
    InputError
        If a term is unknown.
    """

    def __init__(self, config: NemoConfig) -> None:
        super().__init__()
        self.terms: Any = nn.ModuleDict(
            {name: term(config) for name, term in terms_of(config).items()}
        )

    def forward(self, x: Tensor, coefficients: list[Tensor], mask: Tensor) -> Tensor:
        """Energies of chains.

        Parameters
        ----------
        x : Tensor, shape (B, L, 3)
            Angstrom.
        coefficients : list of Tensor
            From the sequence network, term by term, kT; a batch size of 1 is broadcast.
        mask : Tensor, shape (B, L)
            1 for residues, 0 for padding, which comes last and whose positions are not read.

        Returns
        -------
        Tensor, shape (B,)
            kT.
        """
        u = x.new_zeros(x.shape[0])
        first = 0
        for term in self.terms.values():
            end = first + term.n_coefficients
            u = u + term(x, coefficients[first:end], mask)
            first = end
        return u

    def between(
        self, x: Tensor, y: Tensor, coefficients: list[Tensor], back: list[Tensor]
    ) -> Tensor:
        """Energies (B,), kT, of pairs of residues of two chains, see `EnergyTerm.between`."""
        u = x.new_zeros(x.shape[0])
        first = 0
        for term in self.terms.values():
            end = first + term.n_coefficients
            u = u + term.between(x, y, coefficients[first:end], back[first:end])
            first = end
        return u

    def fit_reference(self, chains: Sequence[Tensor]) -> None:
        """Set the reference states of all terms from chains (L, 3) of the training set, Angstrom."""
        for term in self.terms.values():
            term.fit_reference(chains)

    def update_statistics(self, x: Tensor, mask: Tensor) -> None:
        """Update the running statistics of all terms with positions ``x (B, L, 3)``, Angstrom; no gradients."""
        modes = [(part, part.training) for part in self.modules()]
        self.eval()
        with torch.no_grad():
            for term in self.terms.values():
                assert isinstance(term, EnergyTerm)
                term.update_statistics(x, mask)
        for part, training in modes:
            part.training = training

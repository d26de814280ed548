"""Base classes of the terms of the energy (paper, equation 3)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from openmm_nemo.config import NemoConfig


class Coefficients(NamedTuple):
    """One tensor that the sequence network gives a term: (B, L, C) for residues, or (B, L, L, C) for pairs.

    Attributes
    ----------
    name : str
        Name as in the paper or the docstring of the term.
    of_pairs : bool
        Whether there are ``channels`` numbers per pair of residues instead of per residue.
    channels : int
        C.
    """

    name: str
    of_pairs: bool
    channels: int


class CoefficientHead(nn.Module, ABC):
    """Last layers of the sequence network for one term: from its features to the coefficients."""

    @abstractmethod
    def initialise(self) -> None:
        """Start from coefficients of a sensible size; called once, after all layers of the model have been made."""

    @abstractmethod
    def scale(self, factor: float, strength: float) -> None:
        """Scale all coefficients by ``factor``, and those that do not hold the chain together also by ``strength``."""

    @abstractmethod
    def forward(self, h: Tensor, p: Tensor, mask: Tensor) -> list[Tensor]:
        """Coefficients for a batch.

        Parameters
        ----------
        h : Tensor, shape (B, H, L)
            Features of residues.
        p : Tensor, shape (B, P, L, L)
            Features of pairs.
        mask : Tensor, shape (B, L)
            1 for residues, 0 for padding, which comes last.

        Returns
        -------
        list of Tensor
            In the order of `EnergyTerm.coefficients`; kT, zero at padding.
        """


class EnergyTerm(nn.Module, ABC):
    """A term of U: a function of positions and coefficients, invariant under rigid motion.

    Terms work in Angstrom and kT, can be compiled by TorchScript and differentiated twice. Their forces are finite
    everywhere, even where points coincide, and positions at padding are not read. U is bounded from below, by minus the
    sum of the absolute values of all coefficients, times the largest of the term's `Scales` if it has any.
    `tests/unit/energies/test_contract.py` checks this for every term of `TERMS`.

    Parameters
    ----------
    config : NemoConfig

    Attributes
    ----------
    n_coefficients : int
        Number of tensors that `forward` takes.
    """

    handed: ClassVar[bool]
    """Whether mirror images have different energies."""

    joins_chains: ClassVar[bool] = False
    """Whether it is a sum over chains and pairs of chains, with `between` for the latter."""

    def __init__(self, config: NemoConfig) -> None:
        super().__init__()
        self.n_coefficients = len(self.coefficients(config))

    @staticmethod
    @abstractmethod
    def coefficients(config: NemoConfig) -> list[Coefficients]:
        """The coefficients that `forward` takes."""

    @staticmethod
    @abstractmethod
    def make_head(config: NemoConfig, node_channels: int, pair_channels: int) -> CoefficientHead:
        """Head for a sequence network with these numbers of channels; not initialised."""

    @abstractmethod
    def forward(self, x: Tensor, coefficients: list[Tensor], mask: Tensor) -> Tensor:
        """Energies of chains.

        Parameters
        ----------
        x : Tensor, shape (B, L, 3)
            Angstrom.
        coefficients : list of Tensor
            In the order of `coefficients`, kT; a batch size of 1 is broadcast.
        mask : Tensor, shape (B, L)
            1 for residues, 0 for padding, which comes last and whose positions are not read.

        Returns
        -------
        Tensor, shape (B,)
            kT.
        """

    def between(
        self, x: Tensor, y: Tensor, coefficients: list[Tensor], back: list[Tensor]
    ) -> Tensor:
        """Energies of pairs of residues of two chains, for terms with `joins_chains`.

        It is exactly the same if the chains change places, with their coefficients.

        Parameters
        ----------
        x : Tensor, shape (B, L, 3)
            Angstrom.
        y : Tensor, shape (B, M, 3)
            The other chain, Angstrom.
        coefficients : list of Tensor
            In the order of `coefficients`, kT: for residues i of x and j of y (B, L, M, C), or for residues of x
            (B, L, C); a batch size of 1 is broadcast.
        back : list of Tensor
            The same for residues i of y and j of x.

        Returns
        -------
        Tensor, shape (B,)
            kT.
        """
        raise NotImplementedError

    def fit_reference(self, chains: Sequence[Tensor]) -> None:
        """Set the reference state, if the term has one, from chains (L, 3) of the training set, Angstrom."""

    def update_statistics(self, x: Tensor, mask: Tensor) -> None:
        """Update the running statistics, if the term has any, with positions ``x (B, L, 3)``, Angstrom."""

"""Base class of encoders, and checks that they share."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from openmm_nemo.config import NemoConfig
from openmm_nemo.errors import InputError


class Encoder(ABC):
    """Columns of s from one source of information about each residue."""

    takes: ClassVar[str]
    """Name of the input that the columns are made from, as in the arguments of `openmm_nemo.NemoModel.condition`."""

    @abstractmethod
    def width(self, config: NemoConfig) -> int:
        """Number of columns."""

    @abstractmethod
    def encode(self, config: NemoConfig, sequence: str, data: ArrayLike | None) -> np.ndarray:
        """Columns for a protein.

        Parameters
        ----------
        config : NemoConfig
        sequence : str
            One-letter codes of L residues.
        data : array-like, optional
            Input given under the name `takes`.

        Returns
        -------
        ndarray, shape (L, `width`), float64

        Raises
        ------
        InputError
            If ``data`` is missing or not what this encoder takes.
        """


def checked_rows(data: ArrayLike | None, shape: tuple[int, int], name: str) -> np.ndarray:
    """Array with one row of finite numbers per residue, as float64.

    Parameters
    ----------
    data : array-like, optional
    shape : tuple of int
        (L, width).
    name : str
        Name of the input, for messages.

    Raises
    ------
    InputError
        If it is missing, has another shape or is not finite.
    """
    if data is None:
        raise InputError(f"This model needs the input {name!r}: give an array of shape {shape}.")
    try:
        array = np.asarray(data, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"The {name} is not an array of numbers: give one row per residue."
        ) from None
    if array.shape != shape:
        raise InputError(
            f"The {name} has shape {array.shape}: give one of shape {shape}, one row per residue."
        )
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array).all(1))) + 1
        raise InputError(
            f"The {name} has a number that is not finite at residue {row}: correct it."
        )
    return array

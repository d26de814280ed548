"""The evolutionary profile of a protein's family, and whether it is known."""

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders.base import Encoder, checked_rows
from openmm_nemo.residues import AMINO_ACIDS


class ProfileEncoder(Encoder):
    """Profile with one column per amino acid (nemo.md 8), see `openmm_nemo.data.families.profiles`.

    Models that also have the encoder "has-profile" work without a profile: its columns are zero then.
    """

    takes: ClassVar[str] = "profile"

    def width(self, config: NemoConfig) -> int:
        """20."""
        return len(AMINO_ACIDS)

    def encode(self, config: NemoConfig, sequence: str, data: ArrayLike | None) -> np.ndarray:
        """Columns for a protein: ``data``, shape (L, 20)."""
        shape = len(sequence), self.width(config)
        if data is None and "has-profile" in config.encoders:
            return np.zeros(shape)
        return checked_rows(data, shape, "profile")


class HasProfileEncoder(Encoder):
    """1 for every residue of a protein whose profile is known, otherwise 0."""

    takes: ClassVar[str] = "profile"

    def width(self, config: NemoConfig) -> int:
        """1."""
        return 1

    def encode(self, config: NemoConfig, sequence: str, data: ArrayLike | None) -> np.ndarray:
        """Column for a protein."""
        return np.full((len(sequence), 1), float(data is not None))

"""The evolutionary profile of a protein's family."""

import numpy as np
from numpy.typing import ArrayLike

from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders.base import Encoder, checked_rows
from openmm_nemo.residues import AMINO_ACIDS


class ProfileEncoder(Encoder):
    """Profile with one column per amino acid (nemo.md 8), see `openmm_nemo.data.families.profiles`."""

    def width(self, config: NemoConfig) -> int:
        """20."""
        return len(AMINO_ACIDS)

    def encode(self, config: NemoConfig, sequence: str, data: ArrayLike | None) -> np.ndarray:
        """Columns for a protein: ``data``, shape (L, 20)."""
        return checked_rows(data, (len(sequence), self.width(config)), "profile")

"""The sequence itself, one column per amino acid."""

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders.base import Encoder
from openmm_nemo.errors import InputError
from openmm_nemo.residues import AMINO_ACIDS


class OneHotEncoder(Encoder):
    """1 in the column of the residue's amino acid, in the order of `openmm_nemo.residues.AMINO_ACIDS`."""

    takes: ClassVar[str] = "sequence"

    def width(self, config: NemoConfig) -> int:
        """20."""
        return len(AMINO_ACIDS)

    def encode(self, config: NemoConfig, sequence: str, data: ArrayLike | None) -> np.ndarray:
        """Columns for a protein; it takes no data besides the sequence."""
        if data is not None:
            raise InputError("The one-hot encoding is made from the sequence: leave it out.")
        return np.eye(len(AMINO_ACIDS))[[AMINO_ACIDS.index(letter) for letter in sequence]]

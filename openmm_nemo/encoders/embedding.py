"""Numbers per residue from another program, such as the embeddings of a protein language model."""

import numpy as np
from numpy.typing import ArrayLike

from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders.base import Encoder, checked_rows


class EmbeddingEncoder(Encoder):
    """K columns, used as given; the model determines K. `openmm_nemo.encoders.esm` makes such embeddings."""

    def width(self, config: NemoConfig) -> int:
        """K, `NemoConfig.embedding_width`."""
        return config.embedding_width

    def encode(self, config: NemoConfig, sequence: str, data: ArrayLike | None) -> np.ndarray:
        """Columns for a protein: ``data``, shape (L, K)."""
        return checked_rows(data, (len(sequence), self.width(config)), "embedding")

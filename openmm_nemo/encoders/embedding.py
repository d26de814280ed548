"""Any numbers that another program gives for each residue, such as the embeddings of a protein language model."""

import numpy as np
from numpy.typing import ArrayLike

from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders.base import Encoder, checked_rows


class EmbeddingEncoder(Encoder):
    """K columns as they are given; the model says how many it takes. `openmm_nemo.encoders.esm` makes some."""

    def width(self, config: NemoConfig) -> int:
        """K, `NemoConfig.embedding_width`."""
        return config.embedding_width

    def encode(self, config: NemoConfig, sequence: str, data: ArrayLike | None) -> np.ndarray:
        """Columns for a protein: ``data``, shape (L, K)."""
        return checked_rows(data, (len(sequence), self.width(config)), "embedding")

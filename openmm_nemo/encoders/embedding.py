"""Numbers per residue from another program, such as the embeddings of a protein language model."""

import os
from typing import ClassVar

import numpy as np
import safetensors.numpy
from numpy.typing import ArrayLike
from safetensors import SafetensorError

from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders.base import Encoder, checked_rows
from openmm_nemo.errors import InputError


class EmbeddingEncoder(Encoder):
    """K columns, used as given; the model determines K. `openmm_nemo.encoders.esm` makes such embeddings."""

    takes: ClassVar[str] = "embedding"

    def width(self, config: NemoConfig) -> int:
        """K, `NemoConfig.embedding_width`."""
        return config.embedding_width

    def encode(self, config: NemoConfig, sequence: str, data: ArrayLike | None) -> np.ndarray:
        """Columns for a protein: ``data``, shape (L, K)."""
        return checked_rows(data, (len(sequence), self.width(config)), "embedding")


def read_embedding(path: str | os.PathLike[str]) -> np.ndarray:
    """Read the embedding of one protein, one row per residue, from a .npy file (`numpy.save`).

    Returns
    -------
    ndarray, shape (L, K)
        The shape is checked by the model that takes it.

    Raises
    ------
    InputError
        If the file cannot be read or is not an array of numbers.
    """
    try:
        with open(path, "rb") as file:
            embedding: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"The embedding {path} cannot be read ({reason}): give a .npy file with one row of numbers per residue."
        ) from None
    return embedding


def read_embeddings(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read the embeddings of many proteins from a safetensors file (`safetensors.numpy.save_file`).

    Returns
    -------
    dict of str to ndarray, shape (L, K)
        By the id of the protein.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        embeddings: dict[str, np.ndarray] = safetensors.numpy.load_file(path)
    except (OSError, KeyError, SafetensorError) as error:
        raise InputError(
            f"The embeddings {path} cannot be read ({error}): give a safetensors file with one array per id."
        ) from None
    return embeddings

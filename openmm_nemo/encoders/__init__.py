"""Encoders: what is known about each residue of a protein, as the input s (L, q) of the networks.

An encoder is a module of this package and a line of `ENCODERS`; a configuration names the encoders of a model, and s
consists of their columns side by side.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders.base import Encoder
from openmm_nemo.encoders.embedding import EmbeddingEncoder
from openmm_nemo.encoders.one_hot import OneHotEncoder
from openmm_nemo.encoders.profile import HasProfileEncoder, ProfileEncoder
from openmm_nemo.errors import InputError

ENCODERS: dict[str, Encoder] = {
    "one-hot": OneHotEncoder(),
    "profile": ProfileEncoder(),
    "has-profile": HasProfileEncoder(),
    "embedding": EmbeddingEncoder(),
}
"""Encoders by name, as used in `NemoConfig.encoders`."""

__all__ = ["ENCODERS", "Encoder", "encode", "encoders_of", "input_width", "node_features"]


def encoders_of(config: NemoConfig) -> dict[str, Encoder]:
    """Encoders of a configuration, in the order of their columns.

    Raises
    ------
    InputError
        If an encoder is unknown.
    """
    for name in config.encoders:
        if name not in ENCODERS:
            raise InputError(f"There is no encoder {name!r}: use one of {', '.join(ENCODERS)}.")
    return {name: ENCODERS[name] for name in config.encoders}


def input_width(config: NemoConfig) -> int:
    """Number of columns q of s: 20 in the paper, or 40 with a profile."""
    return sum(encoder.width(config) for encoder in encoders_of(config).values())


def node_features(config: NemoConfig) -> int:
    """Channels of the 1D networks after message passing and of the imputation: q + 256 in the paper (Table 3)."""
    return input_width(config) + 2 * config.node_channels


def encode(config: NemoConfig, sequence: str, inputs: Mapping[str, ArrayLike | None]) -> np.ndarray:
    """Input of the networks for one protein.

    Parameters
    ----------
    config : NemoConfig
    sequence : str
        One-letter codes of L residues, see `openmm_nemo.residues.check_sequence`.
    inputs : mapping of str to array-like
        Inputs besides the sequence, by name, see `Encoder.takes`; None if not known.

    Returns
    -------
    ndarray, shape (L, q), float64

    Raises
    ------
    InputError
        If an array is missing, is not what its encoder takes, or is for an encoder that the model does not have.
    """
    encoders = encoders_of(config).values()
    taken = dict.fromkeys(encoder.takes for encoder in encoders)
    for name, array in inputs.items():
        if array is not None and name not in taken:
            raise InputError(
                f"This model does not take the input {name!r}, only {', '.join(taken)}: "
                f"leave out the {name} or use a model that takes it."
            )
    columns = [encoder.encode(config, sequence, inputs.get(encoder.takes)) for encoder in encoders]
    return np.concatenate(columns, axis=1)

"""Hyperparameters of the networks and the named presets."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from openmm_nemo.errors import InputError
from openmm_nemo.residues import AMINO_ACIDS


@dataclass(frozen=True)
class NemoConfig:
    """Hyperparameters of a `NemoModel`; the defaults are those of the paper (Table 3).

    Attributes
    ----------
    profile : bool
        Whether the input is one-hot plus profile (L, 40) instead of one-hot (L, 20).
    node_channels : int
        Channels of the 1D networks before and during message passing.
    pair_channels : int
        Channels of the 2D networks during message passing.
    sequence_blocks, message_blocks, feature_blocks, imputation_blocks : int
        Residual blocks of the 1D networks before message passing, in each of its iterations, in the
        energy (sequence network after message passing, structure network) and in the imputation
        network.
    node_width : int
        Width of all 1D convolutions.
    dilations : tuple of int
        Dilations of successive 1D blocks, repeated from the start.
    message_pair_blocks, message_pair_width : int
        2D network of each iteration of message passing.
    pair_blocks, pair_width : int
        2D networks of the energy.
    message_iterations : int
        Iterations of message passing.
    attention_heads : int
        Heads of the attention from pairs to nodes.
    expansion_rank : int
        Rank of the bilinear expansion from nodes to pairs.
    max_separation : int
        Separations along the sequence beyond this one share one embedding.
    dropout : float
        Probability to DROP a value (the paper prints 0.9, the probability to keep one).
    rbf_centres, rbf_widths : tuple of float
        Gaussian radial basis functions of the distances, Angstrom.
    lstm_units : int
        Not zero: the model is a baseline without energy, see `BaselineNetwork`, and this is the
        number of hidden units of each direction of its LSTM; 100 to 700 in the paper (4.2). Of the
        other hyperparameters, it has those of the imputation.
    """

    profile: bool = False
    node_channels: int = 128
    pair_channels: int = 50
    sequence_blocks: int = 12
    message_blocks: int = 4
    feature_blocks: int = 12
    imputation_blocks: int = 12
    node_width: int = 3
    dilations: tuple[int, ...] = (1, 2, 4, 8)
    message_pair_blocks: int = 1
    message_pair_width: int = 7
    pair_blocks: int = 1
    pair_width: int = 9
    message_iterations: int = 3
    attention_heads: int = 8
    expansion_rank: int = 32
    max_separation: int = 32
    dropout: float = 0.1
    # From touching C-alphas (4) over packed helices and sheets (7, 11) to the size of a small
    # domain (18).
    rbf_centres: tuple[float, ...] = (4.0, 7.0, 11.0, 18.0)
    rbf_widths: tuple[float, ...] = (1.5, 2.5, 4.0, 7.0)
    lstm_units: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            numbers = value if isinstance(value, tuple) else (value,)
            if field.name not in ("profile", "dropout", "lstm_units") and not (
                numbers and all(number > 0 for number in numbers)
            ):
                raise InputError(f"{field.name} is {value!r}: use positive numbers.")
        for name in ("node_width", "message_pair_width", "pair_width"):
            if getattr(self, name) % 2 == 0:
                raise InputError(f"{name} is {getattr(self, name)}: use an odd number.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}: use a number from 0 to below 1.")
        if self.lstm_units < 0:
            raise InputError(f"lstm_units is {self.lstm_units}: use a positive number, or 0.")
        if self.node_channels % self.attention_heads:
            raise InputError(
                f"node_channels is {self.node_channels}: "
                f"use a multiple of attention_heads ({self.attention_heads})."
            )
        if len(self.rbf_centres) != len(self.rbf_widths):
            raise InputError(
                "rbf_centres and rbf_widths differ in length: give one width a centre."
            )

    @property
    def sequence_width(self) -> int:
        """q, channels of the input s: 20, or 40 with a profile."""
        return (2 if self.profile else 1) * len(AMINO_ACIDS)

    @property
    def node_features(self) -> int:
        """C1, channels of l1 and f1: q + 256 in the paper."""
        return self.sequence_width + 2 * self.node_channels

    @property
    def pair_features(self) -> int:
        """C2, channels of l2 and f2: 100 in the paper."""
        return 2 * self.pair_channels

    @classmethod
    def preset(cls, name: str, profile: bool = False) -> "NemoConfig":
        """Named sizes: "tiny" (for tests), "small" (a CPU can train it) and "paper" (Table 3).

        Raises
        ------
        InputError
            If there is no preset of that name.
        """
        if name not in PRESETS:
            raise InputError(f"There is no preset {name!r}: use one of {', '.join(PRESETS)}.")
        return cls(profile=profile, **PRESETS[name])

    def to_dict(self) -> dict[str, Any]:
        """Numbers and lists as JSON knows them; ``lstm_units`` only of a baseline."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
            if name != "lstm_units" or value
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "NemoConfig":
        """Inverse of `to_dict`; without ``lstm_units``, the model is no baseline.

        Raises
        ------
        InputError
            If a key is unknown or missing, or a value is of the wrong type or out of range.
        """
        values = {"lstm_units": 0} | values
        fields = {field.name: field.default for field in dataclasses.fields(cls)}
        for key in values:
            if key not in fields:
                raise InputError(f"The model configuration has an unknown key {key!r}: remove it.")
        converted = {}
        for name, default in fields.items():
            if name not in values:
                raise InputError(f"The model configuration lacks the key {name!r}: add it.")
            converted[name] = _convert(name, values[name], default)
        return cls(**converted)


def _convert(name: str, value: Any, default: Any) -> Any:
    """``value`` as the type of ``default``; an int may stand for a float, a bool for nothing."""
    if isinstance(default, tuple):
        if not isinstance(value, list | tuple):
            raise InputError(f"{name} is {value!r} in the model configuration: use a list.")
        return tuple(_convert(name, item, default[0]) for item in value)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        kind = type(default).__name__
        raise InputError(f"{name} has {value!r} in the model configuration: use type {kind}.")
    return value


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "node_channels": 16,
        "pair_channels": 4,
        "sequence_blocks": 2,
        "message_blocks": 1,
        "feature_blocks": 2,
        "imputation_blocks": 2,
        "dilations": (1, 2),
        "message_pair_width": 3,
        "pair_width": 3,
        "message_iterations": 1,
        "attention_heads": 2,
        "expansion_rank": 4,
    },
    "small": {
        "node_channels": 32,
        "pair_channels": 8,
        "sequence_blocks": 4,
        "message_blocks": 2,
        "feature_blocks": 4,
        "imputation_blocks": 4,
        "message_pair_width": 5,
        "pair_width": 5,
        "message_iterations": 2,
        "attention_heads": 4,
        "expansion_rank": 8,
    },
    "paper": {},
}
"""What each preset changes of the defaults."""

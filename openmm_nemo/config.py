"""Hyperparameters of the networks and the named presets."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from openmm_nemo.errors import InputError

CONFIG_VERSION = 2
"""Version of the keys in `NemoConfig.to_dict`; see `UPGRADES`."""

KINDS = ("nemo", "baseline")
TRUNKS = ("paper", "dilated")


@dataclass(frozen=True)
class NemoConfig:
    """Hyperparameters of a `NemoModel`; the defaults are the paper's (Table 3).

    Attributes
    ----------
    kind : {"nemo", "baseline"}
        A model with an energy, or the paper's baseline (4.2), which predicts one structure with an LSTM. The baseline
        has the hyperparameters of the imputation and ``lstm_units``.
    encoders : tuple of str
        Inputs of the networks, in order: names in `openmm_nemo.encoders.ENCODERS`.
    embedding_width : int
        Number of columns K of the encoder "embedding".
    terms : tuple of str
        Terms of the energy: names in `openmm_nemo.energies.TERMS`.
    trunk : {"paper", "dilated"}
        Layers of the sequence network: the paper's, or residual dilated convolutions, deeper and cheaper.
    pair_dilations : tuple of int
        Dilations of successive 2D blocks of a "dilated" trunk, repeated from the start.
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
        Probability of DROPPING a value (the paper gives 0.9, the probability of keeping one).
    rbf_centres, rbf_widths : tuple of float
        Gaussian radial basis functions of the distances, Angstrom.
    lever_aware : bool
        Whether the preconditioner of angles and dihedrals decreases with the number of residues that they move, see
        `SequenceNetwork`.
    annealing : tuple of float
        Factors of the temperature and the step sizes at the start and at the end of a simulation, see
        `openmm_nemo.dynamics.Schedule`.
    lstm_units : int
        Hidden units per direction of a baseline's LSTM; 100 to 700 in the paper (4.2). 0 for other models.
    trained_on_complexes : bool
        Whether structures of several chains were among the training data. If not, the model has never seen an
        interface, and judges contacts between chains as if they were within one.
    """

    kind: str = "nemo"
    encoders: tuple[str, ...] = ("one-hot",)
    embedding_width: int = 0
    terms: tuple[str, ...] = ("learned",)
    trunk: str = "paper"
    pair_dilations: tuple[int, ...] = (1, 2, 4, 1)
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
    lever_aware: bool = False
    annealing: tuple[float, ...] = (1.0, 1.0)
    lstm_units: int = 0
    trained_on_complexes: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"kind is {self.kind!r}: use one of {', '.join(KINDS)}.")
        if self.trunk not in TRUNKS:
            raise InputError(f"trunk is {self.trunk!r}: use one of {', '.join(TRUNKS)}.")
        for name in ("encoders", "terms"):
            names = getattr(self, name)
            if not names or len(set(names)) < len(names):
                raise InputError(f"{name} is {list(names)!r}: give one or more different names.")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            numbers = value if isinstance(value, tuple) else (value,)
            if field.name not in MAY_BE_ZERO and not (
                numbers and all(isinstance(n, str) or n > 0 for n in numbers)
            ):
                raise InputError(f"{field.name} is {value!r}: use positive numbers.")
        for name in ("node_width", "message_pair_width", "pair_width"):
            if getattr(self, name) % 2 == 0:
                raise InputError(f"{name} is {getattr(self, name)}: use an odd number.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}: use a number from 0 to below 1.")
        if self.embedding_width < 0 or (self.embedding_width > 0) != ("embedding" in self.encoders):
            raise InputError(
                f"embedding_width is {self.embedding_width} and encoders is {list(self.encoders)!r}: "
                "give a positive width with the encoder 'embedding', and 0 without it."
            )
        if self.lstm_units < 0 or (self.lstm_units > 0) != (self.kind == "baseline"):
            raise InputError(
                f"lstm_units is {self.lstm_units} and kind is {self.kind!r}: "
                "give a baseline a positive number, and other models 0."
            )
        if self.node_channels % self.attention_heads:
            raise InputError(
                f"node_channels is {self.node_channels}: "
                f"use a multiple of attention_heads ({self.attention_heads})."
            )
        if len(self.annealing) != 2:
            raise InputError(f"annealing is {self.annealing!r}: give two numbers, first and last.")
        if len(self.rbf_centres) != len(self.rbf_widths):
            raise InputError(
                "rbf_centres and rbf_widths differ in length: give one width per centre."
            )

    @property
    def profile(self) -> bool:
        """Whether the networks take a profile."""
        return "profile" in self.encoders

    @property
    def pair_features(self) -> int:
        """C2, channels of the 2D features: 100 in the paper."""
        return 2 * self.pair_channels

    @classmethod
    def preset(cls, name: str, profile: bool = False) -> "NemoConfig":
        """Named sizes: "tiny" (for tests), "small" and "fold" (a CPU can train them) and "paper" (Table 3).

        Raises
        ------
        InputError
            If there is no preset of that name.

        Examples
        --------
        >>> NemoConfig.preset("fold").terms
        ('pair-basis', 'chain-basis', 'backbone')
        >>> NemoConfig.preset("paper", profile=True).encoders
        ('one-hot', 'profile')
        """
        if name not in PRESETS:
            raise InputError(f"There is no preset {name!r}: use one of {', '.join(PRESETS)}.")
        values = {"encoders": ("one-hot", "profile")} | PRESETS[name]
        if not profile:
            values["encoders"] = ("one-hot",)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Numbers, strings and lists that JSON can represent."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any], version: int = CONFIG_VERSION) -> "NemoConfig":
        """Inverse of `to_dict`.

        Parameters
        ----------
        values : dict
            A missing key takes the default that it had in ``version``.
        version : int
            `CONFIG_VERSION` of the release that wrote them.

        Raises
        ------
        InputError
            If a key is unknown, or a value has the wrong type or is out of range.
        """
        for older in range(version, CONFIG_VERSION):
            values = UPGRADES[older](values)
        fields = {field.name: field.default for field in dataclasses.fields(cls)}
        for key in values:
            if key not in fields:
                raise UnknownKeyError(key)
        return cls(**{name: _convert(name, value, fields[name]) for name, value in values.items()})


class UnknownKeyError(InputError):
    """A key that this version of the package does not know; a newer one may."""

    def __init__(self, key: str) -> None:
        super().__init__(f"The model configuration has an unknown key {key!r}: remove it.")
        self.key = key


MAY_BE_ZERO = (
    "dropout",
    "lever_aware",
    "embedding_width",
    "lstm_units",
    "trained_on_complexes",
)


def _from_version_1(values: dict[str, Any]) -> dict[str, Any]:
    """Version 1 had ``profile``, and ``lstm_units`` made a model a baseline."""
    values = {"profile": False, "lstm_units": 0} | values
    profile, units = values.pop("profile"), values["lstm_units"]
    for name, value, kind in (("profile", profile, bool), ("lstm_units", units, int)):
        if type(value) is not kind:
            raise InputError(
                f"{name} has {value!r} in the model configuration: use type {kind.__name__}."
            )
    return {
        "kind": "baseline" if units else "nemo",
        "encoders": ["one-hot", "profile"] if profile else ["one-hot"],
        **values,
    }


UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_version_1}
"""Upgrades from the keys of each version to those of the next.

Where a default changes, the upgrade writes out the old one.
"""


def _convert(name: str, value: Any, default: Any) -> Any:
    """``value`` as the type of ``default``; an int may stand for a float, but a bool for nothing else."""
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
    "fold": {
        # With profile=True.
        "encoders": ("one-hot", "profile", "has-profile"),
        "terms": ("pair-basis", "chain-basis", "backbone"),
        "trunk": "dilated",
        "node_channels": 64,
        "pair_channels": 32,
        "sequence_blocks": 8,
        "pair_blocks": 8,
        "imputation_blocks": 4,
        "lever_aware": True,
        "annealing": (2.0, 0.1),
    },
    "paper": {},
}
"""Changes of each preset to the defaults."""

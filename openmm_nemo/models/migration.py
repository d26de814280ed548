"""Names of weights in files of earlier versions."""

from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

RENAMED = {
    "energy.structure_network.": "energy.terms.learned.structure_network.",
    "sequence_network.node_coefficients.": "sequence_network.term_heads.learned.node_coefficients.",
    "sequence_network.pair_coefficients.": "sequence_network.term_heads.learned.pair_coefficients.",
}
"""Parts of weight names in version 1 of model folders, and their current form."""


def current_name(name: str) -> str:
    """Current name of a weight of any version."""
    for old, new in RENAMED.items():
        name = name.replace(old, new)
    return name


def original_name(name: str) -> str:
    """Name of a weight when its kind was introduced; fingerprints depend only on this name."""
    for old, new in RENAMED.items():
        name = name.replace(new, old)
    return name


def current_names(weights: Mapping[str, Value]) -> dict[str, Value]:
    """Weights by their current names."""
    return {current_name(name): value for name, value in weights.items()}

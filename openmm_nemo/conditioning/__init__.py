"""From what is known of a protein to the coefficients of its energy, its initial state and its steps."""

from openmm_nemo.conditioning.baseline import BaselineNetwork, BaselineOutput
from openmm_nemo.conditioning.dilated import DilatedSequenceNetwork
from openmm_nemo.conditioning.sequence import SequenceNetwork, SequenceOutput

SEQUENCE_NETWORKS: dict[str, type[SequenceNetwork]] = {
    "paper": SequenceNetwork,
    "dilated": DilatedSequenceNetwork,
}
"""Sequence networks by the names that `NemoConfig.trunk` has."""

__all__ = [
    "SEQUENCE_NETWORKS",
    "BaselineNetwork",
    "BaselineOutput",
    "DilatedSequenceNetwork",
    "SequenceNetwork",
    "SequenceOutput",
]

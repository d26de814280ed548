"""Networks that map what is known about a protein to its energy coefficients, initial state and step sizes."""

from openmm_nemo.conditioning.baseline import BaselineNetwork, BaselineOutput
from openmm_nemo.conditioning.complex import coefficients_between, joined_output
from openmm_nemo.conditioning.dilated import DilatedSequenceNetwork
from openmm_nemo.conditioning.sequence import SequenceNetwork, SequenceOutput

SEQUENCE_NETWORKS: dict[str, type[SequenceNetwork]] = {
    "paper": SequenceNetwork,
    "dilated": DilatedSequenceNetwork,
}
"""Sequence networks by name, as used in `NemoConfig.trunk`."""

__all__ = [
    "SEQUENCE_NETWORKS",
    "BaselineNetwork",
    "BaselineOutput",
    "DilatedSequenceNetwork",
    "SequenceNetwork",
    "SequenceOutput",
    "coefficients_between",
    "joined_output",
]

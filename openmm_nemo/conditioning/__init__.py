"""Networks that map what is known about a protein to its energy coefficients, initial state and step sizes."""

from openmm_nemo.conditioning.baseline import BaselineNetwork, BaselineOutput
from openmm_nemo.conditioning.sequence import SequenceNetwork, SequenceOutput

__all__ = ["BaselineNetwork", "BaselineOutput", "SequenceNetwork", "SequenceOutput"]

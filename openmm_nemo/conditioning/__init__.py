"""From what is known of a protein to the coefficients of its energy, its initial state and its steps."""

from openmm_nemo.conditioning.baseline import BaselineNetwork, BaselineOutput
from openmm_nemo.conditioning.sequence import SequenceNetwork, SequenceOutput

__all__ = ["BaselineNetwork", "BaselineOutput", "SequenceNetwork", "SequenceOutput"]

"""Energies of a chain: a sum of terms, each a function of positions and of coefficients (paper, equation 3)."""

from openmm_nemo.energies.energy import Energy
from openmm_nemo.energies.learned import StructureNetwork

__all__ = ["Energy", "StructureNetwork"]

"""Energies of a chain: a sum of terms, each a function of positions and coefficients (paper, equation 3).

A term is a module of this package and a line of `TERMS`.
"""

from openmm_nemo.energies.energy import Energy
from openmm_nemo.energies.protein import ComplexEnergy, Origin, ProteinEnergy
from openmm_nemo.energies.registry import TERMS, terms_of
from openmm_nemo.energies.term import CoefficientHead, Coefficients, EnergyTerm

__all__ = [
    "TERMS",
    "CoefficientHead",
    "Coefficients",
    "ComplexEnergy",
    "Energy",
    "EnergyTerm",
    "Origin",
    "ProteinEnergy",
    "terms_of",
]

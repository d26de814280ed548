"""Boltzmann generators: independent, weighted samples of small molecules and short chains, learned from energies."""

from openmm_nemo.boltzmann.fitting import FitSettings, Stage
from openmm_nemo.boltzmann.generator import BoltzmannGenerator, BoltzmannSamples, FreeEnergy

__all__ = ["BoltzmannGenerator", "BoltzmannSamples", "FitSettings", "FreeEnergy", "Stage"]

"""Ensembles of independent structures of many proteins, and chains of a generator's jumps and an integrator's steps."""

from openmm_nemo.sampling.mixture import MixedSamples, MixtureSampler

__all__ = ["MixedSamples", "MixtureSampler"]

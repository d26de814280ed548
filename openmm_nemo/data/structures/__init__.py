"""Protein chains from files of structures."""

from openmm_nemo.data.structures.chains import Structure, read_chains, read_structure

__all__ = ["Structure", "read_chains", "read_structure"]

"""Protein chains from structure and trajectory files."""

from openmm_nemo.data.structures.chains import SourceFile, Structure, read_chains, read_structure
from openmm_nemo.data.structures.complexes import join_chains
from openmm_nemo.data.structures.frames import read_frame

__all__ = ["SourceFile", "Structure", "join_chains", "read_chains", "read_frame", "read_structure"]

"""NEMO and ParmEd: structures of proteins, and NEMO in systems from AMBER, CHARMM and GROMACS files."""

from openmm_nemo.engine.parmed import (
    FoundProtein,
    atom_structure,
    coarse_structure,
    create_system,
    find_proteins,
)

__all__ = ["FoundProtein", "atom_structure", "coarse_structure", "create_system", "find_proteins"]

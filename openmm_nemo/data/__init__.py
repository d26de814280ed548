"""Reading of the data that openmm_nemo starts from."""

from openmm_nemo.data.structures import Structure, read_structure

__all__ = ["Structure", "read_structure"]

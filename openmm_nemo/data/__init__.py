"""Reading of the data that openmm_nemo starts from."""

from openmm_nemo.data.domain_sets import DomainSet, write_domains
from openmm_nemo.data.domains import Domain
from openmm_nemo.data.structures import Structure, read_structure

__all__ = ["Domain", "DomainSet", "Structure", "read_structure", "write_domains"]

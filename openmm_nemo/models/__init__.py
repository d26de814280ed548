"""Models: from a sequence to a protein that can be simulated, and the files that models are stored in."""

from openmm_nemo.models.complex import ConditionedComplex
from openmm_nemo.models.conditioned import ConditionedModel
from openmm_nemo.models.hub import write_registry
from openmm_nemo.models.imputation import ATOM_NAMES, Imputation
from openmm_nemo.models.model import NemoModel
from openmm_nemo.models.pretrained import list_models

__all__ = [
    "ATOM_NAMES",
    "ConditionedComplex",
    "ConditionedModel",
    "Imputation",
    "NemoModel",
    "list_models",
    "write_registry",
]

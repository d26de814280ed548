"""The networks of NEMO and the files they are kept in."""

from openmm_nemo.networks.baseline import BaselineNetwork, BaselineOutput
from openmm_nemo.networks.blocks import ResidualStack
from openmm_nemo.networks.conditioned import ConditionedModel
from openmm_nemo.networks.config import NemoConfig
from openmm_nemo.networks.energy import Energy
from openmm_nemo.networks.imputation import ATOM_NAMES, Imputation
from openmm_nemo.networks.model import NemoModel
from openmm_nemo.networks.normalization import BatchRenorm
from openmm_nemo.networks.pretrained import list_models
from openmm_nemo.networks.sequence import SequenceNetwork, SequenceOutput
from openmm_nemo.networks.structure import StructureNetwork

__all__ = [
    "ATOM_NAMES",
    "BaselineNetwork",
    "BaselineOutput",
    "BatchRenorm",
    "ConditionedModel",
    "Energy",
    "Imputation",
    "NemoConfig",
    "NemoModel",
    "ResidualStack",
    "SequenceNetwork",
    "SequenceOutput",
    "StructureNetwork",
    "list_models",
]

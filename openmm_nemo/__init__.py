"""NEMO for OpenMM: neural coarse-grained protein energies, their Langevin dynamics, and backbone reconstruction."""

# torch first: TorchForce's kernels can only be loaded into a process that has torch already.
import torch  # noqa: F401

from openmm_nemo.engine import (
    NemoAtomReporter,
    NemoLangevinIntegrator,
    NemoStateReporter,
    NemoTrajectoryReporter,
)
from openmm_nemo.errors import InputError
from openmm_nemo.networks import ConditionedModel, NemoConfig, NemoModel, list_models

__version__ = "0.1.0"

__all__ = [
    "ConditionedModel",
    "InputError",
    "NemoAtomReporter",
    "NemoConfig",
    "NemoLangevinIntegrator",
    "NemoModel",
    "NemoStateReporter",
    "NemoTrajectoryReporter",
    "list_models",
]

"""NEMO for OpenMM: neural coarse-grained protein energies, their Langevin dynamics, and backbone reconstruction."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from openmm_nemo.version import __version__

if TYPE_CHECKING:
    from openmm_nemo.config import NemoConfig
    from openmm_nemo.engine import (
        NemoAtomReporter,
        NemoLangevinIntegrator,
        NemoReplicaExchange,
        NemoStateReporter,
        NemoTrajectoryReporter,
    )
    from openmm_nemo.errors import InputError
    from openmm_nemo.models import ConditionedModel, NemoModel, list_models

__all__ = [
    "ConditionedModel",
    "InputError",
    "NemoAtomReporter",
    "NemoConfig",
    "NemoLangevinIntegrator",
    "NemoModel",
    "NemoReplicaExchange",
    "NemoStateReporter",
    "NemoTrajectoryReporter",
    "__version__",
    "list_models",
]

_ROOMS = {
    "openmm_nemo.config": ("NemoConfig",),
    "openmm_nemo.engine": (
        "NemoAtomReporter",
        "NemoLangevinIntegrator",
        "NemoReplicaExchange",
        "NemoStateReporter",
        "NemoTrajectoryReporter",
    ),
    "openmm_nemo.errors": ("InputError",),
    "openmm_nemo.models": ("ConditionedModel", "NemoModel", "list_models"),
}

_SUBPACKAGES = (
    "boltzmann",
    "comparison",
    "data",
    "dynamics",
    "engine",
    "evaluation",
    "geometry",
    "models",
    "parmed",
    "sampling",
    "training",
)


def __getattr__(name: str) -> Any:
    """Import a public name on first use: torch and OpenMM take seconds to load."""
    for room, names in _ROOMS.items():
        if name in names:
            value = getattr(import_module(room), name)
            globals()[name] = value
            return value
    if name in _SUBPACKAGES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

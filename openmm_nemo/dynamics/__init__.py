"""Differentiable Langevin dynamics of chains in PyTorch, in Angstrom and kT."""

from openmm_nemo.dynamics.noise import Noise, langevin_noise, philox
from openmm_nemo.dynamics.rollout import (
    MODEL_TEMPERATURE,
    Snapshots,
    Trajectory,
    energy_and_gradient,
    rollout,
    snapshots,
)
from openmm_nemo.dynamics.schedule import Schedule
from openmm_nemo.dynamics.steps import (
    INTEGRATORS,
    StepOptions,
    StepParameters,
    StepResult,
    direct_step,
    mixed_step,
    transform_step,
)

__all__ = [
    "INTEGRATORS",
    "MODEL_TEMPERATURE",
    "Noise",
    "Schedule",
    "Snapshots",
    "StepOptions",
    "StepParameters",
    "StepResult",
    "Trajectory",
    "direct_step",
    "energy_and_gradient",
    "langevin_noise",
    "mixed_step",
    "philox",
    "rollout",
    "snapshots",
    "transform_step",
]

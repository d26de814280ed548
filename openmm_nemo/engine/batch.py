"""Simulations and energies of a batch of chains, in OpenMM where the plugin computes the energy."""

from collections.abc import Sequence

import numpy as np
import openmm as mm
import torch
from torch import Tensor

from openmm_nemo.dynamics import Schedule, Snapshots, StepParameters
from openmm_nemo.energies import Energy
from openmm_nemo.engine.integrator import NemoLangevinIntegrator
from openmm_nemo.engine.native import NATIVE_TERMS, force_of_terms
from openmm_nemo.engine.units import ANGSTROM_PER_NM, KT_MODEL
from openmm_nemo.plugin import plugin_problem

PLATFORM = "CPU"


def can_compute(network: Energy, x: Tensor) -> bool:
    """Whether `Energies` can compute an energy at positions ``x``.

    All of its terms must be in the plugin, which must be in use, and ``x`` in single precision and on a CPU.
    """
    return (
        plugin_problem() is None
        and all(name in NATIVE_TERMS for name in network.terms)
        and x.dtype == torch.float32
        and x.device.type == "cpu"
    )


def can_simulate(network: Energy, x: Tensor, seed: int) -> bool:
    """Whether `snapshots` can simulate an energy from positions ``x``.

    As `can_compute`, and the seeds of all chains must be ones of OpenMM, for which 0 means a random seed.
    """
    return can_compute(network, x) and 0 < seed <= 2**31 - len(x)


class Energies:
    """Energies of a batch of chains and their gradients, to rounding those of the network, many times faster.

    Parameters
    ----------
    network : Energy
        Energy for which `can_compute`.
    coefficients : sequence of Tensor
        Of its terms, kT, for each chain, with padding.
    mask : Tensor, shape (B, L)
        1 for residues, 0 for padding, which comes last.
    """

    def __init__(self, network: Energy, coefficients: Sequence[Tensor], mask: Tensor) -> None:
        self.lengths = mask.sum(1).int().tolist()
        self.contexts = [
            _context(_system(network, coefficients, chain, n), mm.VerletIntegrator(0.001))
            for chain, n in enumerate(self.lengths)
        ]

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """U (B,), kT, and its gradient (B, L, 3), kT per Angstrom, at ``x (B, L, 3)``, Angstrom."""
        u, gradient = x.new_zeros(len(x)), torch.zeros_like(x)
        for chain, (context, n) in enumerate(zip(self.contexts, self.lengths, strict=True)):
            context.setPositions(_array(x[chain, :n]) / ANGSTROM_PER_NM)
            state = context.getState(energy=True, forces=True)
            u[chain] = state.getPotentialEnergy()._value / KT_MODEL
            forces = state.getForces(asNumpy=True)._value / (KT_MODEL * ANGSTROM_PER_NM)
            gradient[chain, :n] = torch.from_numpy(-forces).to(x)
        return u, gradient


@torch.no_grad()
def snapshots(
    network: Energy,
    coefficients: Sequence[Tensor],
    parameters: StepParameters,
    x0: Tensor,
    steps: Sequence[int],
    *,
    seed: int,
    schedule: Schedule,
) -> Snapshots:
    """States of a simulation at 300 K: to rounding, those of `openmm_nemo.dynamics.rollout`, many times faster.

    Parameters
    ----------
    network : Energy
        Energy for which `can_simulate`.
    coefficients : sequence of Tensor
        Of its terms, kT, for each chain, with padding.
    parameters : StepParameters
    x0 : Tensor, shape (B, L, 3)
        Initial positions, Angstrom.
    steps : sequence of int
        K increasing numbers of steps.
    seed : int
        Chain b uses ``seed + b``.
    schedule : Schedule
        Factors of the temperature and the step sizes.

    Returns
    -------
    Snapshots
        Positions are zero at padding.
    """
    x = torch.zeros_like(x0).repeat(len(steps), 1, 1, 1)
    clipped = x.new_zeros(x.shape[:2])
    for chain, mask in enumerate(parameters.mask):
        n = int(mask.sum())
        integrator = NemoLangevinIntegrator(
            300.0,
            seed=seed + chain,
            schedule=schedule,
            cartesian_step=float(parameters.cartesian_step[chain]) / ANGSTROM_PER_NM**2,
            internal_step=float(parameters.internal_step[chain]),
            cartesian_preconditioner=_array(parameters.cartesian_preconditioner[chain, :n]),
            internal_preconditioner=_array(parameters.internal_preconditioner[chain, :n]),
        )
        context = _context(_system(network, coefficients, chain, n), integrator)
        context.setPositions(_array(x0[chain, :n]) / ANGSTROM_PER_NM)
        for k, number in enumerate(steps):
            integrator.step(number - integrator.getNumSteps())
            positions = context.getState(positions=True).getPositions(asNumpy=True)._value
            x[k, chain, :n] = torch.from_numpy(positions * ANGSTROM_PER_NM).to(x)
            clipped[k, chain] = integrator.getNumClippedSteps()
    return Snapshots(x, clipped)


def _system(network: Energy, coefficients: Sequence[Tensor], chain: int, n: int) -> mm.System:
    """System of the chain with this number in a batch, which has ``n`` residues."""
    system = mm.System()
    for _ in range(n):
        system.addParticle(1.0)
    own = [values[chain] for values in coefficients]
    own = [values[:n, :n] if values.dim() == 3 else values[:n] for values in own]
    system.addForce(force_of_terms(network, own, range(n)))
    return system


def _context(system: mm.System, integrator: mm.Integrator) -> mm.Context:
    platform = mm.Platform.getPlatformByName(PLATFORM)
    return mm.Context(system, integrator, platform, {"Threads": "1"})


def _array(values: Tensor) -> np.ndarray:
    return values.double().numpy()

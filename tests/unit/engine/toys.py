"""Small OpenMM systems with the same energies written in torch, and the simulator run on them chain by chain."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openmm as mm
import torch
from openmm import app
from torch import Tensor

from openmm_nemo.dynamics import StepOptions, StepParameters, langevin_noise, mixed_step
from tests.helpers import platform

GAS_CONSTANT = 8.31446261815324e-3
"""kJ/(mol K), CODATA 2018."""

KT = 300 * GAS_CONSTANT

# kJ/mol and nm; numbers that lose nothing in float32.
BOND = (0.375, 2000.0)
RESTRAINT = 60.0
WELL = 20.0


def random_walk(n: int, seed: int = 0) -> np.ndarray:
    """Positions (n, 3) of a bent chain with bonds of about 0.38 nm."""
    steps = np.random.default_rng(seed).normal(size=(n, 3)) + [0.7, 0, 0]
    steps *= 0.38 / np.linalg.norm(steps, axis=1, keepdims=True)
    return np.cumsum(steps, axis=0)


def bead_topology(n: int) -> app.Topology:
    """One chain of ``n`` residues with a C-alpha atom each."""
    topology = app.Topology()
    chain = topology.addChain()
    for _ in range(n):
        topology.addAtom("CA", app.element.carbon, topology.addResidue("ALA", chain))
    return topology


def toy_system(n: int, chains: Sequence[Sequence[int]], restraint: tuple[int, int]) -> mm.System:
    """Bonds along chains (force group 0), a restraint of a distance (1) and a well in x and y (2)."""
    system = mm.System()
    for _ in range(n):
        system.addParticle(110.0)
    bonds = mm.HarmonicBondForce()
    for chain in chains:
        for i, j in itertools.pairwise(chain):
            bonds.addBond(i, j, *BOND)
    distance = mm.CustomBondForce(f"{RESTRAINT}*r")
    distance.addBond(*restraint)
    distance.setForceGroup(1)
    well = mm.CustomExternalForce(f"{WELL}*(x*x + 2*y*y)")
    for particle in range(n):
        well.addParticle(particle)
    well.setForceGroup(2)
    for force in (bonds, distance, well):
        system.addForce(force)
    return system


def chain_forces(
    chains: Sequence[Sequence[int]],
    bond: tuple[float, float],
    angle: tuple[float, float],
    torsion: float,
) -> list[mm.Force]:
    """Harmonic bonds and angles (rest value, spring constant), and torsions of one cosine, along chains."""
    bonds, angles = mm.HarmonicBondForce(), mm.HarmonicAngleForce()
    torsions = mm.PeriodicTorsionForce()
    for chain in chains:
        for i, j in itertools.pairwise(chain):
            bonds.addBond(i, j, *bond)
        for i in range(len(chain) - 2):
            angles.addAngle(*chain[i : i + 3], *angle)
        for i in range(len(chain) - 3):
            torsions.addTorsion(*chain[i : i + 4], 1, 0.0, torsion)
    return [bonds, angles, torsions]


def toy_energy(
    chains: Sequence[Sequence[int]], restraint: tuple[int, int], groups: Sequence[int] = (0, 1, 2)
) -> Callable[[Tensor], Tensor]:
    """Energy of `toy_system` in kJ/mol as a function of positions (n, 3) in nm."""

    def energy(x: Tensor) -> Tensor:
        total = x.new_zeros(())
        for chain in chains if 0 in groups else []:
            b = (x[list(chain)][1:] - x[list(chain)][:-1]).norm(dim=-1)
            total = total + 0.5 * BOND[1] * ((b - BOND[0]) ** 2).sum()
        if 1 in groups:
            total = total + RESTRAINT * (x[restraint[1]] - x[restraint[0]]).norm()
        if 2 in groups:
            total = total + WELL * (x[:, 0] ** 2 + 2 * x[:, 1] ** 2).sum()
        return total

    return energy


def simulator_trajectory(
    energy: Callable[[Tensor], Tensor],
    x0: np.ndarray,
    n_steps: int,
    *,
    seed: int,
    cartesian_step: float,
    internal_step: float,
    temperature: float = 300.0,
    cartesian_preconditioner: np.ndarray | None = None,
    internal_preconditioner: np.ndarray | None = None,
    max_displacement: float = 0.2,
    detrend: bool = True,
    measure_correction: bool = False,
    chains: Sequence[Sequence[int]] | None = None,
    fixed: Sequence[int] = (),
    first_step: int = 0,
) -> np.ndarray:
    """Positions (n_steps + 1, N, 3), nm, with the arguments of `NemoLangevinIntegrator`.

    Every chain is moved by the torch simulator alone, without padding, with its number in the system as the chain of
    the noise. Particles in no chain take a Cartesian step; their noise is that of one more chain, by particle index.
    """
    n = len(x0)
    chains = [list(range(n))] if chains is None else [list(chain) for chain in chains]
    cx = torch.ones(n).double() if cartesian_preconditioner is None else cartesian_preconditioner
    cz = torch.ones(n, 3).double() if internal_preconditioner is None else internal_preconditioner
    cx, cz = torch.as_tensor(cx), torch.as_tensor(cz)
    options = StepOptions(10 * max_displacement, detrend, measure_correction)
    steps = torch.tensor([[100 * cartesian_step], [internal_step]], dtype=torch.float64)
    free = [i for i in range(n) if all(i not in chain for chain in [*chains, fixed])]
    x = torch.tensor(x0, dtype=torch.float64)
    frames = [x]
    for step in range(first_step, first_step + n_steps):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(energy(leaf), leaf)
        gradient = gradient / (10 * GAS_CONSTANT * temperature)

        def draw(number: int, beads: int, step: int = step) -> Tensor:
            return langevin_noise(torch.tensor([seed]), torch.tensor([number]), step, 1, beads)[0]

        moved = x.clone()
        for number, chain in enumerate(chains):
            parameters = StepParameters(
                *steps, cx[None, chain], cz[None, chain], cx[None, chain] * 0 + 1
            )
            noise = draw(number, len(chain))
            result = mixed_step(
                10 * x[None, chain], gradient[None, chain], noise, parameters, options
            )
            moved[chain] = result.x[0] / 10
        if free:
            variance = (100 * cartesian_step * cx[free])[:, None]
            noise = draw(len(chains), n)[0, free, 0]
            moved[free] += (variance.sqrt() * noise - variance / 2 * gradient[free]) / 10
        x = moved
        frames.append(x)
    return torch.stack(frames).numpy()


def make_context(
    system: mm.System, integrator: mm.Integrator, positions: Any, name: str = "Reference"
) -> mm.Context:
    """Context at given positions, on a platform ("CPU") or with a precision ("OpenCL mixed")."""
    kind, _, precision = name.partition(" ")
    properties = {"Precision": precision} if precision else {}
    context = mm.Context(system, integrator, platform(kind), properties)
    context.setPositions(positions)
    return context


def positions_of(context: mm.Context) -> np.ndarray:
    """Positions (N, 3), nm."""
    return context.getState(positions=True).getPositions(asNumpy=True)._value


def forces_of(context: mm.Context, groups: int = -1) -> np.ndarray:
    """Forces (N, 3), kJ/mol/nm."""
    return context.getState(forces=True, groups=groups).getForces(asNumpy=True)._value


def energy_of(context: mm.Context, groups: int = -1) -> float:
    """Potential energy, kJ/mol."""
    return context.getState(energy=True, groups=groups).getPotentialEnergy()._value


def run(context: mm.Context, n_steps: int) -> np.ndarray:
    """Positions (n_steps + 1, N, 3), nm, before and after every step."""
    frames = [positions_of(context)]
    for _ in range(n_steps):
        context.getIntegrator().step(1)
        frames.append(positions_of(context))
    return np.array(frames)

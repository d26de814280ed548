"""Molecules for tests: a chain of beads whose distribution is known, and a peptide."""

import math

import numpy as np
import openmm as mm
import torch
from openmm import app

from openmm_nemo.engine.units import GAS_CONSTANT
from tests.helpers import platform

KT = 300 * GAS_CONSTANT
BOND, ANGLE = (0.38, 20_000.0), (1.9, 40.0)
"""Minimum and spring constant: nm and kT/nm^2, radian and kT/radian^2 at 300 K."""
WELLS = (3.0, 0.5)
"""kT at 300 K; see `torsion_energy`."""


def torsion_energy(d: np.ndarray) -> np.ndarray:
    """Energy in kT at 300 K of each dihedral: wells at 0 and 180 degrees, the second one deeper by one kT."""
    return WELLS[0] * (1 - np.cos(2 * d)) + WELLS[1] * np.cos(d)


def beads(n: int = 4) -> tuple[mm.System, app.Topology, np.ndarray]:
    """Chain of n beads with springs and wells, and positions, nm."""
    system, topology = mm.System(), app.Topology()
    bonds, angles = mm.HarmonicBondForce(), mm.HarmonicAngleForce()
    torsions = mm.CustomTorsionForce(f"{KT}*({WELLS[0]}*(1-cos(2*theta)) + {WELLS[1]}*cos(theta))")
    chain = topology.addChain()
    atoms = [topology.addAtom("CA", None, topology.addResidue("GLY", chain)) for _ in range(n)]
    for i in range(n):
        system.addParticle(12.0)
        if i > 0:
            topology.addBond(atoms[i - 1], atoms[i])
            bonds.addBond(i - 1, i, BOND[0], BOND[1] * KT)
        if i > 1:
            angles.addAngle(i - 2, i - 1, i, ANGLE[0], ANGLE[1] * KT)
        if i > 2:
            torsions.addTorsion(i - 3, i - 2, i - 1, i, [])
    for force in (bonds, angles, torsions):
        system.addForce(force)
    zigzag = [[0.31 * i, 0.22 * (i % 2), 0.03 * i * i] for i in range(n)]
    return system, topology, np.array(zigzag)


def beads_log_partition(n: int = 4) -> float:
    """ln of the integral of exp(-U/kT) b^2 sin(a), Angstrom and radian, by quadrature."""
    b, a = np.linspace(3.0, 4.6, 4001), np.linspace(0.5, math.pi, 4001)
    d = np.linspace(-math.pi, math.pi, 4001)
    bond = np.trapezoid(b**2 * np.exp(-0.5 * BOND[1] / 100 * (b - 10 * BOND[0]) ** 2), b)
    angle = np.trapezoid(np.sin(a) * np.exp(-0.5 * ANGLE[1] * (a - ANGLE[0]) ** 2), a)
    torsion = np.trapezoid(np.exp(-torsion_energy(d)), d)
    return float((n - 1) * np.log(bond) + (n - 2) * np.log(angle) + (n - 3) * np.log(torsion))


def peptide() -> tuple[mm.System, app.Topology, np.ndarray]:
    """Alanine dipeptide in vacuo, and positions, nm."""
    pdb = app.PDBFile("examples/data/alanine_dipeptide.pdb")
    system = app.ForceField("amber99sb.xml").createSystem(
        pdb.topology, constraints=None, rigidWater=False, removeCMMotion=False
    )
    return system, pdb.topology, np.array(pdb.getPositions(asNumpy=True)._value)


def energy(system: mm.System, positions: np.ndarray) -> float:
    """kJ/mol, in a Context of its own."""
    context = mm.Context(system, mm.VerletIntegrator(1e-3), platform("Reference"))
    context.setPositions(positions)
    found: float = context.getState(energy=True).getPotentialEnergy()._value
    return found


def minimum(system: mm.System, positions: np.ndarray) -> np.ndarray:
    """Positions of the next minimum of the energy, nm."""
    context = mm.Context(system, mm.VerletIntegrator(1e-3), platform("Reference"))
    context.setPositions(positions)
    mm.LocalEnergyMinimizer.minimize(context, 1e-4)
    found: np.ndarray = context.getState(positions=True).getPositions(asNumpy=True)._value
    return found


def jostled(positions: np.ndarray, n: int, size: float, seed: int = 0) -> torch.Tensor:
    """Positions (n, N, 3), Angstrom, about some in nm."""
    random = np.random.default_rng(seed).normal(size=(n, *positions.shape))
    return torch.from_numpy(10 * positions + size * random)

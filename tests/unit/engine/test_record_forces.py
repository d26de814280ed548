"""Forces on C-alphas, against the change of the energy when a residue is moved, and forces known by hand."""

import mdtraj as md
import numpy as np
import openmm as mm
import pytest
from openmm import app, unit

from openmm_nemo.engine import record_forces
from openmm_nemo.errors import InputError
from tests.helpers import raises
from tests.unit.engine.toys import GAS_CONSTANT, energy_of, make_context

# Residue and atoms in the order of the particles: a cap, four residues, an ion; the last atom of GLY has no mass.
RESIDUES = (
    ("ACE", ("C", "O")),
    ("ALA", ("N", "CA", "C")),
    ("GLY", ("N", "CA", "V")),
    ("HID", ("N", "CA", "C")),
    ("MSE", ("CA", "N", "SE")),
    ("NA", ("NA",)),
)
CA = (3, 6, 9, 11)
VIRTUAL = 7
INSIDE = {0: (2, 3, 4), 1: (5, 6, 7), 2: (8, 9, 10), 3: (11, 12, 13)}
ION = 14

BOXES = np.array([[[3, 0, 0], [0, 3, 0], [0, 0, 3]], [[3.2, 0, 0], [0, 2.9, 0], [0.6, 0.4, 2.8]]])


def topology() -> md.Topology:
    made = md.Topology()
    chain = made.add_chain()
    for number, (name, atoms) in enumerate(RESIDUES):
        residue = made.add_residue(name, chain, resSeq=number)
        for atom in atoms:
            made.add_atom(atom, md.element.carbon, residue)
    return made


def positions(n_frames: int = 2, seed: int = 0) -> np.ndarray:
    """Positions (F, 15, 3), nm, with C-alphas 0.38 apart."""
    x = np.random.default_rng(seed).normal(scale=0.08, size=(n_frames, 15, 3))
    for bead, ca in enumerate(CA):
        x[:, list(INSIDE[bead])] += [0.38 * bead, 0, 0]
        x[:, ca] = [0.38 * bead, 0.1 * (bead % 2), 0.05]
    x[:, [0, 1]] -= [0.4, 0, 0]
    x[:, ION] += [0.6, 1.9, 0]  # within the cutoff of 1.3 through the boundary alone
    return x.astype(np.float32)


def system(periodic: bool = False) -> mm.System:
    """Springs within and between residues, and charges; a virtual site between atoms of two residues."""
    made = mm.System()
    bonds, charges = mm.HarmonicBondForce(), mm.NonbondedForce()
    for i in range(15):
        made.addParticle(0.0 if i == VIRTUAL else 12.0)
        charges.addParticle(0.3 * (-1) ** i, 0.1, 0.5)
    made.setVirtualSite(VIRTUAL, mm.TwoParticleAverageSite(6, 8, 0.7, 0.3))
    for i, j in [(0, 2), (2, 3), (3, 5), (6, 8), (4, 9), (10, 11), (0, 6)]:
        bonds.addBond(i, j, 0.15, 3000.0)
    if periodic:
        charges.setNonbondedMethod(mm.NonbondedForce.CutoffPeriodic)
        charges.setCutoffDistance(1.3)
        made.setDefaultPeriodicBoxVectors(*BOXES[0])
    made.addForce(bonds)
    made.addForce(charges)
    return made


def trajectory(x: np.ndarray | None = None, boxes: np.ndarray | None = None) -> md.Trajectory:
    made = md.Trajectory(positions() if x is None else x, topology())
    if boxes is not None:
        made.unitcell_vectors = boxes
    return made


def record(frames: md.Trajectory, of: mm.System, **options):
    return record_forces(
        frames, of, options.pop("temperature", 330), platform="Reference", **options
    )


@pytest.mark.parametrize("periodic", [False, True])
def test_forces_are_those_that_move_residues(periodic):
    """-dE of moving all atoms of a residue, virtual sites following the atoms that carry them."""
    made = system(periodic)
    frames = trajectory(boxes=BOXES if periodic else None)
    found = record(frames, made)
    assert found.sequence == "AGHM"
    assert found.temperature == 330
    np.testing.assert_allclose(found.positions, 10 * positions()[:, CA], rtol=1e-6)
    context = make_context(made, mm.VerletIntegrator(0.001), positions()[0])
    step = 1e-5
    for k, x in enumerate(positions().astype(float)):
        if periodic:
            context.setPeriodicBoxVectors(*BOXES[k])
        for bead, atoms in INSIDE.items():
            for axis in range(3):
                energies = []
                for sign in (1, -1):
                    moved = x.copy()
                    moved[list(atoms), axis] += sign * step
                    context.setPositions(moved)
                    context.computeVirtualSites()
                    energies.append(energy_of(context))
                force = (energies[1] - energies[0]) / (2 * step)  # kJ/mol/nm
                expected = force / (10 * GAS_CONSTANT * 330)
                assert found.forces[k, bead, axis] == pytest.approx(expected, rel=1e-4, abs=1e-3)
    assert np.abs(found.forces).max() > 10


def test_forces_by_hand():
    """One spring from the second atom of the first residue to the first of the third: k (r - r0) along it."""
    made = mm.System()
    for _ in range(15):
        made.addParticle(12.0)
    spring = mm.HarmonicBondForce()
    spring.addBond(2, 8, 0.0, 1000.0)
    made.addForce(spring)
    x = positions(1)
    x[0, 8] = x[0, 2] + [0.3, 0, -0.4]
    found = record(trajectory(x), made, temperature=300 * unit.kelvin).forces[0]
    pull = 1000.0 * np.array([0.3, 0, -0.4]) / (10 * GAS_CONSTANT * 300)
    np.testing.assert_allclose(found, [pull, 0 * pull, -pull, 0 * pull], rtol=1e-5, atol=1e-6)


def with_constraint(i: int, j: int, length: float | None = None) -> mm.System:
    made = system()
    x = positions()[0]
    made.addConstraint(i, j, np.linalg.norm(x[i] - x[j]) if length is None else length)
    return made


def test_constraints_inside_residues_change_nothing():
    frames = trajectory(positions()[:1])
    plain = record(frames, system()).forces
    np.testing.assert_array_equal(record(frames, with_constraint(2, 3)).forces, plain)
    np.testing.assert_array_equal(record(frames, with_constraint(0, 1)).forces, plain)


@pytest.mark.parametrize(
    ("pair", "residue"), [((4, 5), "GLY2"), ((2, 0), "ALA1"), ((14, 12), "MSE4")]
)
def test_constraints_that_leave_a_residue_are_refused(pair, residue):
    with raises(InputError, "constraint", residue, "HBonds"):
        record(trajectory(), with_constraint(*pair))


def test_frozen_atoms_are_refused():
    made = system()
    made.setParticleMass(ION, 0.0)
    record(trajectory(), made)
    made.setParticleMass(10, 0.0)
    with raises(InputError, "HID3", "mass"):
        record(trajectory(), made)


def torn(atom: int, by: float) -> np.ndarray:
    x = positions()
    x[1, atom] += [0, by, 0]
    return x


def renamed(position: int, name: str) -> md.Trajectory:
    made = trajectory()
    made.topology.residue(position).name = name
    return made


def not_finite() -> np.ndarray:
    x = positions()
    x[1, 3, 0] = np.nan
    return x


def with_overlap() -> mm.System:
    made = system()
    force = mm.CustomExternalForce("sqrt(-1-x*x)")
    force.addParticle(3)
    made.addForce(force)
    return made


REFUSALS: dict[str, tuple] = {
    "size": (
        lambda: record(trajectory().atom_slice(range(14)), system()),
        "14 atoms", 15,
    ),
    "cells": (lambda: record(trajectory(), system(periodic=True)), "unit cells"),
    "nan": (lambda: record(trajectory(not_finite()), system()), "frame 1", "positions"),
    "kelvin": (lambda: record(trajectory(), system(), temperature=-1), "temperature", -1.0),
    "gap": (
        lambda: record(trajectory(torn(9, 2.0)), system()),
        "GLY2", "HID3", "Angstrom", "frame 1", "molecules", "whole",
    ),
    "torn": (
        lambda: record(trajectory(torn(2, 2.0), BOXES[:1].repeat(2, 0)), system(periodic=True)),
        "periodic box", "frame 1",
    ),
    "order": (
        lambda: record(trajectory(), with_constraint(2, 3, 0.5)),
        "ALA1-N", "ALA1-CA", "frame 0",
    ),
    "overlap": (lambda: record(trajectory(), with_overlap()), "frame 0", "forces"),
    "box": (
        lambda: record(trajectory(boxes=0.8 * BOXES), system(periodic=True)),
        "forces", "frame 0",
    ),
    "chain": (lambda: record(trajectory(), system(), chain=1), "chain 1", 0),
    "unknown": (lambda: record(renamed(2, "UNK"), system()), "UNK2"),
    "mirrored": (lambda: record(renamed(2, "DAL"), system()), "DAL2"),
    "inside": (lambda: record(renamed(2, "NA"), system()), "NA2"),
    "short": (lambda: record(renamed(1, "ACE"), system()), "3 residues", 4),
    "platform": (
        lambda: record_forces(trajectory(), system(), 300, platform="Abacus"),
        "Abacus", "Reference",
    ),
    "property": (
        lambda: record(trajectory(), system(), properties={"Beads": "wood"}),
        "Reference", "Beads",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_what_does_not_fit_is_refused(case):
    make, *facts = REFUSALS[case]
    with raises(InputError, *facts):
        make()


def test_residues_without_one_ca_and_several_chains_are_refused():
    frames = trajectory()
    frames.topology.atom(6).name = "CB"
    with raises(InputError, "GLY2", "CA"):
        record(frames, system())
    frames = trajectory()
    frames.topology.add_residue("ALA", frames.topology.add_chain())
    with raises(InputError, "chain", 0, 1):
        record(frames, system())
    assert len(record(frames, system(), chain=0)) == 2


@pytest.mark.filterwarnings("ignore:Unlikely unit cell")
def test_a_real_force_field():
    """Without surroundings, all mapped forces add up to nothing; AllBonds holds residues to each other."""
    pdb = app.PDBFile("examples/data/1l2y.pdb")
    frames = md.load("examples/data/1l2y.pdb")[:2]
    field = app.ForceField("amber14-all.xml")
    made = field.createSystem(pdb.topology, constraints=app.HBonds)
    found = record(frames, made)
    assert found.sequence == "NLYIQWLKDGGPSSGRPPPS"
    assert np.abs(found.forces).max() > 10
    np.testing.assert_allclose(found.forces.sum(1), 0, atol=1e-3)
    made = field.createSystem(pdb.topology, constraints=app.AllBonds)
    with raises(InputError, "constraints", "residues"):
        record(frames, made)

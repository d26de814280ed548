"""What a System must not contain, and the scale of its stiff coordinates."""

import copy

import numpy as np
import openmm as mm
import pytest
import torch
from openmm import app

from openmm_nemo.boltzmann.energies import EnergyPool
from openmm_nemo.boltzmann.molecule import check_system, choose_coordinates
from openmm_nemo.errors import InputError
from tests.helpers import raises
from tests.unit.boltzmann.molecules import ANGLE, BOND, beads, minimum, peptide


def with_box(system, topology, x):
    system.addForce(force := mm.NonbondedForce())
    force.setNonbondedMethod(mm.NonbondedForce.PME)
    for _ in range(system.getNumParticles()):
        force.addParticle(0, 0.1, 0)


def with_constraint(system, topology, x):
    system.addConstraint(0, 1, 0.38)


def with_virtual_site(system, topology, x):
    system.setVirtualSite(3, mm.TwoParticleAverageSite(1, 2, 0.5, 0.5))


def with_fixed_atom(system, topology, x):
    system.setParticleMass(2, 0)


def with_code(system, topology, x):
    force = mm.PythonForce(_no_energy)
    nested = mm.CustomCVForce("cv")
    nested.addCollectiveVariable("cv", force)
    system.addForce(nested)


def _no_energy(state):
    return 0.0, np.zeros((4, 3))


def with_another_particle(system, topology, x):
    system.addParticle(1.0)


def with_hole(system, topology, x):
    x[1, 0] = np.nan


@pytest.mark.parametrize(
    ("spoil", "facts"),
    [
        (with_box, ("periodic", "NoCutoff")),
        (with_constraint, ("constraint", "CA of GLY 1", "CA of GLY 2", "constraints=None")),
        (with_virtual_site, ("virtual site", "GLY 4")),
        (with_fixed_atom, ("mass", "GLY 3")),
        (with_code, ("PythonForce", "native")),
        (with_another_particle, ("5 particles", "4 atoms")),
        (with_hole, ("finite",)),
    ],
)
def test_systems_without_such_coordinates_are_refused(spoil, facts):
    system, topology, x = beads()
    spoil(system, topology, x)
    with raises(InputError, *facts):
        check_system(system, topology, x)


def test_sound_systems_are_not_refused():
    check_system(*beads())
    check_system(*peptide())


def test_a_molecule_without_all_bonds_is_refused_by_the_name_of_an_atom():
    system, _, x = beads()
    cut = app.Topology()
    chain = cut.addChain()
    atoms = [cut.addAtom("CA", None, cut.addResidue("GLY", chain)) for _ in range(4)]
    for i in (0, 1):
        cut.addBond(atoms[i], atoms[i + 1])
    with raises(InputError, "CA of GLY 4", "bonds"):
        choose_coordinates(cut, x, EnergyPool(system, workers=1), 300.0)


def test_a_molecule_that_is_held_in_place_is_refused():
    system, topology, x = beads()
    restraint = mm.CustomExternalForce("100*x^2")
    restraint.addParticle(0, [])
    system.addForce(restraint)
    with raises(InputError, "moved as a whole"):
        choose_coordinates(topology, x, EnergyPool(system, workers=1), 300.0)


def test_a_clash_at_the_beginning_is_refused():
    system, topology, x = peptide()
    clash = copy.deepcopy(x)
    clash[4] = clash[5]
    with raises(InputError, "finite", "clashes"):
        choose_coordinates(topology, clash, EnergyPool(system, workers=1), 300.0)


def test_the_scale_is_that_of_springs():
    """With uncoupled springs, the covariance is kT/k, at the springs' minima."""
    system, topology, x = beads(5)
    x = minimum(system, x)
    coordinates = choose_coordinates(topology, x, EnergyPool(system, workers=1), 600.0)
    covariance = coordinates.scale @ coordinates.scale.T
    is_length = torch.tensor([True, False, False]).expand(5, 3)[coordinates.zmatrix.stiff]
    # 600 K: twice the kT of the springs' constants; 100 Angstrom^2 in a square nanometre.
    variances = torch.where(is_length, 2 * 100 / BOND[1], 2 / ANGLE[1])
    torch.testing.assert_close(covariance, torch.diag(variances.double()), rtol=2e-3, atol=1e-5)
    centre = torch.where(is_length, 10 * BOND[0], ANGLE[0]).double()
    torch.testing.assert_close(coordinates.centre, centre, rtol=2e-3, atol=1e-3)

"""Systems, topologies and integrators of a protein, alone and in a larger system."""

import copy
import pickle

import numpy as np
import openmm as mm
import pytest
from openmm import unit

from openmm_nemo.engine import (
    NemoTopology,
    add_to_system,
    create_force,
    create_integrator,
    create_system,
)
from openmm_nemo.engine import initial_positions as positions_of_z0
from tests.helpers import need_torchforce, raises
from tests.unit.engine.toys import (
    energy_of,
    forces_of,
    make_context,
    random_walk,
    run,
    toy_system,
)
from tests.unit.models.chains import make_model

# Independent of the package: average masses of the amino acids minus water, dalton.
MASS = {"G": 75.067, "W": 204.229, "H": 155.157}
WATER = 18.015


def test_topology_is_one_bonded_calpha_per_residue(protein):
    topology = protein.topology
    assert isinstance(topology, NemoTopology)
    assert topology.protein is protein
    names = "GLY SER ALA VAL LEU LYS ASP GLU PHE TRP TYR PRO THR ASN GLN HIS"
    assert [residue.name for residue in topology.residues()] == names.split()
    assert [residue.id for residue in topology.residues()] == [str(i) for i in range(1, 17)]
    assert {(a.name, a.element.symbol) for a in topology.atoms()} == {("CA", "C")}
    assert [(a.index, b.index) for a, b in topology.bonds()] == [(i, i + 1) for i in range(15)]
    assert topology.getNumChains() == 1


def test_system_has_the_masses_of_residues_and_one_force(protein, backend):
    system = create_system(protein, backend)
    assert system.getNumParticles() == len(protein.sequence)
    for letter, mass in MASS.items():
        particle = system.getParticleMass(protein.sequence.index(letter))
        assert particle.value_in_unit(unit.dalton) == pytest.approx(mass - WATER, abs=0.01)
    assert [force.getName() for force in system.getForces()] == ["NemoForce"]
    assert system.getNumConstraints() == 0
    assert not system.usesPeriodicBoundaryConditions()


def test_particles_can_be_added_afterwards(protein, backend):
    x = np.vstack([protein.initial_positions()._value, [[9, 9, 9], [8, 8, 8]]])
    alone = make_context(create_system(protein, backend), mm.VerletIntegrator(0.001), x[:-2])
    system = create_system(protein, backend)
    by_hand = mm.System()
    by_hand.addForce(create_force(protein, backend))
    for _ in range(len(x)):
        by_hand.addParticle(1.0)
    for _ in range(2):
        system.addParticle(1.0)
    for larger in (system, by_hand):
        context = make_context(larger, mm.VerletIntegrator(0.001), x)
        assert energy_of(context) == pytest.approx(energy_of(alone), rel=1e-9)
        np.testing.assert_allclose(forces_of(context)[:-2], forces_of(alone), atol=1e-6)
        assert not forces_of(context)[-2:].any()


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda system: pickle.loads(pickle.dumps(system)),
}


@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("added", [False, True])
def test_systems_can_be_copied_and_pickled(protein, backend, name, added):
    x = protein.initial_positions()
    system = create_system(protein, backend)
    if added:
        system = mm.System()
        for _ in protein.sequence:
            system.addParticle(1.0)
        add_to_system(protein, system, range(len(protein.sequence)), backend)
    # A copy of a copy, because copies are made in another way.
    again = COPIES[name](COPIES[name](system))
    first, second = (make_context(s, mm.VerletIntegrator(0.001), x) for s in (system, again))
    assert energy_of(second) == pytest.approx(energy_of(first), rel=1e-9)


@pytest.mark.parametrize("name", COPIES)
def test_torchforce_that_openmm_cannot_copy_is_refused(protein, name):
    need_torchforce()
    with raises(mm.OpenMMException, "TorchForce", "python"):
        COPIES[name](create_force(protein, "torchforce"))


def test_initial_positions_are_those_of_z0_in_nm(protein):
    x = positions_of_z0(protein)
    assert x.unit == unit.nanometer
    np.testing.assert_allclose(10 * x._value, protein.initial_state().numpy(), atol=1e-12)
    np.testing.assert_allclose(x._value.mean(0), 0, atol=1e-12)


def test_adding_to_a_system_leaves_its_other_forces(protein, backend, platform_name):
    n = len(protein.sequence)
    chains, size = [[0, 1, 2], [20, 19, 18, 17]], n + 6
    particles = list(range(4, 4 + n))
    x = random_walk(size)
    alone = make_context(
        create_system(protein, backend), mm.VerletIntegrator(1), x[particles], platform_name
    )
    system = toy_system(size, chains, (0, 21))
    assert add_to_system(protein, system, particles, backend, force_group=9) == 3
    context = make_context(system, mm.VerletIntegrator(1), x, platform_name)
    before = make_context(toy_system(size, chains, (0, 21)), mm.VerletIntegrator(1), x)

    assert energy_of(context, groups={9}) == pytest.approx(energy_of(alone), rel=1e-12)
    assert energy_of(context, groups={0, 1, 2}) == pytest.approx(energy_of(before), rel=1e-9)
    expected = forces_of(before)
    expected[particles] += forces_of(alone)
    np.testing.assert_allclose(forces_of(context), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("particles", "facts"),
    [
        (range(15), ["16 residues"]),
        (range(1, 18), [17, "system"]),
        ([0, *range(15)], ["16 residues"]),
        ([-1, *range(15)], [-1, 17, "system"]),
    ],
    ids=["too few", "outside", "twice", "negative"],
)
def test_adding_with_wrong_particles_is_refused(protein, backend, particles, facts):
    system = toy_system(17, [], (0, 1))
    with raises(ValueError, *facts):
        add_to_system(protein, system, list(particles), backend)
    assert system.getNumForces() == 3


@pytest.mark.usefixtures("implementation")
def test_integrator_has_the_steps_and_preconditioners_of_the_network(protein):
    changed = copy.deepcopy(protein)
    changed.cartesian_step.fill_(0.03)
    changed.internal_step.fill_(0.004)
    changed.cartesian_preconditioner.copy_(changed.cartesian_preconditioner.new(range(16)) / 8)
    changed.internal_preconditioner[:, 1] = 0.5
    integrator = create_integrator(changed, seed=2)
    assert integrator.getCartesianStep().value_in_unit(unit.angstrom**2) == pytest.approx(0.03)
    assert integrator.getInternalStep() == 0.004
    assert integrator.getTemperature() == 300 * unit.kelvin
    assert integrator.getMaxDisplacement() == 2 * unit.angstrom
    assert integrator.getChains() is None
    context = make_context(
        create_system(changed, "python"), integrator, changed.initial_positions()
    )
    rollout = changed.rollout(5, seed=2).x[:, 0].numpy() / 10
    np.testing.assert_allclose(run(context, 5), rollout, rtol=0, atol=1e-8)


@pytest.mark.usefixtures("implementation")
def test_options_take_the_place_of_what_the_network_chose(protein):
    integrator = create_integrator(
        protein,
        400 * unit.kelvin,
        seed=7,
        cartesian_step=1e-4 * unit.nanometer**2,
        internal_step=0.25,
        max_displacement=1 * unit.angstrom,
        detrend=False,
        measure_correction=True,
    )
    assert integrator.getTemperature() == 400 * unit.kelvin
    assert integrator.getRandomNumberSeed() == 7
    assert integrator.getCartesianStep() == 1e-4 * unit.nanometer**2
    assert integrator.getInternalStep() == 0.25
    assert integrator.getMaxDisplacement()._value == pytest.approx(0.1)
    assert not integrator.getDetrend()
    assert integrator.getMeasureCorrection()


@pytest.mark.usefixtures("implementation")
def test_protein_in_a_larger_system_is_its_one_chain(protein, backend, platform_name):
    """Without forces between them, the protein moves as it does alone."""
    n = len(protein.sequence)
    size = n + 5
    particles = [int(i) for i in np.random.default_rng(1).permutation(size)[:n]]
    others = [i for i in range(size) if i not in particles]
    system = mm.System()
    for _ in range(size):
        system.addParticle(10.0)
    well = mm.CustomExternalForce("20*(x*x + 2*y*y)")
    for particle in others:
        well.addParticle(particle)
    system.addForce(well)
    add_to_system(protein, system, particles, backend)
    there = {"system": system, "particles": particles}
    assert create_integrator(protein, **there).getDetrend() is False
    integrator = create_integrator(protein, seed=2, detrend=True, **there)
    assert integrator.getChains() == [particles]
    x0 = random_walk(size)
    x0[particles] = positions_of_z0(protein)._value
    frames = run(make_context(system, integrator, x0, platform_name), 20)
    rollout = protein.rollout(20, seed=2).x[:, 0].numpy() / 10
    np.testing.assert_allclose(frames[:, particles], rollout, rtol=0, atol=1e-7)

    # The others: Cartesian steps with C = 1.
    eps = protein.cartesian_step.item() / 100
    moved = np.linalg.norm(np.diff(frames[:, others], axis=0), axis=-1)
    assert np.sqrt((moved**2).mean() / 3) == pytest.approx(np.sqrt(eps), rel=0.15)


@pytest.mark.parametrize("given", ["system", "particles"])
def test_system_and_particles_belong_together(protein, given):
    options = {"system": mm.System(), "particles": range(16)}
    with raises(ValueError, "system", "particles"):
        create_integrator(protein, **{given: options[given]})


def test_a_model_of_fixed_functions_moves_in_openmm_as_in_torch(implementation, backend):
    """The preset "fold", with weights away from their initial values."""
    model = make_model("fold")
    protein = model.condition("NLYIQWLKDGGPSSGRPPPS")
    expected = protein.rollout(5, seed=3, anneal=False).x[:, 0].numpy() / 10
    context = make_context(
        create_system(protein, backend),
        create_integrator(protein, seed=3),
        protein.initial_positions(seed=3),
    )
    found = run(context, 5)
    assert np.abs(found[-1] - found[0]).max() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)

"""Systems of replicas of a protein: energies and forces against those of the protein alone, copies, topologies."""

import copy

import numpy as np
import openmm as mm
import pytest
import torch
from openmm import unit

from openmm_nemo.dynamics.noise import replica_seed
from openmm_nemo.engine import create_force, deserialize_system
from openmm_nemo.engine.forces import NemoReplicaEnergy
from tests.helpers import raises
from tests.tolerances import assert_close
from tests.unit.engine.toys import energy_of, forces_of, make_context, run
from tests.unit.models.chains import make_model

R = 3


def bends(protein) -> np.ndarray:
    """Positions of each replica, (R, L, 3), away from the initial state and apart from each other, nm."""
    x = protein.initial_state().double().numpy() / 10
    return x + np.random.default_rng(3).normal(scale=0.04, size=(R, *x.shape))


def context_of(protein, backend: str, x: np.ndarray, name: str, **options) -> mm.Context:
    return make_context(protein.create_system(backend, **options), mm.VerletIntegrator(1), x, name)


def close(found, expected, kind: str) -> None:
    assert_close(torch.tensor(found).double(), torch.tensor(expected).double(), kind)


def test_energy_and_forces_are_those_of_every_replica_alone(protein, backend, platform_name):
    x = bends(protein)
    together = context_of(protein, backend, x.reshape(-1, 3), platform_name, replicas=R)
    alone = [context_of(protein, backend, here, platform_name) for here in x]
    energies = [energy_of(context) for context in alone]
    forces = np.array([forces_of(context) for context in alone])
    assert min(abs(np.diff(energies))) > 0.1
    close(energy_of(together), sum(energies), "rounding")
    close(forces_of(together), forces.reshape(-1, 3), "rounding_gradient")
    # One by one, at a scale.
    together.setParameter("nemo_scale", 0.5)
    for replica in range(R):
        together.setParameter("nemo_replica", replica)
        close(energy_of(together), 0.5 * energies[replica], "rounding")
        only = np.zeros_like(forces)
        only[replica] = 0.5 * forces[replica]
        close(forces_of(together), only.reshape(-1, 3), "rounding_gradient")
    together.setParameter("nemo_replica", -1)
    close(energy_of(together), 0.5 * sum(energies), "rounding")


def test_particles_choose_the_residues_of_every_replica(protein, backend):
    x = bends(protein).reshape(-1, 3)
    order = np.random.default_rng(5).permutation(len(x) + 4)[: len(x)].tolist()
    system = mm.System()
    for _ in range(len(x) + 4):
        system.addParticle(1.0)
    system.addForce(create_force(protein, backend, order, force_group=3, replicas=R))
    everywhere = np.zeros((len(x) + 4, 3))
    everywhere[order] = x
    context = make_context(system, mm.VerletIntegrator(1), everywhere)
    ordered = context_of(protein, backend, x, "Reference", replicas=R)
    close(energy_of(context, groups={3}), energy_of(ordered), "rounding")
    close(forces_of(context)[order], forces_of(ordered), "rounding_gradient")


def test_the_network_is_evaluated_once_for_all_replicas_and_their_energies(protein, monkeypatch):
    batches = []
    forward = type(protein.potential).forward

    def counted(self, x):
        batches.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(type(protein.potential), "forward", counted)
    x = bends(protein).reshape(-1, 3)
    context = context_of(protein, "python", x, "Reference", replicas=R)
    energy = energy_of(context)
    energies = []
    for replica in range(R):
        context.setParameter("nemo_replica", replica)
        energies.append(energy_of(context))
    assert batches == [R]
    assert sum(energies) == pytest.approx(energy, rel=1e-12)
    context.setParameter("nemo_scale", 2.0)
    assert energy_of(context) == pytest.approx(2 * energies[-1], rel=1e-12)
    context.setPositions(x + np.arange(len(x))[:, None] / 1000)
    assert energy_of(context) != pytest.approx(2 * energies[-1], rel=1e-3)
    assert batches == [R] * 3


def test_xml_and_copies_have_the_same_energy(protein, backend):
    x = bends(protein).reshape(-1, 3)
    system = protein.create_system(backend, replicas=R)
    expected = energy_of(make_context(system, mm.VerletIntegrator(1), x))
    again = deserialize_system(mm.XmlSerializer.serialize(system))
    for other in (again, copy.deepcopy(again)):
        context = make_context(other, mm.VerletIntegrator(1), x)
        assert energy_of(context) == pytest.approx(expected, rel=1e-12)
        context.setParameter("nemo_replica", 1)
        assert energy_of(context) != pytest.approx(expected, rel=1e-3)


def test_one_replica_is_the_protein_alone(protein, backend):
    x = bends(protein)[0]
    one, plain = protein.create_system(backend, replicas=1), protein.create_system(backend)
    contexts = [make_context(system, mm.VerletIntegrator(1), x) for system in (one, plain)]
    assert dict(contexts[0].getParameters()) == {"nemo_scale": 1.0}
    np.testing.assert_array_equal(*map(forces_of, contexts))
    if backend == "python":
        assert mm.XmlSerializer.serialize(one) == mm.XmlSerializer.serialize(plain)


def test_what_is_pickled_is_bytes_and_a_number(protein):
    content, replicas = NemoReplicaEnergy(protein.potential, R).__getstate__()
    assert isinstance(content, bytes)
    assert replicas == R


@pytest.mark.parametrize("replicas", [0, -2])
def test_a_number_of_replicas_that_is_not_positive_is_refused(protein, replicas):
    for make in (protein.create_system, protein.create_integrator, protein.initial_positions):
        with raises(ValueError, "replicas", replicas):
            make(replicas=replicas)
    with raises(ValueError, "replicas", replicas):
        protein.create_topology(replicas)


def test_too_few_particles_for_the_replicas_are_refused(protein):
    with raises(ValueError, "particles", 48):
        create_force(protein, "python", range(16), replicas=R)


def test_replicas_of_a_protein_in_a_larger_system_are_refused(protein):
    with raises(ValueError, "replicas", "system"):
        protein.create_integrator(system=mm.System(), particles=range(16), replicas=2)


def test_topology_has_a_bonded_chain_for_every_replica(protein):
    topology, alone = protein.create_topology(R), protein.topology
    assert topology.protein is protein
    assert topology.getNumAtoms() == protein.create_system(replicas=R).getNumParticles() == 16 * R
    assert [chain.id for chain in topology.chains()] == ["1", "2", "3"]
    assert [chain.id for chain in protein.create_topology().chains()] == ["A"]
    residues = [(residue.name, residue.id) for residue in topology.residues()]
    assert residues == R * [(residue.name, residue.id) for residue in alone.residues()]
    bonds = {(a.index, b.index) for a, b in topology.bonds()}
    assert bonds == {(i, i + 1) for i in range(16 * R - 1) if (i + 1) % 16}


def test_masses_repeat(protein):
    system, alone = protein.create_system(replicas=R), protein.create_system()
    masses = [system.getParticleMass(i) for i in range(16 * R)]
    assert masses == R * [alone.getParticleMass(i) for i in range(16)]


def test_every_replica_starts_from_its_own_numbers():
    protein = make_model("fold").condition("NLYIQWLKDG")
    x = protein.initial_positions(7, replicas=R).value_in_unit(unit.angstrom).reshape(R, -1, 3)
    for replica in range(R):
        expected = protein.initial_state(replica_seed(7, replica)).double()
        np.testing.assert_allclose(x[replica], expected, atol=1e-12)
    np.testing.assert_array_equal(protein.initial_positions(7)._value, x[0] / 10)
    assert np.abs(x[1] - x[0]).max() > 1
    assert np.abs(x[2] - x[1]).max() > 1
    same = protein.initial_positions(replicas=R)._value.reshape(R, -1, 3)
    np.testing.assert_array_equal(same[1], same[0])


def test_integrator_repeats_steps_and_preconditioners(protein):
    changed = copy.deepcopy(protein)
    changed.cartesian_preconditioner.copy_(torch.arange(16) / 8)
    options = {"seed": 1, "internal_step": 0, "detrend": False}
    one = changed.create_integrator(**options)
    integrator = changed.create_integrator(replicas=R, temperatures=[300, 310, 320], **options)
    assert integrator.getNumReplicas() == R
    assert integrator.getTemperatures().value_in_unit(unit.kelvin) == [300, 310, 320]
    assert integrator.getCartesianStep() == one.getCartesianStep()
    x = bends(changed).reshape(-1, 3)
    together = make_context(changed.create_system("python", replicas=R), integrator, x)
    alone = make_context(changed.create_system("python"), one, x[:16])
    moved = run(together, 3)[-1]
    np.testing.assert_allclose(moved[:16], run(alone, 3)[-1], rtol=0, atol=1e-9)
    still = (moved == x).all(1)
    assert still.tolist() == R * [True, *(15 * [False])]  # where C is 0

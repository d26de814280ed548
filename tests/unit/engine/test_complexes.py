"""Complexes in OpenMM: every backend has the energy of the model, and nothing joins the chains that should not."""

import copy
from itertools import pairwise
from pathlib import Path

import mdtraj as md
import numpy as np
import openmm as mm
import pytest
import torch

from openmm_nemo import InputError, NemoModel
from openmm_nemo.data import read_structure
from openmm_nemo.data.families.profiles import read_profile
from openmm_nemo.engine import atom_topology, coarse_topology, create_integrator, create_system
from openmm_nemo.engine.forces import choose_backend
from openmm_nemo.engine.parmed import atom_structure, coarse_structure
from openmm_nemo.engine.parmed import create_system as create_parmed_system
from openmm_nemo.engine.torchscript import export_energy, export_imputation
from openmm_nemo.models import ConditionedComplex
from openmm_nemo.residues import Numbering
from tests.helpers import need_plugin, need_torchforce, raises
from tests.tolerances import NATIVE
from tests.unit.engine.toys import KT, energy_of, forces_of, make_context
from tests.unit.models.chains import make_chain, make_model

A, B = "NLYIQWLKDGG", "GSAVLKDEFWYPTN"
LENGTHS = 11, 14
BONDS = [(i, i + 1) for i in range(24) if i != 10]


@pytest.fixture(scope="module")
def dimer() -> ConditionedComplex:
    return make_model("fold", dtype=torch.float32).condition(f"{A}:{B}")


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """Chains that interpenetrate, nm."""
    first, second = (make_chain(n, n).numpy() / 10 for n in LENGTHS)
    return np.concatenate([first - first.mean(0), second - second.mean(0) + 0.3])


@pytest.mark.parametrize("backend", ["native", "python", "torchforce"])
def test_every_backend_has_the_energy_of_the_model(dimer, x, backend):
    if backend == "torchforce":
        need_torchforce()
    elif backend == "native":
        need_plugin()
    context = make_context(create_system(dimer, backend), mm.VerletIntegrator(1), x, "Reference")
    protein = copy.deepcopy(dimer).double()
    u, gradient = protein.energy_and_gradient(torch.from_numpy(10 * x))
    # Of single precision in torch.
    relative = NATIVE["Reference"] if backend == "native" else NATIVE["CPU"]
    assert energy_of(context) == pytest.approx(KT * u.item(), rel=relative)
    expected = -10 * KT * gradient.numpy()
    np.testing.assert_allclose(
        forces_of(context), expected, rtol=0, atol=10 * relative * np.abs(expected).max()
    )


def test_the_plugin_computes_all_of_it(dimer):
    need_plugin()
    assert choose_backend("auto", "CPU", dimer.require_energy()) == "native"


def test_a_python_force_can_be_read_again(dimer, x):
    system = create_system(dimer, "python")
    again = mm.XmlSerializer.deserialize(mm.XmlSerializer.serialize(system))
    first, second = (make_context(s, mm.VerletIntegrator(1), x) for s in (system, again))
    assert energy_of(first) == energy_of(second)


@pytest.mark.parametrize("backend", ["native", "python"])
def test_replicas_of_a_complex_do_not_interact(dimer, x, backend):
    if backend == "native":
        need_plugin()
    alone = make_context(create_system(dimer, backend), mm.VerletIntegrator(1), x)
    u = energy_of(alone)
    together = make_context(
        create_system(dimer, backend, replicas=3), mm.VerletIntegrator(1), np.vstack([x] * 3)
    )
    assert energy_of(together) == pytest.approx(3 * u, rel=1e-5)
    together.setParameter("nemo_replica", 1)
    assert energy_of(together) == pytest.approx(u, rel=1e-5)


def test_the_topology_has_the_chains_and_no_bond_between_them(dimer):
    topology = dimer.topology
    assert [chain.id for chain in topology.chains()] == ["A", "B"]
    assert [len(list(chain.residues())) for chain in topology.chains()] == list(LENGTHS)
    assert [(a.index, b.index) for a, b in topology.bonds()] == BONDS
    ids = [residue.id for residue in topology.residues()]
    assert ids == [str(i) for n in LENGTHS for i in range(1, n + 1)]
    replicas = dimer.create_topology(2)
    assert [len(list(chain.residues())) for chain in replicas.chains()] == list(LENGTHS) * 2
    assert create_system(dimer).getNumParticles() == 25


def test_chains_keep_the_names_that_they_are_given(dimer):
    protein = copy.deepcopy(dimer)
    names = [f"{n}A" if n == 20 else str(n) for n in range(10, 35)]
    parts = Numbering("H", tuple(names[:11])), Numbering("L", tuple(names[11:]))
    protein.numbering = Numbering.join(parts)
    residues = list(protein.topology.residues())
    assert [residue.chain.id for residue in residues] == ["H"] * 11 + ["L"] * 14
    assert [r.id + r.insertionCode.strip() for r in residues] == names
    protein.numbering = Numbering.consecutive(25)
    with raises(InputError, "25 residues", "11 + 14", "Numbering.join"):
        _ = protein.topology


def test_topologies_of_files_have_the_chains(dimer):
    coarse = coarse_topology(dimer.sequence, dimer.numbering)
    assert [chain.chain_id for chain in coarse.chains] == ["A", "B"]
    assert [(a.index, b.index) for a, b in coarse.bonds] == BONDS
    atoms = atom_topology(dimer.sequence, dimer.numbering)
    joined = [(a.residue.index, b.residue.index) for a, b in atoms.bonds if a.name == "C"]
    assert [pair for pair in joined if pair[0] != pair[1]] == BONDS
    with pytest.raises(ValueError, match="zip"):
        coarse_topology(dimer.sequence[1:], dimer.numbering)


# The integrator


def test_chains_are_integrated_each_on_its_own(dimer):
    integrator = dimer.create_integrator(300, seed=1)
    assert integrator.getChains() == [list(range(11)), list(range(11, 25))]
    assert integrator.getDetrend() is False
    assert dimer.create_integrator(300, seed=1, detrend=True).getDetrend() is True


def test_chains_in_contact_keep_the_shapes_that_they_have_alone():
    """The halves of a held-out domain, from their native places; linear removal of rotation distorts them."""
    structure = read_structure("examples/data/2p5m.pdb")
    profile = read_profile(Path("examples/data/2p5m_profile.txt"))
    halves = slice(0, 46), slice(46, None)
    model = NemoModel.from_pretrained("nemo-fold")
    native = torch.tensor(structure.ca)
    alone = [model.condition(structure.sequence[half], profile[half]) for half in halves]
    together = model.condition(
        ":".join(protein.sequence for protein in alone), [profile[half] for half in halves]
    )

    def final(protein, x, **options):
        """Positions, Angstrom, after an annealed run."""
        integrator = protein.create_integrator(
            300, seed=2, schedule=protein.schedule(250), **options
        )
        context = make_context(protein.create_system(), integrator, x.numpy() / 10, "CPU")
        integrator.step(250)
        return 10 * torch.tensor(context.getState(positions=True).getPositions(asNumpy=True)._value)

    def of_halves(x):
        return [
            float(protein.energy(x[half].float()))
            for protein, half in zip(alone, halves, strict=True)
        ]

    expected = [
        float(protein.energy(final(protein, native[half]).float()))
        for protein, half in zip(alone, halves, strict=True)
    ]
    assert of_halves(final(together, native)) == pytest.approx(expected, rel=0.05)
    distorted = of_halves(final(together, native, detrend="system"))
    assert sum(distorted) > 0.93 * sum(expected)


def test_in_a_larger_system_its_chains_move_as_they_do_alone(dimer, x):
    system = mm.System()
    for particle in range(30):
        system.addParticle(float(particle > 4))
    particles = list(range(29, 4, -1))
    dimer.add_to_system(system, particles)
    there = create_integrator(dimer, 300, seed=3, system=system, particles=particles, detrend=True)
    assert there.getChains() == [particles[:11], particles[11:]]
    positions = np.zeros((30, 3))
    positions[particles] = x
    larger = make_context(system, there, positions, "Reference")
    alone = make_context(
        create_system(dimer), dimer.create_integrator(300, seed=3, detrend=True), x, "Reference"
    )
    found, expected = [], []
    for context, states in ((larger, found), (alone, expected)):
        context.getIntegrator().step(5)
        states.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    np.testing.assert_allclose(found[0][particles], expected[0], rtol=0, atol=1e-9)
    assert np.abs(expected[0] - x).max() > 0.01


def test_replicas_of_a_complex_have_all_chains_and_are_not_moved_together(dimer):
    integrator = dimer.create_integrator(300, seed=1, replicas=2)
    starts = [0, 11, 25, 36, 50]
    chains = [list(range(first, end)) for first, end in pairwise(starts)]
    assert integrator.getChains() == chains
    assert integrator.getDetrend() is False


def test_identical_chains_that_change_places_move_alike():
    """Without noise, for 20 steps: as the energy, so the dynamics."""
    protein = make_model("fold", dtype=torch.float32).condition(f"{A}:{A}")
    first, second = (make_chain(11, k).numpy() / 10 for k in (1, 2))
    second += 0.2
    ends = []
    for x in (np.vstack([first, second]), np.vstack([second, first])):
        integrator = protein.create_integrator(
            1e-9, seed=1, cartesian_step=1e-16, internal_step=1e-14
        )
        context = make_context(create_system(protein), integrator, x, "Reference")
        integrator.step(20)
        ends.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    moved = np.abs(ends[0] - np.vstack([first, second])).max()
    swapped = np.vstack([ends[1][11:], ends[1][:11]])
    assert np.abs(ends[0] - swapped).max() < 1e-3 * moved


# Atoms


@pytest.fixture(scope="module")
def shipped() -> ConditionedComplex:
    return NemoModel.from_pretrained("nemo-fold").condition(f"{A}:{B}")


def test_all_atom_models_have_complete_chains(shipped):
    from openmm_nemo.engine.all_atoms import all_atom_model

    with torch.no_grad():
        atoms = shipped.impute(shipped.initial_state()).double().numpy() / 10
    topology, positions = all_atom_model(shipped.sequence, atoms, shipped.numbering)
    chains = list(topology.chains())
    assert [chain.id for chain in chains] == ["A", "B"]
    for chain, length in zip(chains, LENGTHS, strict=True):
        residues = list(chain.residues())
        assert len(residues) == length
        ends = [{atom.name for atom in residues[k].atoms()} for k in (0, -1)]
        assert "H2" in ends[0]
        assert "OXT" in ends[1]
    for first, second in topology.bonds():
        assert first.residue.chain is second.residue.chain
        assert np.linalg.norm(positions[first.index] - positions[second.index]) < 0.25
    found = md.Topology.from_openmm(topology).select("name CA")
    assert np.abs(positions[found] - atoms[:, 1]).max() < 0.1


def test_parmed_structures_have_the_chains(shipped):
    structure = coarse_structure(shipped)
    assert [(bond.atom1.idx, bond.atom2.idx) for bond in structure.bonds] == BONDS
    assert [residue.chain for residue in structure.residues] == ["A"] * 11 + ["B"] * 14
    joined = [(b.atom1.residue.idx, b.atom2.residue.idx) for b in atom_structure(shipped).bonds]
    assert [pair for pair in joined if pair[0] != pair[1]] == BONDS
    with raises(InputError, "2 chains", "add_to_system"):
        create_parmed_system(shipped, structure)


def test_the_energy_can_be_exported_and_the_imputation_of_one_chain_only(dimer, x):
    scripted = export_energy(dimer)
    u = scripted(torch.from_numpy(x), torch.tensor(1.0))
    assert u.item() == pytest.approx(KT * dimer.energy(torch.from_numpy(10 * x).float()).item())
    with raises(InputError, "2 chains", "each chain"):
        export_imputation(dimer)

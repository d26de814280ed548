"""ParmEd structures of proteins, and NEMO on proteins of AMBER, CHARMM and GROMACS files."""

import copy
from pathlib import Path

import numpy as np
import openmm as mm
import parmed
import pytest
import torch
from openmm import app, unit

from openmm_nemo import InputError, NemoConfig, NemoModel
from openmm_nemo.energies.backbone import Backbone
from openmm_nemo.models.imputation import ATOM_NAMES
from openmm_nemo.parmed import atom_structure, coarse_structure, create_system, find_proteins
from openmm_nemo.residues import RESIDUE_MASS_DALTON, THREE_LETTER, Numbering
from tests.helpers import raises
from tests.unit.engine.toys import energy_of, forces_of, make_context

FILES = Path(__file__).parents[2] / "data" / "parmed"
SEQUENCE = "GSAVLKDEFWYPTNQH"
CHAIN_A, CHAIN_B = "AHACAK", "GACAA"
FORMATS = ("amber", "charmm", "gromacs")


@pytest.fixture(scope="module")
def model() -> NemoModel:
    return NemoModel.from_pretrained("nemo-tiny")


@pytest.fixture(scope="module")
def protein(model):
    return model.condition(SEQUENCE)


def load(name: str) -> parmed.Structure:
    """Two chains of 6 and 5 residues, see tests/data/parmed/README.md."""
    amber = parmed.load_file(str(FILES / "two_chains.prmtop"), str(FILES / "two_chains.inpcrd"))
    if name == "amber":
        return amber
    if name == "gromacs":
        return parmed.load_file(str(FILES / "two_chains.top"), xyz=str(FILES / "two_chains.gro"))
    structure = parmed.load_file(str(FILES / "two_chains.psf"))
    structure.load_parameters(parmed.charmm.CharmmParameterSet(str(FILES / "two_chains.prm")))
    structure.coordinates = amber.coordinates
    return structure


@pytest.fixture
def amber() -> parmed.Structure:
    return load("amber")


def energy_and_forces(system: mm.System, positions) -> tuple[float, np.ndarray]:
    context = make_context(system, mm.VerletIntegrator(0.001), positions)
    return energy_of(context), forces_of(context)


# A protein as a structure


def test_coarse_structure_keeps_names_numbers_and_masses(protein):
    structure = coarse_structure(protein)
    assert [residue.name for residue in structure.residues] == [THREE_LETTER[c] for c in SEQUENCE]
    assert [atom.name for atom in structure.atoms] == ["CA"] * len(SEQUENCE)
    assert [atom.mass for atom in structure.atoms] == [RESIDUE_MASS_DALTON[c] for c in SEQUENCE]
    expected = [
        (r.chain.id, r.name, r.id, r.insertionCode.strip()) for r in protein.topology.residues()
    ]
    for topology in (structure.topology, copy.copy(structure).topology):
        found = [(r.chain.id, r.name, r.id, r.insertionCode.strip()) for r in topology.residues()]
        assert found == expected
        bonds = [(bond[0].index, bond[1].index) for bond in topology.bonds()]
        assert bonds == [(i, i + 1) for i in range(len(SEQUENCE) - 1)]


def test_structures_keep_the_numbering_of_a_file(model, tmp_path):
    protein = model.condition("ACDEF")
    ids = ("-1", "52", "52A", "52B", "60")
    protein.numbering = Numbering("B", ids)
    for make in (coarse_structure, atom_structure):
        structure = make(protein)
        residues = [f"{r.id}{r.insertionCode.strip()}" for r in structure.topology.residues()]
        assert tuple(residues) == ids
        assert [chain.id for chain in structure.topology.chains()] == ["B"]
        structure.save(str(tmp_path / f"{make.__name__}.pdb"), renumber=False)
        read = parmed.load_file(str(tmp_path / f"{make.__name__}.pdb"))
        assert tuple(f"{r.number}{r.insertion_code}" for r in read.residues) == ids
        assert {residue.chain for residue in read.residues} == {"B"}


def test_coarse_structure_has_the_given_positions(protein):
    x = np.random.default_rng(0).normal(size=(len(SEQUENCE), 3))
    for positions in (x, 10 * x * unit.angstrom):
        np.testing.assert_allclose(coarse_structure(protein, positions).coordinates, 10 * x)
    initial = 10 * protein.initial_positions()._value
    np.testing.assert_allclose(coarse_structure(protein).coordinates, initial)
    with raises(ValueError, "positions", (3, 3), (16, 3)):
        coarse_structure(protein, np.zeros((3, 3)))


def test_equilibrium_of_coarse_bonds_is_that_of_the_energy(protein):
    structure = coarse_structure(protein)
    (kind,) = {bond.type for bond in structure.bonds}
    backbone = Backbone(NemoConfig())
    lengths = torch.tensor([kind.req - 0.1, kind.req, kind.req + 0.1])
    x = torch.zeros(3, 2, 3)
    x[:, 1, 0] = lengths
    below, at, above = backbone(x, [], torch.ones(3, 2)).tolist()
    assert at == 0 < min(below, above)
    assert below == pytest.approx(above, rel=1e-4)
    assert structure.bond_types == [kind]


def test_coarse_structure_with_nemo_is_the_system_of_the_protein(protein):
    structure = coarse_structure(protein)
    system = create_system(protein, structure)
    expected = protein.create_system()
    masses = [system.getParticleMass(i) for i in range(len(SEQUENCE))]
    assert masses == [expected.getParticleMass(i) for i in range(len(SEQUENCE))]
    energy, forces = energy_and_forces(system, structure.positions)
    energy_before, forces_before = energy_and_forces(expected, structure.positions)
    assert energy == pytest.approx(energy_before, rel=1e-9)
    np.testing.assert_allclose(forces, forces_before, atol=1e-9 * abs(forces_before).max())


@pytest.mark.parametrize("bead", [True, False])
def test_atom_structure_has_the_imputed_atoms(protein, bead, tmp_path):
    structure = atom_structure(protein, side_chain_bead=bead)
    names = ATOM_NAMES if bead else ATOM_NAMES[:4]
    assert [atom.name for atom in structure.atoms] == list(names) * len(SEQUENCE)
    expected = protein.impute(protein.initial_state()).numpy()[:, : len(names)]
    np.testing.assert_allclose(structure.coordinates, expected.reshape(-1, 3), atol=1e-5)
    first = structure.residues[0].atoms
    assert [atom.mass for atom in first][:4] == pytest.approx(
        [14.007, 12.011, 12.011, 15.999], 1e-3
    )
    assert [atom.mass for atom in first][4:] == [0.0] * bead
    bonds = {(bond.atom1.name, bond.atom2.name) for bond in structure.bonds}
    inside = {("N", "CA"), ("CA", "C"), ("C", "O"), ("CA", ATOM_NAMES[4])}
    assert bonds == {pair for pair in inside if set(pair) <= set(names)} | {("C", "N")}
    assert all(bond.type is None for bond in structure.bonds)

    structure.save(str(tmp_path / "atoms.pdb"))
    read = parmed.load_file(str(tmp_path / "atoms.pdb"))
    for one, other in zip(structure.residues, read.residues, strict=True):
        assert (one.name, one.number, one.chain) == (other.name, other.number, other.chain)
    assert [atom.name for atom in read.atoms] == [atom.name for atom in structure.atoms]
    np.testing.assert_allclose(read.coordinates, structure.coordinates, atol=6e-4)


# NEMO on the proteins of files


@pytest.mark.parametrize("name", FORMATS)
def test_proteins_of_files(name):
    structure = load(name)
    a, b = find_proteins(structure)
    assert (a.number, a.sequence) == (1, CHAIN_A)
    assert (b.number, b.sequence) == (2, CHAIN_B)
    chains = ("PROA", "PROB") if name == "charmm" else ("", "")
    assert (a.chain, b.chain) == chains
    for found in (a, b):
        atoms = [structure.atoms[i] for i in found.particles]
        assert {atom.name for atom in atoms} == {"CA"}
        assert found.residues == tuple(f"{a.residue.name} {a.residue.number}" for a in atoms)
    histidine, cystine = {
        "amber": ("HIE", "CYX"), "charmm": ("HSE", "CYS"), "gromacs": ("HISE", "CYS2")
    }[name]  # fmt: skip
    assert a.residues[1].startswith(histidine)
    assert b.residues[2].startswith(cystine)


@pytest.mark.parametrize("solvent", [None, app.OBC2])
@pytest.mark.parametrize("name", FORMATS)
def test_energies_and_forces_are_the_sums_of_the_parts(name, solvent, model):
    structure = load(name)
    options = {"constraints": app.HBonds, "implicitSolvent": solvent}
    base, base_forces = energy_and_forces(structure.createSystem(**options), structure.positions)
    for found in find_proteins(structure):
        protein = model.condition(found.sequence)
        system = create_system(protein, structure, **options)
        assert system.getNumConstraints() > 0
        energy, forces = energy_and_forces(system, structure.positions)
        rows = list(found.particles)
        x = structure.coordinates[rows] / 10
        nemo, nemo_forces = energy_and_forces(protein.create_system(), x)
        assert abs(nemo) > 1
        assert energy - base == pytest.approx(nemo, rel=1e-5)
        expected = base_forces.copy()
        expected[rows] += nemo_forces
        np.testing.assert_allclose(forces, expected, atol=1e-5 * abs(nemo_forces).max())


def test_the_force_has_a_group_of_its_own_and_a_scale(amber, model):
    protein = model.condition(CHAIN_A)
    system = create_system(protein, amber, implicitSolvent=app.OBC2)
    *others, nemo = (force.getForceGroup() for force in system.getForces())
    assert nemo not in others
    context = make_context(system, mm.VerletIntegrator(0.001), amber.positions)
    whole = energy_of(context, {nemo})
    context.setParameter("nemo_scale", 0.25)
    assert energy_of(context, {nemo}) == pytest.approx(0.25 * whole, rel=1e-6)
    group_3 = create_system(protein, amber, force_group=3)
    assert group_3.getForce(group_3.getNumForces() - 1).getForceGroup() == 3


def test_padded_names_and_caps_with_a_calpha(amber):
    for atom in amber.atoms:
        atom.name = atom.name.replace("CH3", "CA").ljust(4)
    assert {atom.name for atom in amber.residues[0].atoms} >= {"CA  "}
    assert find_proteins(amber) == find_proteins(load("amber"))


# Which protein


def test_proteins_with_one_sequence_are_chosen_by_number(amber, model):
    protein = model.condition(CHAIN_A)
    double = parmed.amber.AmberParm.from_structure(amber * 2)
    assert [found.sequence for found in find_proteins(double)] == [CHAIN_A, CHAIN_B] * 2
    with raises(InputError, "protein 1", "protein 3", "number", "chain"):
        create_system(protein, double)
    system = create_system(protein, double, number=3)
    force = system.getForce(system.getNumForces() - 1)
    assert tuple(force.getParticles()) == find_proteins(double)[2].particles


def test_proteins_are_chosen_by_chain(model):
    structure = load("charmm")
    protein = model.condition(CHAIN_B)
    system = create_system(protein, structure, chain="PROB")
    force = system.getForce(system.getNumForces() - 1)
    assert tuple(force.getParticles()) == find_proteins(structure)[1].particles
    with raises(InputError, "chain='C'", "PROA", "PROB"):
        create_system(protein, structure, chain="C")
    with raises(InputError, "PROA", 6, 5):
        create_system(protein, structure, chain="PROA")
    with raises(InputError, "chain='PROB'", "number=1"):
        create_system(protein, structure, chain="PROB", number=1)


@pytest.mark.parametrize("by_mask", [True, False])
def test_atoms_restrict_the_choice(amber, by_mask, model):
    indices = [atom.idx for atom in amber.atoms if 3 <= atom.residue.idx < 7]
    (found,) = find_proteins(amber, ":4-7" if by_mask else indices)
    assert found.sequence == "ACAK"
    system = create_system(model.condition("ACAK"), amber, atoms=":4-7" if by_mask else indices)
    force = system.getForce(system.getNumForces() - 1)
    assert tuple(force.getParticles()) == found.particles


def test_another_sequence_is_refused_with_the_residue_that_differs(amber, model):
    with raises(InputError, "AHAAAK", "CYX 4", "find_proteins"):
        create_system(model.condition("AHAAAK"), amber)


def test_a_gap_is_named(amber, model):
    """tleap joins the residues on both sides of a missing loop by a long bond."""
    x = amber.coordinates
    x[[atom.idx for atom in amber.atoms if atom.residue.idx >= 4]] += [30.0, 0, 0]
    amber.coordinates = x
    with raises(InputError, "ALA 3", "CYX 4", "Angstrom", "atoms"):
        create_system(model.condition(CHAIN_A), amber)
    create_system(model.condition(CHAIN_B), amber)
    amber.coordinates = None
    create_system(model.condition(CHAIN_A), amber)


def test_numbers_may_jump_where_there_is_a_bond():
    structure = load("charmm")
    for residue in structure.residues[4:8]:
        residue.number += 100
    a, _ = find_proteins(structure)
    assert a.residues == ("ALA 2", "HSE 3", "ALA 4", "CYS 105", "ALA 106", "LYS 107")


def test_parts_without_a_bond_are_two_proteins(amber):
    """Here of three residues each, which is too short for NEMO."""
    double = amber * 2
    peptide_bonds = [b for b in double.bonds if {b.atom1.name, b.atom2.name} == {"C", "N"}]
    cut = next(b for b in peptide_bonds if b.atom1.residue.number == 3)
    double.bonds.remove(cut)
    assert [found.sequence for found in find_proteins(double)] == [CHAIN_B, CHAIN_A, CHAIN_B]


# What is refused


def test_an_unknown_amino_acid_is_named(amber):
    amber.residues[3].name = "XXA"
    with raises(InputError, "XXA 3", "atoms"):
        find_proteins(amber)


def test_a_structure_without_protein_is_refused(amber):
    with raises(InputError, "C-alpha", 4):
        find_proteins(amber[":ACE"])


@pytest.mark.parametrize("mask", ["(:1", "first", ""])
def test_wrong_masks_are_refused(amber, mask):
    with raises(InputError, f"atoms={mask!r}"):
        find_proteins(amber, mask)


def test_a_structure_without_parameters_is_refused(model):
    structure = parmed.load_file("examples/data/1l2y.pdb")
    (found,) = find_proteins(structure)
    with raises(InputError, "parameters", "prmtop", "load_parameters"):
        create_system(model.condition(found.sequence), structure)

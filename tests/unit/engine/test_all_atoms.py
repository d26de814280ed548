"""All-atom models, against what any protein has: L-form, planar trans peptide bonds, no clashes."""

from pathlib import Path

import mdtraj as md
import numpy as np
import pytest
from scipy.spatial import cKDTree

from openmm_nemo import NemoModel
from openmm_nemo.data import read_structure
from openmm_nemo.engine import all_atoms
from openmm_nemo.engine.all_atoms import STEPS, all_atom_model
from openmm_nemo.errors import InputError
from openmm_nemo.residues import Numbering
from tests.helpers import raises

EXAMPLE = Path(__file__).parents[3] / "examples" / "data" / "1l2y.pdb"
NUMBERING = Numbering("B", tuple(str(k) for k in range(5, 24)) + ("23A",))
SIDES = {"ILE": ("CA", "CG1", "CG2"), "THR": ("CA", "OG1", "CG2")}
CLOSEST = {0: 0.25, 1: 0.15, 2: 0.15}
"""Shortest distance of atoms four or more bonds apart, nm, by how many of the two are hydrogens."""


@pytest.fixture(scope="module")
def imputed():
    """N, CA, C, O and side chain's centre of Trp cage, from the shipped network, nm."""
    structure = read_structure(EXAMPLE)
    protein = NemoModel.from_pretrained("nemo-mini").double().condition(structure.sequence)
    return structure.sequence, protein.impute(protein.z0.new_tensor(structure.ca)).numpy() / 10


@pytest.fixture(scope="module")
def model(imputed):
    counts: list[int] = []
    topology, positions = all_atom_model(*imputed, NUMBERING, counts.append)
    return topology, positions, counts


def volume(x: np.ndarray, atoms: dict[str, int], *names: str) -> float:
    """Volume spanned by the bonds from the second atom to the others."""
    first, centre, *others = (x[atoms[name]] for name in names)
    return float(np.linalg.det(np.array([first, *others]) - centre))


def test_all_residues_are_complete_and_keep_their_names(model, imputed):
    topology, _, _ = model
    (chain,) = topology.chains()
    assert chain.id == "B"
    assert [r.id + r.insertionCode for r in chain.residues()] == list(NUMBERING.residue_ids)
    assert topology.getNumAtoms() == 304  # as the NMR structure in the PDB
    found = md.Topology.from_openmm(topology)
    assert "".join(residue.code for residue in found.residues) == imputed[0]


def test_residues_are_in_l_form(model):
    topology, x, _ = model
    for residue in topology.residues():
        atoms = {atom.name: atom.index for atom in residue.atoms()}
        if "CB" in atoms:  # ideal: 2.5e-3 nm^3
            assert volume(x, atoms, "N", "CA", "C", "CB") > 1.5e-3, residue
            assert volume(x, atoms, "N", "CA", "C", "HA") < -0.8e-3, residue
        if residue.name in SIDES:
            ca, one, two = SIDES[residue.name]
            assert volume(x, atoms, ca, "CB", one, two) > 1.5e-3, residue


def test_peptide_bonds_are_trans_and_planar(model):
    topology, x, _ = model
    _, omega = md.compute_omega(md.Trajectory(x[None], md.Topology.from_openmm(topology)))
    assert np.degrees(np.abs(omega)).min() > 155


def test_no_atoms_clash_and_no_bond_is_torn(model):
    topology, x, _ = model
    atoms = list(topology.atoms())
    near = [{atom.index} for atom in atoms]
    for first, second in topology.bonds():
        near[first.index].add(second.index)
        near[second.index].add(first.index)
        assert np.linalg.norm(x[first.index] - x[second.index]) < 0.17
    three = [
        set().union(*(near[k] for j in two for k in near[j]))
        for two in (set().union(*(near[k] for k in one)) for one in near)
    ]
    for i, j in cKDTree(x).query_pairs(0.25):
        if j not in three[i]:
            n_hydrogens = sum(atoms[k].element.symbol == "H" for k in (i, j))
            assert np.linalg.norm(x[i] - x[j]) > CLOSEST[n_hydrogens], (atoms[i], atoms[j])


def test_alpha_carbons_stay_in_their_places(model, imputed):
    topology, x, _ = model
    ca = [atom.index for atom in topology.atoms() if atom.name == "CA"]
    apart = np.linalg.norm(x[ca] - imputed[1][:, 1], axis=1)
    assert np.sqrt((apart**2).mean()) < 0.05


def test_side_chains_point_to_their_predicted_centres(model, imputed):
    """Tryptophan's, the largest: with a turn of 120 degrees its centre would be 0.5 nm away."""
    topology, x, _ = model
    tryptophan = next(residue for residue in topology.residues() if residue.name == "TRP")
    skipped = ("N", "CA", "C", "O")
    heavy = [
        a.index for a in tryptophan.atoms() if a.element.symbol != "H" and a.name not in skipped
    ]
    assert np.linalg.norm(x[heavy].mean(0) - imputed[1][5, 4]) < 0.25


def test_progress_reaches_the_end(model):
    assert model[2] == list(range(1, STEPS + 1))


def test_same_input_gives_the_same_model(imputed):
    sequence, atoms = imputed
    first, again = (all_atom_model(sequence[:5], atoms[:5])[1] for _ in range(2))
    np.testing.assert_allclose(first, again, rtol=0, atol=2e-3)


def test_failure_says_what_to_do(monkeypatch, imputed):
    sequence, atoms = imputed
    monkeypatch.setattr(all_atoms, "_relaxed", lambda *_: np.array([np.nan]))
    with raises(InputError, "--all-atom", "not finite"):
        all_atom_model(sequence[:5], atoms[:5])

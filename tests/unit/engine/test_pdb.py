"""PDB files, against a reader of their columns and gemmi's own."""

import gemmi
import numpy as np
import pytest

from openmm_nemo.engine import atom_topology, coarse_topology
from openmm_nemo.engine.pdb import PdbWriter, chain_letters, write_pdb
from openmm_nemo.residues import Numbering

SEQUENCE = "GWAC"
NUMBERING = Numbering("B", ("-1", "52", "52A", "110"))
CODES = NUMBERING.insertion_codes


def positions(n_atoms: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n_atoms, 3))


def bonds(text: str) -> set[tuple[int, ...]]:
    """Pairs of serial numbers in CONECT records."""
    pairs = set()
    for line in text.splitlines():
        if line.startswith("CONECT"):
            first, *others = (int(line[k : k + 5]) for k in range(6, len(line.rstrip()), 5))
            pairs |= {tuple(sorted((first, other))) for other in others}
    return pairs


@pytest.mark.parametrize("kind", [coarse_topology, atom_topology])
def test_chain_numbers_and_insertion_codes_are_kept(tmp_path, kind):
    topology = kind(SEQUENCE, NUMBERING)
    write_pdb(tmp_path / "x.pdb", positions(topology.n_atoms), topology, CODES)
    (chain,) = gemmi.read_structure(str(tmp_path / "x.pdb"))[0]
    assert chain.name == "B"
    assert tuple(str(residue.seqid) for residue in chain) == NUMBERING.residue_ids
    found = np.array([atom.pos.tolist() for residue in chain for atom in residue])
    np.testing.assert_allclose(found, 10 * positions(topology.n_atoms), rtol=0, atol=6e-4)


def test_every_bond_has_its_record(tmp_path):
    coarse, atoms = coarse_topology(SEQUENCE), atom_topology(SEQUENCE)
    for topology in (coarse, atoms):
        write_pdb(tmp_path / "x.pdb", positions(topology.n_atoms), topology)
        expected = {(a.index + 1, b.index + 1) for a, b in topology.bonds}
        assert bonds((tmp_path / "x.pdb").read_text()) == expected
    trace = {(1, 2), (2, 3), (3, 4)}
    assert {(a.index + 1, b.index + 1) for a, b in coarse.bonds} == trace
    assert {(5 * i + 2, 5 * i + 5) for i in range(4)} < expected  # CA-CEN


def test_models_share_one_list_of_bonds_at_the_end(tmp_path):
    topology = coarse_topology(SEQUENCE, NUMBERING)
    writer = PdbWriter(tmp_path / "x.pdb", topology, CODES)
    for number in (1, 2):
        writer.write(positions(4) * number, number)
    writer.close()
    writer.close()
    text = (tmp_path / "x.pdb").read_text()
    assert [model.num for model in gemmi.read_pdb_string(text)] == [1, 2]
    assert text.index("CONECT") > text.rindex("ENDMDL")
    assert len(bonds(text)) == 3
    assert text.splitlines()[-1].strip() == "END"


@pytest.mark.parametrize(("name", "column"), [("", " "), ("LongName", "L")])
def test_chain_names_that_do_not_have_one_letter(tmp_path, name, column):
    topology = coarse_topology(SEQUENCE, Numbering(name, NUMBERING.residue_ids))
    write_pdb(tmp_path / "x.pdb", positions(4), topology)
    atoms = [line for line in (tmp_path / "x.pdb").read_text().splitlines() if line[:4] == "ATOM"]
    assert [line[21] for line in atoms] == [column] * 4


@pytest.mark.parametrize(
    ("names", "letters"),
    [
        (["AA", "AB", "AC"], "ABC"),
        (["A-2", "A"], "BA"),
        (["a", "b", "abc", ""], "abA "),
        (["Heavy", "Light"], "HL"),
    ],
)
def test_chains_with_long_names_have_letters_of_their_own(tmp_path, names, letters):
    assert chain_letters(names) == list(letters)
    parts = [Numbering(name, ("1", "2", "3", "4")) for name in names]
    topology = coarse_topology(SEQUENCE * len(names), Numbering.join(parts))
    write_pdb(tmp_path / "x.pdb", positions(topology.n_atoms), topology)
    atoms = [line for line in (tmp_path / "x.pdb").read_text().splitlines() if line[:4] == "ATOM"]
    assert "".join(line[21] for line in atoms[::4]) == letters


def test_more_chains_than_letters_are_written():
    letters = chain_letters([f"Q{k}" for k in range(70)])
    assert len(set(letters[:62])) == 62
    assert letters[62:] == ["Q"] * 8

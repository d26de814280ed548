"""Reading of protein structures, on real entries and on files spoilt from them."""

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import mdtraj
import numpy as np
import pytest

from openmm_nemo.data import Structure, read_structure
from openmm_nemo.data.structures import parsing
from openmm_nemo.data.structures.chains import read_chains
from openmm_nemo.errors import InputError
from openmm_nemo.residues import THREE_LETTER
from tests.helpers import names, raises

TESTS = Path(__file__).parents[3]
DATA = TESTS / "data"
TRP_CAGE = TESTS.parent / "examples" / "data" / "1l2y.pdb"
LETTER = {name: letter for letter, name in THREE_LETTER.items()} | {"MSE": "M"}
MASS = {"C": 12.011, "N": 14.007, "O": 15.999, "S": 32.06, "P": 30.974}

Writer = Callable[..., Path]


def text_of(name: str) -> str:
    content = (DATA / name).read_bytes()
    return (gzip.decompress(content) if name.endswith(".gz") else content).decode()


def atom_lines(text: str, chain: str = "A") -> list[str]:
    """Return the coordinate lines of one chain's first model, without its waters."""
    lines = text.split("ENDMDL")[0].splitlines()
    return [
        line
        for line in lines
        if line.startswith(("ATOM", "HETATM")) and line[21] == chain and line[17:20] != "HOH"
    ]


def number(line: str) -> int:
    return int(line[22:26])


def atom_site(text: str) -> list[dict[str, str]]:
    """Return the rows of an mmCIF file's atoms by the names of their columns."""
    lines = text.splitlines()
    columns = [line.strip().split(".")[1] for line in lines if line.startswith("_atom_site.")]
    rows = [line.split() for line in lines if line.startswith(("ATOM ", "HETATM "))]
    return [dict(zip(columns, row, strict=True)) for row in rows]


def position(line: str) -> list[float]:
    return [float(line[start : start + 8]) for start in (30, 38, 46)]


def only(lines: list[str], name: str) -> list[str]:
    return [line for line in lines if line[12:16].strip() == name]


@pytest.fixture(scope="module")
def trp_cage() -> list[str]:
    """The 304 atom lines of the first model of 1l2y, 20 residues, no TER."""
    return atom_lines(TRP_CAGE.read_text())


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def write_file(content: str | bytes | list[str], name: str = "file.pdb") -> Path:
        if isinstance(content, list):
            content = "".join(f"{line}\n" for line in content)
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def note_with(structure: Structure, text: str) -> str:
    """Return the one note that contains the text."""
    (note,) = [note for note in structure.notes if text in note]
    return note


# What must come out of the real entries


@pytest.mark.parametrize(
    ("name", "chain", "length", "first", "last", "start"),
    [
        ("02_1a4w.cif.gz", "L", 26, "1A", "14K", "DCGLRPLFEKKS"),
        ("02_1a4w.cif.gz", "I", 9, "355", "363", "DFEEIPEEY"),
        ("04_1JMO_l_b.pdb.gz", "L", 47, "1T", "14M", "ATSEYQTFFNPR"),
        ("04_1JMO_l_b.pdb.gz", "H", 259, "16", "247", "IVEGSDAEIGMS"),
        ("08_1EN2.cif.gz", "A", 86, "1", "86", "ERCGSQGGGGTC"),
        ("10_3JQH.cif.gz", "A", 23, "1", "23", "PEKSKLQEIYQE"),
        ("20_2hpf.pdb.gz", "A", 99, "1", "99", "PQFSLWKRPVVT"),
        ("20_2hpf.pdb.gz", "B", 99, "1", "99", "PQFSLWKRPVVT"),
        ("22_1u78.pdb.gz", "A", 103, "2", "104", "PRGSALSDTERA"),
        ("27_3a4rA.pdb.gz", "A", 79, "-4", "412", "GPLGSQELRLRV"),
        ("29_5gob.pdb.gz", "A", 76, "1", "76", "MQIFVKTLTGKT"),
        ("31_d1asha_", "A", 60, "0", "59", "ANKTRELCMKSL"),
    ],
)
def test_reads_real_entry(
    name: str, chain: str, length: int, first: str, last: str, start: str
) -> None:
    structure = read_structure(DATA / name, chain=chain)
    assert len(structure.sequence) == length
    assert structure.ca.shape == (length, 3)
    assert structure.backbone.shape == (length, 5, 3)
    assert structure.ca.dtype == structure.backbone.dtype == np.float64
    assert len(structure.residue_ids) == length
    assert structure.residue_ids[0] == first
    assert structure.residue_ids[-1] == last
    assert structure.sequence.startswith(start)
    assert structure.chain == chain
    np.testing.assert_array_equal(structure.ca, structure.backbone[:, 1])


@pytest.mark.parametrize(
    ("name", "chain", "message"),
    [
        ("02_1a4w.cif.gz", "H", "between residues GLU 146 and GLY 150 .* 8.5 .*\\(16-146, 150-244"),
        ("06_1wq2.pdb.gz", None, "between residues SER 14 and SER 20 of chain A .*\\(1-14, 20-70"),
        ("06_1wq2.pdb.gz", "B", "between residues LYS 15 and SER 18 of chain B .*\\(1-15, 18-68"),
        ("15_1xqa.pdb.gz", None, "between residues ALA 93 and ALA 95 .* 5.2 .*\\(0-93, 95-112"),
        (
            "16_1naf.pdb.gz",
            None,
            "between residues GLY 238 and SER 244 .* 11.1 .*\\(171-238, 244-299",
        ),
        (
            "17_1dul.cif.gz",
            None,
            "between residues GLN 9 and LYS 23 .* 15.5 Angstrom .*\\(1-9, 23-82",
        ),
        ("25_1lol.pdb.gz", None, "between residues GLY 181 and GLY 190 .*\\(11-181, 190-222"),
    ],
)
def test_chain_break_names_the_segments_and_how_to_choose(
    name: str, chain: str | None, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_structure(DATA / name, chain=chain)
    said = str(error.value)
    assert name in said
    assert "choose a segment with --residues (" in said
    assert "the longest with --longest-segment (" in said
    # Another chain is advice where there is one.
    several = name not in ("16_1naf.pdb.gz", "17_1dul.cif.gz", "25_1lol.pdb.gz")
    assert said.endswith(" or another chain with --chain.") == several


def test_all_chains_of_a_file_with_their_breaks() -> None:
    """1xqa lacks a residue of each chain, 1wq2 a loop; 2hpf: B has the sequence of A, S is unknown."""
    found = {}
    for name in ("15_1xqa.pdb.gz", "06_1wq2.pdb.gz"):
        structures, failures = read_chains(DATA / name)
        assert failures == []
        for structure in structures:
            (i,) = structure.breaks
            found[structure.name, structure.chain] = structure.residue_ids[i : i + 2]
            steps = np.linalg.norm(np.diff(structure.ca, axis=0), axis=1)
            assert np.flatnonzero(steps > 4.2).tolist() == [i]
    assert found == {
        ("15_1xqa", "A"): ("93", "95"),
        ("15_1xqa", "B"): ("93", "95"),
        ("06_1wq2", "A"): ("14", "20"),
        ("06_1wq2", "B"): ("15", "18"),
    }

    structures, failures = read_chains(DATA / "20_2hpf.pdb.gz")
    assert [structure.chain for structure in structures] == ["A"]
    assert structures[0].breaks == ()
    assert [failure.place.split(" of ")[0] for failure in failures] == ["chain B", "chain S"]
    names(failures[0].reason, "sequence", "chain A")
    names(failures[1].reason, failures[1].place, "UNK")


@pytest.mark.parametrize(
    ("name", "chain"),
    [
        ("04_1JMO_l_b.pdb.gz", "L"),
        ("04_1JMO_l_b.pdb.gz", "H"),
        ("20_2hpf.pdb.gz", "A"),
        ("20_2hpf.pdb.gz", "B"),
        ("22_1u78.pdb.gz", "A"),
        ("27_3a4rA.pdb.gz", "A"),
        ("29_5gob.pdb.gz", "A"),
        ("31_d1asha_", "A"),
    ],
)
def test_agrees_with_mdtraj(name: str, chain: str, write: Writer) -> None:
    structure = read_structure(DATA / name, chain=chain)
    # Plain text with the extension that mdtraj asks for.
    loaded = mdtraj.load(str(write(text_of(name))))
    (part,) = [
        part
        for part in loaded.topology.chains
        if part.chain_id == chain and part.n_residues >= 4 and next(part.residues).name != "HOH"
    ]
    assert structure.sequence == "".join(residue.code for residue in part.residues)
    for column, atom_name in enumerate(("N", "CA", "C", "O")):
        indices = [atom.index for atom in part.atoms if atom.name == atom_name]
        expected = 10 * loaded.xyz[0, indices]
        np.testing.assert_allclose(structure.backbone[:, column], expected, atol=1e-4)


def test_models_of_nmr_entry_agree_with_mdtraj() -> None:
    frames = mdtraj.load(str(TRP_CAGE))
    ca = 10 * frames.xyz[:, frames.topology.select("name CA")]
    default = read_structure(TRP_CAGE)
    assert default.sequence == "NLYIQWLKDGGPSSGRPPPS"
    assert default.name == "1l2y"
    assert default.model == 1
    assert default.notes == ("Took model 1 of 5; choose with --model-index.",)
    for index in range(1, 6):
        structure = read_structure(TRP_CAGE, model_index=index)
        assert structure.model == index
        assert structure.notes == ()
        np.testing.assert_allclose(structure.ca, ca[index - 1], atol=1e-4)


def test_model_is_numbered_as_in_the_file(trp_cage: list[str], write: Writer) -> None:
    path = write(["MODEL        7", *trp_cage, "ENDMDL", "MODEL        9", *trp_cage, "ENDMDL"])
    assert read_structure(path, model_index=2).model == 9


def test_mmcif_agrees_with_its_text() -> None:
    structure = read_structure(DATA / "02_1a4w.cif.gz", chain="L")
    rows = atom_site(text_of("02_1a4w.cif.gz"))
    ca = [row for row in rows if row["label_atom_id"] == "CA" and row["auth_asym_id"] == "L"]
    assert structure.sequence == "".join(LETTER[row["label_comp_id"]] for row in ca)
    expected = [[float(row[f"Cartn_{axis}"]) for axis in "xyz"] for row in ca]
    np.testing.assert_array_equal(structure.ca, expected)
    assert structure.residue_ids == tuple(
        row["auth_seq_id"] + row["pdbx_PDB_ins_code"].replace("?", "") for row in ca
    )


def test_insertion_codes_and_file_order_are_kept() -> None:
    structure = read_structure(DATA / "04_1JMO_l_b.pdb.gz", chain="H")
    ca = only(atom_lines(text_of("04_1JMO_l_b.pdb.gz"), "H"), "CA")
    assert structure.residue_ids == tuple(line[22:27].strip() for line in ca)
    assert {"60A", "60I", "147E"} <= set(structure.residue_ids)


def test_numbering_may_run_backwards() -> None:
    # The insertion codes of 1JMO's light chain run from T down.
    structure = read_structure(DATA / "04_1JMO_l_b.pdb.gz", chain="L")
    assert structure.residue_ids[:4] == ("1T", "1S", "1R", "1Q")


def test_side_chain_centre_of_mass_by_hand(trp_cage: list[str]) -> None:
    # TRP 6 and the 20th residue, which also has the terminal OXT; glycine 10 takes its CA.
    structure = read_structure(TRP_CAGE)
    for residue in (6, 20):
        atoms = [
            line
            for line in trp_cage
            if number(line) == residue
            and line[12:16].strip() not in ("N", "CA", "C", "O", "OXT")
            and line[13] != "H"
            and line[12] != "H"
        ]
        assert len(atoms) == {6: 10, 20: 2}[residue]
        masses = np.array([MASS[line[77]] for line in atoms])
        expected = masses @ np.array([position(line) for line in atoms]) / masses.sum()
        np.testing.assert_allclose(structure.backbone[residue - 1, 4], expected, atol=1e-4)
        plain_mean = np.mean([position(line) for line in atoms], axis=0)
        assert np.abs(plain_mean - expected).max() > 0.01
    np.testing.assert_array_equal(structure.backbone[9, 4], structure.ca[9])


def test_side_chain_of_modified_residue_counts_all_its_atoms(
    trp_cage: list[str], write: Writer
) -> None:
    # O1 ends a chain in GROMACS files, but belongs to the side chain of a modified residue.
    extra = f"ATOM    900  O1  LYS A   8    {9:8.3f}{9:8.3f}{9:8.3f}  1.00  0.00           O  "
    end = next(i for i, line in enumerate(trp_cage) if number(line) == 9)
    lines = [*trp_cage[:end], extra, *trp_cage[end:], "END"]
    plain = read_structure(TRP_CAGE)
    np.testing.assert_array_equal(read_structure(write(lines)).backbone, plain.backbone)
    modified = read_structure(write([*rename_residue(lines[:-1], 8, "LLP"), "END"]))
    moved = np.abs(modified.backbone - plain.backbone).max(axis=(1, 2)) > 0.1
    assert np.flatnonzero(moved).tolist() == [7]


def test_names_of_elements_are_not_needed(trp_cage: list[str], write: Writer) -> None:
    # Left-justified names without element columns: CA would be calcium.
    shifted = [line[:12] + line[12:16].strip().ljust(4) + line[16:66] for line in trp_cage]
    np.testing.assert_allclose(
        read_structure(write(shifted)).backbone, read_structure(TRP_CAGE).backbone
    )


# Models and chains


@pytest.mark.parametrize("index", [0, -1, 6])
def test_model_out_of_range(index: int) -> None:
    with raises(InputError, f"model {index}", "--model-index", 1, 5):
        read_structure(TRP_CAGE, model_index=index)


def test_default_chain_is_noted_with_the_others() -> None:
    structure = read_structure(DATA / "20_2hpf.pdb.gz")
    assert structure.chain == "A"
    assert note_with(structure, "chain") == "Took chain A of A, B, S; choose with --chain."
    waters = "Left out 76 solvent molecules (HOH)."
    assert read_structure(DATA / "20_2hpf.pdb.gz", chain="A").notes == (waters,)


def test_single_chain_is_no_choice() -> None:
    """Beside it are two strands of DNA."""
    left_out = "Left out 52 nucleotides (DG, DT, DC, DA), 7 solvent molecules (HOH)."
    assert read_structure(DATA / "22_1u78.pdb.gz").notes == (left_out,)


@pytest.mark.parametrize(
    ("name", "chain", "facts"),
    [
        ("29_5gob.pdb.gz", "Z", ["chain Z", "--chain", "A, B"]),
        ("29_5gob.pdb.gz", "a", ["chain a", "--chain", "A, B"]),
        ("22_1u78.pdb.gz", "B", ["chain B", "protein", "--chain", "A"]),
        ("17_1dul.cif.gz", "B", ["chain B", "protein", "--chain", "A"]),
        ("20_2hpf.pdb.gz", "S", ["chain S", "UNK"]),
    ],
)
def test_chain_that_cannot_be_used(name: str, chain: str, facts: list[str]) -> None:
    with raises(InputError, name, *facts):
        read_structure(DATA / name, chain=chain)


def test_unknown_and_short_chains_are_passed_over(trp_cage: list[str], write: Writer) -> None:
    unknown = [line[:17] + "UNK U" + line[22:] for line in trp_cage]
    short = [line[:21] + "S" + line[22:] for line in trp_cage if number(line) < 4]
    structure = read_structure(write([*unknown, "TER", *short, "TER", *trp_cage, "TER", "END"]))
    assert structure.chain == "A"
    assert structure.notes == ("Took chain A of U, S, A; choose with --chain.",)


def test_blank_chain_name(trp_cage: list[str], write: Writer) -> None:
    blank = [line[:21] + " " + line[22:] for line in trp_cage]
    path = write([*blank, "TER", *trp_cage, "TER", "END"])
    structure = read_structure(path)
    assert structure.chain == ""
    assert structure.notes == ("Took the chain without a name of '', A; choose with --chain.",)
    assert read_structure(path, chain=" ").chain == ""


def test_no_protein(write: Writer) -> None:
    dna = atom_lines(text_of("22_1u78.pdb.gz"), "B")
    with raises(InputError, "protein chain"):
        read_structure(write([*dna, "TER", "END"]))


@pytest.mark.parametrize(("count", "good"), [(3, False), (4, True)])
def test_shortest_chain(trp_cage: list[str], write: Writer, count: int, good: bool) -> None:
    path = write([line for line in trp_cage if number(line) <= count] + ["END"])
    if good:
        assert read_structure(path).sequence == "NLYI"
    else:
        with raises(InputError, "3 residues", 4):
            read_structure(path)


# Residues


def test_selenomethionine_is_methionine(write: Writer) -> None:
    # The part of 1naf before its break: five of the seven, as HETATM records.
    lines = atom_lines(text_of("16_1naf.pdb.gz"))
    head = [line for line in lines if number(line) <= 238]
    structure = read_structure(write([*head, "TER", "END"]))
    assert structure.sequence == "".join(LETTER[line[17:20]] for line in only(head, "CA"))
    assert len(structure.sequence) == 68
    assert structure.residue_ids[6] == "177"
    assert structure.sequence[6] == "M"
    assert note_with(structure, "parents") == (
        "Took modified residues as their parents: MSE->MET x5."
    )


def test_selenomethionine_in_gzipped_mmcif(write: Writer) -> None:
    # 1dul's chain A from its break on.
    text = text_of("17_1dul.cif.gz")
    atoms = atom_site(text)
    dropped = iter(row["auth_asym_id"] == "A" and int(row["auth_seq_id"]) < 23 for row in atoms)
    lines = [
        line
        for line in text.splitlines(keepends=True)
        if not (line.startswith(("ATOM ", "HETATM ")) and next(dropped))
    ]
    structure = read_structure(write(gzip.compress("".join(lines).encode()), "1dul.cif.gz"))
    ca = [
        row
        for row in atoms
        if row["label_atom_id"] == "CA"
        and row["auth_asym_id"] == "A"
        and int(row["auth_seq_id"]) >= 23
    ]
    assert structure.name == "1dul"
    assert structure.chain == "A"
    assert structure.residue_ids == tuple(row["auth_seq_id"] for row in ca)
    assert structure.sequence == "".join(LETTER[row["label_comp_id"]] for row in ca)
    assert "MSE->MET x8" in note_with(structure, "parents")


@pytest.mark.parametrize(
    ("name", "chain", "note"),
    [("02_1a4w.cif.gz", "I", "TYS->TYR x1"), ("08_1EN2.cif.gz", "A", "PCA->GLU x1")],
)
def test_other_modified_residues(name: str, chain: str, note: str) -> None:
    assert note in note_with(read_structure(DATA / name, chain=chain), "parents")


@pytest.mark.parametrize("ter", [["TER"], []])
def test_names_of_the_force_fields(trp_cage: list[str], write: Writer, ter: list[str]) -> None:
    renamed = [line.replace("LYS A   8", "LYN A   8") for line in trp_cage]
    start = next(i for i, line in enumerate(renamed) if number(line) == 8)
    structure = read_structure(write([*renamed[:start], *ter, *renamed[start:], "END"]))
    assert structure.sequence == "NLYIQWLKDGGPSSGRPPPS"
    np.testing.assert_array_equal(structure.backbone, read_structure(TRP_CAGE).backbone)
    assert note_with(structure, "LYN->LYS x1")


def rename_residue(lines: list[str], residue: int, name: str, record: str = "HETATM") -> list[str]:
    return [
        record.ljust(6) + line[6:17] + name + line[20:] if number(line) == residue else line
        for line in lines
    ]


@pytest.mark.parametrize("name", ["UNK", "XQZ"])
@pytest.mark.parametrize("ter", [["TER"], []])
def test_residue_without_a_parent(
    trp_cage: list[str], write: Writer, name: str, ter: list[str]
) -> None:
    path = write([*rename_residue(trp_cage, 7, name), *ter, "END"])
    with pytest.raises(InputError, match=rf"Residue {name} 7 of chain A .* no parent .*8-20\)\.$"):
        read_structure(path)
    structure = read_structure(path, longest_segment=True)
    assert structure.segment == "8-20"
    assert note_with(structure, "segment") == "Took the longest segment, 8-20, of 1-6, 8-20."


def test_d_protein_is_rejected() -> None:
    with pytest.raises(
        InputError,
        match=r"Residue 1 of chain B .* D-amino acid DNE.* L-proteins: choose another chain with --chain\.$",
    ):
        read_structure(DATA / "29_5gob.pdb.gz", chain="B")


def test_a_single_d_residue_is_rejected(trp_cage: list[str], write: Writer) -> None:
    path = write([*rename_residue(trp_cage, 7, "DLE"), "TER", "END"])
    with raises(InputError, "residue 7", "chain A", "D-amino acid", "DLE"):
        read_structure(path)


@pytest.mark.parametrize("ter", [["TER"], []])
def test_ligands_ions_and_waters_are_left_out(
    trp_cage: list[str], write: Writer, ter: list[str]
) -> None:
    def ligand(name: str, atom: str, residue: int) -> str:
        line = f"HETATM  900 {atom} {name} A{residue:4d}      50.000  50.000  50.000  1.00  0.00"
        return f"{line:<80}"

    others = [
        ligand("GLY", " N  ", 101),  # free amino acids
        ligand("GLY", " CA ", 101),
        ligand(" CA", "CA  ", 102),  # calcium
        ligand("DAR", " CA ", 103),
        ligand("HOH", " O  ", 104),
    ]
    structure = read_structure(write([*trp_cage, *ter, *others, "END"]))
    assert structure.sequence == "NLYIQWLKDGGPSSGRPPPS"
    assert structure.notes == (
        "Left out 1 solvent molecule (HOH), 1 ion (CA), 2 ligands (GLY, DAR).",
    )


def test_water_before_ter_is_left_out(trp_cage: list[str], write: Writer) -> None:
    water = f"HETATM  900  O   HOH A 101    {50:8.3f}{50:8.3f}{50:8.3f}  1.00  0.00"
    structure = read_structure(write([*trp_cage, water, "TER", "END"]))
    assert structure.sequence == "NLYIQWLKDGGPSSGRPPPS"
    assert structure.notes == ("Left out 1 solvent molecule (HOH).",)


def test_amino_acid_bonded_to_the_chain_after_ter_is_a_ligand(
    trp_cage: list[str], write: Writer
) -> None:
    chain = [line for line in trp_cage if number(line) < 20]
    bonded = ["HETATM" + line[6:] for line in trp_cage if number(line) == 20]
    structure = read_structure(write([*chain, "TER", *bonded, "END"]))
    assert structure.sequence == "NLYIQWLKDGGPSSGRPPP"


def test_d_inhibitor_beside_the_chain_is_no_part_of_it() -> None:
    # Chain H of 1a4w also names a ligand with D-arginine; only the break must be told.
    with raises(InputError, "breaks"):
        read_structure(DATA / "02_1a4w.cif.gz", chain="H")


@pytest.mark.parametrize("residue", [1, 8, 20])
@pytest.mark.parametrize("ca_only", [False, True])
def test_modified_residue_without_ter_stays_in_the_chain(
    trp_cage: list[str], write: Writer, residue: int, ca_only: bool
) -> None:
    lines = rename_residue(trp_cage, residue, "MSE")
    lines = only(lines, "CA") if ca_only else lines
    sequence = read_structure(write([*lines, "END"])).sequence
    assert len(sequence) == 20
    assert sequence[residue - 1] == "M"


@pytest.mark.parametrize("ter", [["TER"], []])
def test_caps_are_left_out(trp_cage: list[str], write: Writer, ter: list[str]) -> None:
    # Acetyl's carbon, with the place of a true peptide bond before residue 2.
    carbon = [line for line in only(trp_cage, "C") if number(line) == 1]
    cap = [line.replace("ASN A   1", "ACE A   1") for line in carbon]
    rest = [line for line in trp_cage if number(line) > 1]
    structure = read_structure(write([*cap, *rest, *ter, "END"]))
    assert structure.sequence == "LYIQWLKDGGPSSGRPPPS"
    assert structure.notes == ("Left out 1 cap (ACE).",)


def test_ter_inside_the_chain_loses_nothing(trp_cage: list[str], write: Writer) -> None:
    half = next(i for i, line in enumerate(trp_cage) if number(line) == 11)
    path = write([*trp_cage[:half], "TER", *trp_cage[half:], "TER", "END"])
    assert read_structure(path).sequence == "NLYIQWLKDGGPSSGRPPPS"


def test_residue_without_ca(trp_cage: list[str], write: Writer) -> None:
    path = write([line for line in trp_cage if line[12:26] != " CA  LYS A   8"] + ["END"])
    with raises(InputError, "LYS 8", "chain A", "CA"):
        read_structure(path)


def test_missing_backbone_and_side_chain_atoms_are_nan(trp_cage: list[str], write: Writer) -> None:
    gone = {" N   TYR A   3", " O   TYR A   3", " C   ILE A   4", " CZ2 TRP A   6"}
    path = write([line for line in trp_cage if line[12:26] not in gone] + ["END"])
    structure = read_structure(path)
    expected = np.zeros((20, 5), dtype=bool)
    expected[2, [0, 3]] = expected[3, 2] = expected[5, 4] = True
    np.testing.assert_array_equal(np.isnan(structure.backbone).all(axis=2), expected)
    np.testing.assert_array_equal(np.isnan(structure.backbone).any(axis=2), expected)
    assert structure.notes == (
        "The file lacks N, C or O in 2 residues, the first TYR 3.",
        "The file lacks side-chain atoms in residue TRP 6.",
    )


def test_ca_only_file(trp_cage: list[str], write: Writer) -> None:
    structure = read_structure(write(only(trp_cage, "CA")))
    np.testing.assert_array_equal(structure.ca, read_structure(TRP_CAGE).ca)
    assert np.isnan(structure.backbone[:, [0, 2, 3]]).all()


# Alternative conformers, occupancies, hydrogens


@pytest.fixture
def two_conformers() -> list[str]:
    """Chain A of 1xqa up to its break: THR 27 and ARG 40 in two halves each, three MSE."""
    return [line for line in atom_lines(text_of("15_1xqa.pdb.gz")) if number(line) <= 93]


def test_equal_altlocs_take_the_first_letter(two_conformers: list[str], write: Writer) -> None:
    structure = read_structure(write([*two_conformers, "TER", "END"]))
    assert structure.residue_ids[27] == "27"
    np.testing.assert_allclose(structure.backbone[27, :4], THR_27_A)
    assert note_with(structure, "conformer") == (
        "Took the conformer of highest occupancy in 2 residues, the first THR 27."
    )


THR_27_A = [
    [11.740, -1.963, 12.357],
    [11.044, -2.704, 11.294],
    [9.529, -2.709, 11.519],
    [9.069, -3.014, 12.622],
]
THR_27_B = [
    [11.798, -1.993, 12.332],
    [11.039, -2.566, 11.239],
    [9.554, -2.444, 11.536],
    [9.148, -2.368, 12.697],
]


def test_altlocs_follow_the_mean_occupancy_of_the_residue(
    two_conformers: list[str], write: Writer
) -> None:
    # A has the higher N, B the higher mean: all atoms must be those of B.
    changed = []
    for line in two_conformers:
        if number(line) == 27:
            high = (line[16] == "B") != (line[12:16] == " N  ")
            line = line[:54] + ("  0.60" if high else "  0.40") + line[60:]
        changed.append(line)
    structure = read_structure(write([*changed, "TER", "END"]))
    np.testing.assert_allclose(structure.backbone[27, :4], THR_27_B)


def test_atom_that_the_chosen_conformer_lacks_comes_from_the_next(
    two_conformers: list[str], write: Writer
) -> None:
    lines = [line for line in two_conformers if line[12:26] != " O  ATHR A  27"]
    structure = read_structure(write([*lines, "TER", "END"]))
    np.testing.assert_allclose(structure.backbone[27, :4], THR_27_A[:3] + THR_27_B[3:])


def test_selenomethionine_among_altlocs(two_conformers: list[str], write: Writer) -> None:
    structure = read_structure(write([*two_conformers, "TER", "END"]))
    assert len(structure.sequence) == 94
    assert "MSE->MET x3" in note_with(structure, "parents")
    assert [i for i, letter in enumerate(structure.sequence) if letter == "M"] == [1, 39, 50]
    np.testing.assert_allclose(structure.ca[39], [7.267, -1.096, 14.825])


def test_neutron_entry(write: Writer) -> None:
    # 1wq2 from its break on: H and D in two conformers, some D of occupancy 0; no heavy atom so.
    lines = [line for line in atom_lines(text_of("06_1wq2.pdb.gz")) if number(line) >= 20]
    assert any(line[77] == "D" and line[16] != " " for line in lines)
    assert any(line[77] == "D" and line[54:60] == "  0.00" for line in lines)
    heavy = [line for line in lines if line[77] not in "HD"]
    assert len(heavy) < len(lines) / 1.5
    structure = read_structure(write([*lines, "TER", "END"]))
    assert structure.notes == ("The file lacks side-chain atoms in 7 residues, the first SER 20.",)
    np.testing.assert_array_equal(structure.ca, [position(line) for line in only(heavy, "CA")])
    without = read_structure(write([*heavy, "TER", "END"]))
    np.testing.assert_array_equal(structure.backbone, without.backbone)


def test_microheterogeneity_takes_the_most_occupied_residue() -> None:
    # 3JQH: PRO 0.83 / SER 0.17 at 1 and ARG 0.50 / GLN 0.33 / GLU 0.17 at 15.
    structure = read_structure(DATA / "10_3JQH.cif.gz")
    assert structure.sequence[0] == "P"
    assert structure.sequence[14] == "R"
    np.testing.assert_allclose(structure.ca[0], [3.746, 20.507, 21.289])
    np.testing.assert_allclose(structure.ca[14], [8.903, 14.440, 41.922])
    assert note_with(structure, "residue of") == (
        "Took the residue of highest occupancy: PRO 1 (not SER), ARG 15 (not GLN, GLU)."
    )


def test_microheterogeneity_need_not_take_the_first() -> None:
    # 1EN2: GLY 0.67 is the second at 10; TRP 0.56 the second at 16, after two conformers of ARG.
    structure = read_structure(DATA / "08_1EN2.cif.gz")
    residues = dict(zip(structure.residue_ids, structure.sequence, strict=True))
    assert [residues[i] for i in ("10", "14", "16", "80", "81")] == list("GAWSK")


def test_same_number_without_altlocs_is_two_residues(trp_cage: list[str], write: Writer) -> None:
    lines = [line.replace("LYS A   8", "LYS A   7") for line in trp_cage]
    structure = read_structure(write([*lines, "END"]))
    assert structure.sequence == "NLYIQWLKDGGPSSGRPPPS"
    assert structure.residue_ids[5:9] == ("6", "7", "7", "9")


def test_atoms_given_twice() -> None:
    # 3a4rA lists CG to NZ of LYS 348 and others twice, without altlocs.
    structure = read_structure(DATA / "27_3a4rA.pdb.gz")
    assert structure.notes == (
        "Took the first of atoms given twice without altlocs in 4 residues, the first LYS 348.",
    )


def test_two_molecules_under_one_chain_name(trp_cage: list[str], write: Writer) -> None:
    """They are parted where the numbers begin again, with TER or without."""
    moved = [f"{line[:30]}{float(line[30:38]) + 30:8.3f}{line[38:]}" for line in trp_cage]
    for ter in ([], ["TER"]):
        path = write([*trp_cage, *ter, *moved, *ter, "END"])
        first, second = (read_structure(path, chain=name) for name in "AB")
        note = "Chain A holds 2 protein molecules: they are called A, B here."
        assert first.notes == second.notes == (note,)
        np.testing.assert_allclose(second.ca - first.ca, [[30, 0, 0]] * 20, atol=1e-9)


def test_two_molecules_atom_by_atom(trp_cage: list[str], write: Writer) -> None:
    moved = [f"{line[:30]}{float(line[30:38]) + 30:8.3f}{line[38:]}" for line in trp_cage]
    mixed = [line for pair in zip(trp_cage, moved, strict=True) for line in pair]
    with pytest.raises(InputError, match=r"Residue ASN 1 .* atom N in two places"):
        read_structure(write([*mixed, "END"]))


def test_atoms_of_occupancy_zero_are_used_and_noted(trp_cage: list[str], write: Writer) -> None:
    emptied = [
        line[:54] + "  0.00" + line[60:] if number(line) in (5, 9) else line for line in trp_cage
    ]
    structure = read_structure(write([*emptied, "END"]))
    np.testing.assert_array_equal(structure.backbone, read_structure(TRP_CAGE).backbone)
    assert structure.notes == (
        "Used the positions of atoms with occupancy 0 in 2 residues, the first GLN 5.",
    )


def test_occupancy_zero_in_domain_file() -> None:
    note = note_with(read_structure(DATA / "31_d1asha_"), "occupancy 0")
    assert note.endswith("residues, the first LYS 9.")


def test_hydrogens_are_ignored(trp_cage: list[str], write: Writer) -> None:
    heavy = [line for line in trp_cage if line[77] != "H"]
    assert len(heavy) == 154
    np.testing.assert_array_equal(
        read_structure(write([*heavy, "END"])).backbone, read_structure(TRP_CAGE).backbone
    )


# Geometry


def test_cis_peptide_is_legitimate(trp_cage: list[str], write: Writer) -> None:
    ca = only(trp_cage, "CA")
    trace = [
        f"{line[:30]}{2.9 * i:8.3f}{0.0:8.3f}{0.0:8.3f}{line[54:]}" for i, line in enumerate(ca)
    ]
    assert read_structure(write([*trace, "END"])).ca[1, 0] == 2.9


@pytest.mark.parametrize(("step", "good"), [(4.19, True), (4.21, False)])
def test_longest_step(trp_cage: list[str], write: Writer, step: float, good: bool) -> None:
    ca = only(trp_cage, "CA")
    trace = [
        f"{line[:30]}{step * i:8.3f}{0.0:8.3f}{0.0:8.3f}{line[54:]}" for i, line in enumerate(ca)
    ]
    path = write([*trace, "END"])
    if good:
        assert len(read_structure(path).sequence) == 20
    else:
        with raises(InputError, "ASN 1", "LEU 2", "4.2 Angstrom"):
            read_structure(path)


def test_overlapping_residues_need_not_be_neighbours(trp_cage: list[str], write: Writer) -> None:
    # A square with sides of 3.8: the fifth corner meets the first.
    corners = [(0.0, 0.0), (3.8, 0.0), (3.8, 3.8), (0.0, 3.8), (0.0, 1.9)]
    trace = [
        f"{line[:30]}{x:8.3f}{y:8.3f}{0.0:8.3f}{line[54:]}"
        for line, (x, y) in zip(only(trp_cage, "CA"), corners, strict=False)
    ]
    with raises(InputError, "ASN 1", "GLN 5", "chain A", "1.9 Angstrom"):
        read_structure(write([*trace, "END"]))


# Files and formats


@pytest.mark.parametrize(
    "name", ["x.pdb", "x.ent", "x.PDB", "x.pdb.gz", "x.ent.gz", "x", "x.gz", "x.cif"]
)
@pytest.mark.parametrize("zipped", [False, True])
def test_format_is_told_by_the_content(write: Writer, name: str, zipped: bool) -> None:
    content = TRP_CAGE.read_bytes()
    structure = read_structure(write(gzip.compress(content) if zipped else content, name))
    assert structure.name == "x"
    assert structure.sequence == "NLYIQWLKDGGPSSGRPPPS"


@pytest.mark.parametrize("name", ["y.cif", "y.mmcif", "y.CIF.GZ", "y", "y.pdb"])
def test_mmcif_under_any_name(write: Writer, name: str) -> None:
    text = text_of("10_3JQH.cif.gz")
    structure = read_structure(write("\ufeff# a comment\n\n" + text, name))
    assert structure.name == "y"
    assert len(structure.sequence) == 23


@pytest.mark.parametrize("name", ["d1asha_", "my.model.3"])
def test_name_without_known_extension_is_kept(write: Writer, name: str) -> None:
    assert read_structure(write(text_of("31_d1asha_"), name)).name == name


def test_line_ends_and_byte_order_mark(write: Writer) -> None:
    text = "\ufeff" + TRP_CAGE.read_text().replace("\n", "\r\n")
    np.testing.assert_array_equal(read_structure(write(text)).ca, read_structure(TRP_CAGE).ca)


def test_mmcif_without_entities(write: Writer) -> None:
    # As programs other than the archive write it: nothing but the atoms.
    rows = text_of("10_3JQH.cif.gz").splitlines()
    start = next(i for i, row in enumerate(rows) if row.startswith("_atom_site.")) - 1
    stop = next(i for i, row in enumerate(rows) if i > start and row.startswith("#"))
    structure = read_structure(write(["data_x", "#", *rows[start:stop]], "x.cif"))
    np.testing.assert_array_equal(structure.ca, read_structure(DATA / "10_3JQH.cif.gz").ca)


def test_missing_file(tmp_path: Path) -> None:
    with raises(InputError, "none.pdb"):
        read_structure(tmp_path / "none.pdb")


def test_folder(tmp_path: Path) -> None:
    with raises(InputError, tmp_path, "folder"):
        read_structure(tmp_path)


def test_no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    with raises(InputError, TRP_CAGE):
        read_structure(TRP_CAGE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"\x1f\x8bnonsense", "damaged or cut gzip"),
        (b"\x80\x04\x95\x00\x00", r"no atoms in a known format \(mmCIF, PDB, GRO\)"),
        (b"ATOM  \n\0\0", r"no atoms in a known format \(mmCIF, PDB, GRO\)"),
        (b"HEADER    PROTEIN\nEND\n", r"no atoms in a known format \(mmCIF, PDB, GRO\)"),
        (b"Dear reader,\nATOM by atom.\n", r"no atoms in a known format \(mmCIF, PDB, GRO\)"),
        (b"data_x\n_cell.length_a 3\n", "has 0 data blocks with _atom_site coordinates"),
        (b"data_x\nloop_\n_a.b\n_a.c\n1 2 3\n", "damaged or cut short"),
    ],
)
def test_not_a_structure(write: Writer, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_structure(write(content))


def test_unpacked_size_is_bounded(write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MAX_BYTES", 2**20)
    path = write(gzip.compress(b"ATOM  " + bytes(2**25)), "bomb.pdb.gz")
    assert path.stat().st_size < 2**16
    tracemalloc.start()
    try:
        with raises(InputError, path, "1 MiB"):
            read_structure(path)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("field", ["     nan", "     inf", "********", "   1.2.3", "        "])
def test_pdb_coordinates_must_be_finite(trp_cage: list[str], write: Writer, field: str) -> None:
    line = trp_cage[4]
    lines = [*trp_cage[:4], line[:38] + field + line[46:], *trp_cage[5:], "END"]
    with raises(InputError, "line 5", "coordinates"):
        read_structure(write(lines))


@pytest.mark.parametrize("field", ["?", ".", "nan", "abc"])
def test_mmcif_coordinates_must_be_finite(write: Writer, field: str) -> None:
    text = text_of("10_3JQH.cif.gz")
    assert text.count(" 3.746 ") == 1
    path = write(text.replace(" 3.746 ", f" {field} "), "x.cif")
    with raises(InputError, "atom CA", "PRO 1", "finite"):
        read_structure(path)


def test_cut_gzip(write: Writer) -> None:
    content = (DATA / "20_2hpf.pdb.gz").read_bytes()
    with raises(InputError, "x.pdb.gz", "gzip"):
        read_structure(write(content[: len(content) // 2], "x.pdb.gz"))


ATOM_START = 50 * 81
"""Length of fifty atom lines with their newlines."""


@pytest.mark.parametrize("width", [1, 3, 6, 20, 45, 53, 60, 77])
def test_pdb_cut_within_a_line(trp_cage: list[str], write: Writer, width: int) -> None:
    # In the middle of a plain file without header, MODEL or END.
    text = "".join(f"{line}\n" for line in trp_cage)
    with raises(InputError, "cut short"):
        read_structure(write(text[: ATOM_START + width]))


@pytest.mark.parametrize("atom", [" O  ", " CG ", " CZ3"])
def test_pdb_cut_within_a_residue(trp_cage: list[str], write: Writer, atom: str) -> None:
    # Between two lines: CH2 is the last heavy atom of TRP 6.
    last = next(i for i, line in enumerate(trp_cage) if line[12:26] == f"{atom} TRP A   6")
    with raises(InputError, "cut short", "line", "END"):
        read_structure(write(trp_cage[: last + 1]))
    assert read_structure(write([*trp_cage[: last + 1], "END"])).sequence == "NLYIQW"


def test_hydrogens_do_not_make_up_for_a_cut(trp_cage: list[str], write: Writer) -> None:
    # CHARMM lists a residue's hydrogens among its heavy atoms.
    before = [line for line in trp_cage if number(line) < 6]
    tryptophan = [line for line in trp_cage if number(line) == 6]
    hydrogens = [line for line in tryptophan if line[77] == "H"]
    heavy = [line for line in tryptophan if line[77] != "H"]
    with raises(InputError, "cut short"):
        read_structure(write([*before, *hydrogens, *heavy[:-2]]))


def test_pdb_without_end_is_complete_if_its_last_residue_is(
    trp_cage: list[str], write: Writer
) -> None:
    assert read_structure(write(trp_cage)).sequence == "NLYIQWLKDGGPSSGRPPPS"
    heavy = [line for line in trp_cage if line[77] != "H" and number(line) < 20]
    assert len(read_structure(write(heavy)).sequence) == 19


def test_cut_archive_entry_ends_between_residues(write: Writer) -> None:
    lines = text_of("20_2hpf.pdb.gz").replace("MODEL        1", "").splitlines()
    last = next(i for i, line in enumerate(lines) if line.startswith("ATOM") and number(line) == 50)
    with raises(InputError, "cut short"):
        read_structure(write(lines[:last]))


def test_cut_within_a_model(trp_cage: list[str], write: Writer) -> None:
    one = ["MODEL        1", *trp_cage, "TER", "ENDMDL"]
    with raises(InputError, "cut short"):
        read_structure(write([*one, "MODEL        2", *trp_cage, "TER"]))
    assert read_structure(write(one)).sequence
    assert read_structure(write([*one[:-1], "END"])).sequence


def test_atoms_after_end_are_not_dropped(trp_cage: list[str], write: Writer) -> None:
    with raises(InputError, "line 306", "END"):
        read_structure(write([*trp_cage, "END".ljust(80), *trp_cage, "END"]))


def test_two_mmcif_entries_in_one_file(write: Writer) -> None:
    text = text_of("10_3JQH.cif.gz")
    with raises(InputError, "2 data blocks"):
        read_structure(write(text + text.replace("data_3JQH", "data_copy"), "x.cif"))


@pytest.mark.parametrize("extra", [0, 30, 80])
def test_cut_mmcif(write: Writer, extra: int) -> None:
    # At the end of a row, which the grammar allows, and inside one.
    text = text_of("10_3JQH.cif.gz")
    start = text.index("\nATOM   120 ") + 1
    with raises(InputError, "cut short"):
        read_structure(write(text[: start + extra], "x.cif"))

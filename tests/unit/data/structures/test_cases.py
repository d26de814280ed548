"""Files as users have them, from simulation programs and from the archive: each is read rightly or refused truly."""

import gzip
import itertools
import random
import re
from collections.abc import Callable
from pathlib import Path

import gemmi
import numpy as np
import pytest

from openmm_nemo.data import read_structure
from openmm_nemo.data.structures import read_chains
from openmm_nemo.errors import InputError
from tests.unit.data.structures.files import (
    CASES,
    DATA,
    TRP_CAGE,
    TRP_CAGE_SEQUENCE,
    molecule,
    named,
    number,
    shifted,
    text_of,
    trp_cage_lines,
)

FILES = [*sorted(CASES.glob("*.pdb")), *sorted(p for p in DATA.iterdir() if p.name[:2].isdigit())]


@pytest.fixture
def write(tmp_path):
    def write_lines(*parts, name="file.pdb"):
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for part in parts for line in part))
        return path

    return write_lines


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return trp_cage_lines()


@pytest.fixture(scope="module")
def plain():
    return read_structure(TRP_CAGE, model_index=1)


# The cases


@pytest.mark.parametrize(
    ("name", "sequence", "notes"),
    [
        ("solvent_after_chain", TRP_CAGE_SEQUENCE, ["Left out 25 solvent molecules (SOL)."]),
        (
            "four_letter_terminal",
            TRP_CAGE_SEQUENCE,
            ["Read names of force fields as standard ones: NASN->ASN x1."],
        ),
        (
            "four_letter_histidine",
            "NLYIHWLKDGGPSSGRPPPS",
            [
                "Read names of force fields as standard ones: HISE->HIS x1.",
                "The file lacks side-chain atoms in residue HISE 5.",  # glutamine's have another number
            ],
        ),
        (
            "heterogeneity_side_chain",
            TRP_CAGE_SEQUENCE,
            [
                "Took the conformer of highest occupancy in residue GLN 5.",
                "Took the residue of highest occupancy: GLN 5 (not LEU).",
            ],
        ),
        ("cap_with_ca", TRP_CAGE_SEQUENCE, ["Left out 1 cap (NME)."]),
        (
            "blank_chains_ter",
            TRP_CAGE_SEQUENCE,
            [
                "The file has no chain names for its 2 protein molecules: they are called A, B here.",
                "Took chain A of A, B; choose with --chain.",
            ],
        ),
        (
            "selenocysteine",
            "NLYICWLKDGGPSSGRPPPS",
            ["Took modified residues as their parents: SEC->CYS x1."],
        ),
    ],
)
def test_case(name, sequence, notes, plain):
    structure = read_structure(CASES / f"{name}.pdb")
    assert structure.sequence == sequence
    assert list(structure.notes) == notes
    np.testing.assert_array_equal(structure.ca, plain.ca)
    assert structure.residue_ids == plain.residue_ids


def test_second_molecule_without_a_chain_name_can_be_chosen(plain):
    second = read_structure(CASES / "blank_chains_ter.pdb", chain="B")
    assert second.chain == "B"
    np.testing.assert_allclose(second.ca - plain.ca, [[30, 0, 0]] * 20, atol=2e-3)
    structures, failures = read_chains(CASES / "blank_chains_ter.pdb")
    assert [structure.chain for structure in structures] == ["A"]
    assert [failure.reason for failure in failures] == [
        "it has the sequence of chain A, which was taken"
    ]


# What follows the chain


@pytest.mark.parametrize("chain", ["A", " "])
@pytest.mark.parametrize("ter", [(), ("TER",)])
@pytest.mark.parametrize(
    ("atoms", "residue", "copies", "said"),
    [
        (("OW", "HW1", "HW2"), "SOL", 25, "25 solvent molecules (SOL)"),
        (("OH2", "H1", "H2"), "TIP3", 7, "7 solvent molecules (TIP3)"),
        (("NA",), "NA", 60, "60 ions (NA)"),
        (("CLA",), "CLA", 60, "60 ions (CLA)"),
        (("Na+",), "Na+", 3, "3 ions (Na+)"),
        (("C1", "C2", "P", "N"), "POPC", 40, "40 lipids (POPC)"),
        (("C1", "C2", "N1"), "LIG", 1, "1 ligand (LIG)"),
        (("C1", "C2", "N1"), "MOL3", 1, "1 ligand (MOL3)"),
        (("FE", "NA", "NB"), "HEM", 1, "1 ligand (HEM)"),
        (("C1", "O1", "O2"), "GOL", 2, "2 additives (GOL)"),
        (("P", "O5'", "C1'"), "DG", 3, "3 nucleotides (DG)"),
        (("C1", "C2", "O5"), "NAG", 2, "2 sugars (NAG)"),
    ],
)
def test_what_is_left_out_is_counted_and_named(
    lines, plain, write, chain, ter, atoms, residue, copies, said
):
    """In the chain of the protein and in ATOM records, as programs write it, more of it than of amino acids."""
    protein = [line[:21] + chain + line[22:] for line in lines]
    others = [
        line for i in range(copies) for line in molecule(atoms, residue, 21 + i, 60.0 + i, chain)
    ]
    structure = read_structure(write(protein, ter, others, ("TER", "END")))
    assert structure.notes == (f"Left out {said}.",)
    np.testing.assert_array_equal(structure.backbone, plain.backbone)


def test_molecules_of_one_number_are_counted(lines, write):
    """AMBER ends each water with TER; GROMACS numbers from 0 again after 9999."""
    waters = [
        line
        for i in range(30)
        for line in (*molecule(("O", "H1", "H2"), "WAT", 21 + i % 3, 60.0 + i), "TER")
    ]
    structure = read_structure(write(lines, ["TER"], waters, ["END"]))
    assert structure.notes == ("Left out 30 solvent molecules (WAT).",)
    assert structure.residue_ids == tuple(map(str, range(1, 21)))


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("atoms", [("O", "H", "H"), ("H", "O", "H")])
def test_waters_with_a_repeated_name(lines, write, atoms, wrapped):
    waters = [
        line
        for i in range(25)
        for line in molecule(atoms, "WAT", 21 + (i % 5 if wrapped else i), 60.0 + i)
    ]
    structure = read_structure(write(lines, ["TER"], waters, ["END"]))
    assert structure.notes == ("Left out 25 solvent molecules (WAT).",)


def test_many_waters_that_each_end_with_ter(lines, write):
    waters = [
        line
        for i in range(12_000)
        for line in (*molecule(("O", "H1", "H2"), "WAT", 21 + i, 60.0), "TER")
    ]
    structure = read_structure(write(lines, ["TER"], waters, ["END"]))
    assert structure.notes == ("Left out 12000 solvent molecules (WAT).",)


@pytest.mark.parametrize(
    ("residue", "atoms"),
    [
        ("ACE", ("C", "O", "CH3")),
        ("ACE", ("C", "O", "CA")),
        ("NME", ("N", "CA")),
        ("NMA", ("N", "CA")),
        ("NH2", ("N",)),
    ],
)
@pytest.mark.parametrize("record", ["ATOM", "HETATM"])
@pytest.mark.parametrize("ter", [(), ("TER",)])
def test_caps(lines, plain, write, residue, atoms, record, ter):
    cap = molecule(atoms, residue, 0 if residue == "ACE" else 21, 4.0, record=record)
    parts = (cap, lines) if residue == "ACE" else (lines, cap)
    structure = read_structure(write(*parts, ter, ["END"]))
    assert structure.notes == (f"Left out 1 cap ({residue}).",)
    np.testing.assert_array_equal(structure.ca, plain.ca)


# Amino acids with the names of other things


@pytest.mark.parametrize("chain", ["A", " "])
@pytest.mark.parametrize("record", ["ATOM", "HETATM"])
@pytest.mark.parametrize(
    ("name", "letter", "three"),
    [("S1P", "S", "SER"), ("T1P", "T", "THR"), ("Y1P", "Y", "TYR"), ("H1D", "H", "HIS"), ("H2E", "H", "HIS")],
)  # fmt: skip
def test_phosphorylated_residues_of_amber(lines, plain, write, chain, record, name, letter, three):
    changed = [
        record.ljust(6) + line[6:21] + chain + line[22:]
        if number(line) == 6
        else line[:21] + chain + line[22:]
        for line in named(lines, 6, name)
    ]
    structure = read_structure(write(changed, ["TER", "END"]))
    assert structure.sequence == f"NLYIQ{letter}LKDGGPSSGRPPPS"
    assert f"Took modified residues as their parents: {name}->{three} x1." in structure.notes
    np.testing.assert_array_equal(structure.ca, plain.ca)


OTHER_NAMES = ["TFE", "PA", "OL", "SPM", "DPP", "CHL", "NAG", "NME", "S2P", "XQZ"]


@pytest.mark.parametrize("name", OTHER_NAMES)
@pytest.mark.parametrize("ter", [(), ("TER",)])
def test_amino_acid_in_the_chain_under_any_name(lines, write, name, ter):
    """It has a backbone that is bonded to its neighbours."""
    path = write(named(lines, 6, name), ter, ["END"])
    with pytest.raises(InputError, match=rf"^Residue {name} 6 of chain A of .* no parent"):
        read_structure(path)
    assert read_structure(path, residues="7-20").sequence == TRP_CAGE_SEQUENCE[6:]
    strays = [f"HETATM{line[6:]}" for line in named(lines, 6, name) if number(line) == 6]
    path = write([line for line in lines if number(line) != 6], strays, ["END"])
    with pytest.raises(InputError, match=rf"^Residue {name} 6 of chain A of .* no parent"):
        read_structure(path)


@pytest.mark.parametrize("name", ["TFE", "OL", "NAG", "XQZ"])
def test_amino_acid_in_a_trace_under_any_name(lines, write, name):
    trace = [line for line in named(lines, 6, name) if line[12:16] == " CA "]
    with pytest.raises(InputError, match=rf"^Residue {name} 6 of chain A of .* no parent"):
        read_structure(write(trace, ["TER", "END"]))


@pytest.mark.parametrize("end", [("TER", "END"), ("END",)])
def test_amino_acid_under_another_name_in_a_second_molecule(lines, write, end):
    second = renumbered(shifted(named(lines, 6, "TFE"), 40), 20)
    with pytest.raises(InputError, match=r"^Residue TFE 26 of chain B of .* no parent"):
        read_structure(write(lines, ["TER"], second, end), chain="B")


def test_free_molecule_with_a_backbone_is_no_part_of_the_chain(lines, plain, write):
    free = molecule(("N", "CA", "C", "O"), "SPM", 21, 60.0)
    structure = read_structure(write(lines, free, ["END"]))
    assert structure.notes == ("Left out 1 lipid (SPM).",)
    np.testing.assert_array_equal(structure.ca, plain.ca)


# Names of four letters


@pytest.mark.parametrize("chain", ["A", " "])
@pytest.mark.parametrize(
    ("residue", "name", "letter", "three"),
    [
        (1, "NASN", "N", "ASN"), (20, "CSER", "S", "SER"), (8, "LYSH", "K", "LYS"), (8, "LYSN", "K", "LYS"),
        (5, "HISD", "H", "HIS"), (5, "HISH", "H", "HIS"), (5, "HISA", "H", "HIS"), (5, "HISB", "H", "HIS"),
        (13, "CYS2", "C", "CYS"), (13, "CYSH", "C", "CYS"), (9, "ASPP", "D", "ASP"), (9, "ASPH", "D", "ASP"),
        (5, "GLUP", "E", "GLU"), (5, "GLUH", "E", "GLU"), (16, "ARGN", "R", "ARG"),
    ],
)  # fmt: skip
def test_four_letter_name_is_read_with_column_21(
    lines, plain, write, chain, residue, name, letter, three
):
    renamed = [line[:21] + chain + line[22:] for line in named(lines, residue, name)]
    structure = read_structure(write(renamed, ["TER", "END"]))
    expected = list(TRP_CAGE_SEQUENCE)
    expected[residue - 1] = letter
    assert structure.sequence == "".join(expected)
    assert structure.chain == chain.strip()
    assert f"Read names of force fields as standard ones: {name}->{three} x1." in structure.notes
    np.testing.assert_array_equal(structure.ca, plain.ca)


def test_many_four_letter_names_at_once(lines, write):
    renamed = lines
    for residue, name in (
        (1, "NASN"),
        (4, "ILE"),
        (5, "HISE"),
        (8, "LYSH"),
        (9, "ASPP"),
        (20, "CSER"),
    ):
        renamed = named(renamed, residue, name)
    structure = read_structure(write(renamed, ["TER", "END"]))
    assert structure.sequence == "NLYIHWLKDGGPSSGRPPPS"


@pytest.mark.parametrize("chains", [("AA", "AB"), ("EA", "PA"), ("A", "HA")])
def test_chain_names_of_two_letters(lines, plain, write, chains):
    """Of chain PA, ASP 9 reads ASPP, and of EA a histidine HISE; but ALA would be ALAE."""
    with_histidine = named(lines, 5, "HIS")
    molecules = [
        [line[:20] + chain.rjust(2) + line[22:] for line in shifted(with_histidine, 40.0 * i)]
        for i, chain in enumerate(chains)
    ]
    path = write(molecules[0], ["TER"], molecules[1], ["TER", "END"])
    for i, chain in enumerate(chains):
        structure = read_structure(path, chain=chain)
        assert structure.chain == chain
        assert structure.sequence == "NLYIHWLKDGGPSSGRPPPS"
        assert not any("force fields" in note for note in structure.notes)
        np.testing.assert_allclose(structure.ca - plain.ca, [[40.0 * i, 0, 0]] * 20, atol=2e-3)
    assert (
        "Took chain {0} of {0}, {1}; choose with --chain.".format(*chains)
        in read_structure(path).notes
    )


def test_unknown_four_letter_name_is_not_a_chain_of_its_own(lines, write):
    """ILEX might be ILE in chain XA; but chain A has a place for it, and no other."""
    with pytest.raises(InputError, match=r"Residue ILEX 4 of chain A .* no parent"):
        read_structure(write(named(lines, 4, "ILEX"), ["TER", "END"]))


# Residues in one place


def test_backbone_may_be_given_for_both_residues(lines, plain, write):
    """As programs write it that drop the letters of alternatives."""
    other = [
        line[:17] + "LEU" + line[20:]
        for line in lines
        if number(line) == 5 and line[12:16].strip() in ("N", "CA", "C", "O", "CB")
    ]
    end = next(i for i, line in enumerate(lines) if number(line) == 6)
    structure = read_structure(write(lines[:end], other, lines[end:], ["END"]))
    assert structure.sequence == TRP_CAGE_SEQUENCE
    np.testing.assert_array_equal(structure.ca, plain.ca)
    assert "Took the residue of highest occupancy: GLN 5 (not LEU)." in structure.notes


def test_shared_backbone_belongs_to_the_more_occupied_residue(plain, tmp_path):
    """The backbone stands in glutamine's lines, and leucine is taken."""
    changed = []
    for line in (CASES / "heterogeneity_side_chain.pdb").read_text().splitlines():
        if line[22:26] == "   5" and line[16] != " ":
            line = line[:54] + ("  0.70" if line[17:20] == "LEU" else "  0.30") + line[60:]
        changed.append(line)
    path = tmp_path / "changed.pdb"
    path.write_text("\n".join(changed) + "\n")
    structure = read_structure(path)
    assert structure.sequence == "NLYILWLKDGGPSSGRPPPS"
    np.testing.assert_array_equal(structure.backbone[:, :4], plain.backbone[:, :4])
    assert "Took the residue of highest occupancy: LEU 5 (not GLN)." in structure.notes


@pytest.mark.parametrize(("name", "letter", "three"), [("SEC", "C", "CYS"), ("PYL", "K", "LYS")])
def test_rare_amino_acids(lines, write, name, letter, three):
    structure = read_structure(write(named(lines, 7, name), ["END"]))
    assert structure.sequence[6] == letter
    assert f"Took modified residues as their parents: {name}->{three} x1." in structure.notes


def test_d_form_is_told_by_its_atoms(lines, write):
    """A residue that no table calls D, mirrored in the plane of N, CA and C."""
    mirrored = []
    at = {
        line[12:16].strip(): np.array(line[30:54].split(), float)
        for line in lines
        if number(line) == 7
    }
    normal = np.cross(at["N"] - at["CA"], at["C"] - at["CA"])
    normal /= np.linalg.norm(normal)
    for line in named(lines, 7, "MLE"):
        if number(line) == 7:
            x = np.array(line[30:54].split(), float) - at["CA"]
            x = at["CA"] + x - 2 * (x @ normal) * normal
            line = f"{line[:30]}{x[0]:8.3f}{x[1]:8.3f}{x[2]:8.3f}{line[54:]}"
        mirrored.append(line)
    assert read_structure(write(named(lines, 7, "MLE"), ["END"])).sequence == TRP_CAGE_SEQUENCE
    with pytest.raises(InputError, match=r"Residue 7 of chain A .* is the D-amino acid MLE"):
        read_structure(write(mirrored, ["END"]))


# Chains by molecule


def blank(lines: list[str]) -> list[str]:
    return [line[:21] + " " + line[22:] for line in lines]


def renumbered(lines: list[str], by: int) -> list[str]:
    return [f"{line[:22]}{number(line) + by:4d}{line[26:]}" for line in lines]


@pytest.mark.parametrize("by", [0, 20])
@pytest.mark.parametrize("mark", ["ter", "segment", "oxt"])
def test_molecules_without_chain_names(lines, plain, write, by, mark):
    """AMBER counts on through all molecules, GROMACS begins again; TER, segments or the last oxygen part them."""
    heavy = [line for line in lines if line[77] != "H"]
    first = blank(heavy)
    if mark != "oxt":
        first = [line for line in first if line[12:16] != " OXT"]
    second = renumbered(blank(shifted(heavy, 40)), by)
    if mark == "segment":
        first = [f"{line[:72]}PROA{line[76:]}" for line in first]
        second = [f"{line[:72]}PROB{line[76:]}" for line in second]
    path = write(first, ["TER"] if mark == "ter" else [], second, ["END"])
    structures = [read_structure(path, chain=name) for name in "AB"]
    for i, structure in enumerate(structures):
        np.testing.assert_allclose(structure.ca - plain.ca, [[40 * i, 0, 0]] * 20, atol=2e-3)
        assert structure.residue_ids == tuple(str(n + by * i) for n in range(1, 21))
    with pytest.raises(InputError, match=r"Chain C of .* does not exist: choose --chain from A, B"):
        read_structure(path, chain="C")


@pytest.mark.parametrize("chain", ["A", " "])
@pytest.mark.parametrize("between", ["ter", "NME", "ACE", "both"])
def test_molecules_that_a_ter_or_a_cap_parts(lines, plain, write, chain, between):
    """The numbers go on through both, the cap's too."""
    heavy = [line for line in lines if line[77] != "H" and line[12:16] != " OXT"]
    cap = {
        "ter": ["TER"],
        "NME": molecule(("N", "C"), "NME", 21, 70.0, chain),
        "ACE": molecule(("C", "O", "CH3"), "ACE", 21, 70.0, chain),
    }
    cap["both"] = cap["NME"] + renumbered(cap["ACE"], 1)
    by = {"ter": 20, "NME": 21, "ACE": 21, "both": 22}[between]
    both = [
        [line[:21] + chain + line[22:] for line in part]
        for part in (heavy, renumbered(shifted(heavy, 40), by))
    ]
    path = write(both[0], cap[between], both[1], ["TER", "END"])
    for i, name in enumerate("AB"):
        structure = read_structure(path, chain=name)
        np.testing.assert_allclose(structure.ca - plain.ca, [[40 * i, 0, 0]] * 20, atol=2e-3)
        assert structure.residue_ids == tuple(str(n + by * i) for n in range(1, 21))
    holds = "The file has no chain names for its" if chain == " " else "Chain A holds"
    assert f"{holds} 2 protein molecules: they are called A, B here." in structure.notes


def test_cap_at_the_end_is_no_second_molecule(lines, write):
    """A missing loop in a capped chain is a break."""
    gap = [line for line in lines if number(line) not in (9, 10)]
    caps = [
        molecule(*cap) for cap in ((("C", "O", "CA"), "ACE", 0, 4.0), (("N", "CA"), "NME", 21, 4.0))
    ]
    with pytest.raises(InputError, match=r"breaks between residues LYS 8 and GLY 11 of chain A of"):
        read_structure(write(caps[0], gap, caps[1], ["TER", "END"]))


def test_chain_without_a_name_in_messages(lines, write):
    gap = [line for line in blank(lines) if number(line) not in (9, 10)]
    with pytest.raises(InputError, match=r"GLY 11 of the chain without a name of .*file\.pdb"):
        read_structure(write(gap, ["TER", "END"]))
    with pytest.raises(InputError, match=r"^The chain without a name of .* does not exist"):
        read_structure(write(lines, ["TER", "END"]), chain="")


def test_missing_loop_without_a_chain_name_is_a_break(lines, write):
    gap = [line for line in blank(lines) if number(line) not in (9, 10)]
    with pytest.raises(
        InputError, match=r"breaks between residues LYS 8 and GLY 11 .*\(1-8, 11-20\)"
    ):
        read_structure(write(gap, ["TER", "END"]))


def test_new_names_avoid_those_of_the_file(lines, write):
    named_a = [line[:21] + "A" + line[22:] for line in shifted(lines, 80)]
    path = write(blank(lines), ["TER"], blank(shifted(lines, 40)), ["TER"], named_a, ["TER", "END"])
    assert "Took chain B of B, C, A; choose with --chain." in read_structure(path).notes


def test_hydrogens_at_the_end_of_the_chain_are_no_molecule(lines, plain, write):
    heavy = [line for line in lines if line[77] != "H"]
    hydrogens = [line for line in lines if line[77] == "H"]
    structure = read_structure(write(heavy, hydrogens, ["TER", "END"]))
    assert structure.notes == ()
    np.testing.assert_array_equal(structure.backbone, plain.backbone)


def test_reversed_order_is_turned_round(lines, plain, write):
    """By the peptide bonds, whatever the numbers say."""
    for shift in (0, 1):
        residues = [[line for line in lines if number(line) == i] for i in range(20, 0, -1)]
        flat = [line for residue in residues for line in residue]
        if shift:
            flat = [f"{line[:22]}{21 - number(line):4d}{line[26:]}" for line in flat]
        structure = read_structure(write(flat, ["TER", "END"]))
        assert structure.sequence == TRP_CAGE_SEQUENCE
        np.testing.assert_array_equal(structure.ca, plain.ca)
        assert structure.notes == ("Reversed chain A, which the file lists from its C-terminus.",)


def test_modified_residues_after_all_others(lines, plain, write):
    """Their records are HETATM; two of them are neighbours."""
    names = {1: "MSE", 7: "MSE", 8: "MLY", 20: "SEP"}
    moved = lines
    for residue, name in names.items():
        moved = named(moved, residue, name)
    strays = [
        f"HETATM{line[6:]}"
        for residue in (8, 20, 7, 1)
        for line in moved
        if number(line) == residue
    ]
    structure = read_structure(
        write([line for line in moved if number(line) not in names], strays, ["END"])
    )
    np.testing.assert_array_equal(structure.ca, plain.ca)
    assert structure.sequence == "MLYIQWMKDGGPSSGRPPPS"
    (note,) = [note for note in structure.notes if "bonded" in note]
    assert note.startswith("Moved residues of chain A to where they are bonded: ")


# mmCIF


def without_columns(text: str, prefix: str) -> str:
    block = gemmi.cif.read_string(text)[0]
    loop = block.find_loop("_atom_site.id").get_loop()
    tags = [tag for tag in loop.tags if f".{prefix}_" not in tag or "alt_id" in tag]
    made = gemmi.cif.Document()
    new = made.add_new_block("x").init_loop("", tags)
    for row in block.find(tags):
        new.add_row(list(row))
    return made.as_string()


@pytest.mark.parametrize("name", ["02_1a4w.cif.gz", "08_1EN2.cif.gz", "10_3JQH.cif.gz"])
def test_mmcif_without_label_columns(name, tmp_path):
    path = tmp_path / "x.cif"
    path.write_text(without_columns(text_of(DATA / name), "label"))
    full, structure = read_structure(DATA / name), read_structure(path)
    assert structure.sequence == full.sequence
    assert structure.residue_ids == full.residue_ids
    assert structure.chain == full.chain
    np.testing.assert_array_equal(structure.ca, full.ca)


def test_mmcif_without_author_columns(tmp_path):
    path = tmp_path / "x.cif"
    path.write_text(without_columns(text_of(DATA / "10_3JQH.cif.gz"), "auth"))
    np.testing.assert_array_equal(
        read_structure(path).ca, read_structure(DATA / "10_3JQH.cif.gz").ca
    )


# Segments


@pytest.mark.parametrize(
    ("name", "chain", "longest", "length"),
    [
        ("06_1wq2.pdb.gz", "A", "20-70", 51),
        ("15_1xqa.pdb.gz", "B", "1-93", 93),
        ("16_1naf.pdb.gz", "A", "171-238", 68),
        ("17_1dul.cif.gz", "A", "23-82", 60),
        ("25_1lol.pdb.gz", "A", "11-181", 171),
        ("02_1a4w.cif.gz", "H", "16-146", 146),
    ],
)
def test_longest_segment(name, chain, longest, length):
    structure = read_structure(DATA / name, chain, longest_segment=True)
    assert structure.segment == longest
    assert len(structure.sequence) == length
    (note,) = [note for note in structure.notes if "segment" in note]
    assert note.startswith(f"Took the longest segment, {longest}, of ")
    # The same by its numbers, with no note: the user has chosen.
    chosen = read_structure(DATA / name, chain, residues=longest)
    np.testing.assert_array_equal(chosen.backbone, structure.backbone)
    assert set(structure.notes) - set(chosen.notes) == {note}


def test_longest_segment_of_an_unbroken_chain_is_the_chain(plain):
    structure = read_structure(TRP_CAGE, model_index=1, longest_segment=True)
    assert structure.notes == plain.notes
    assert structure.segment == plain.segment == "1-20"


@pytest.mark.parametrize(
    ("name", "chain", "residues", "first", "last", "length"),
    [
        ("04_1JMO_l_b.pdb.gz", "H", "16-60C", "16", "60C", 49),
        ("04_1JMO_l_b.pdb.gz", "L", "1T-1A", "1T", "1A", 20),  # these run down
        ("27_3a4rA.pdb.gz", "A", "-4-350", "-4", "350", 17),
        ("27_3a4rA.pdb.gz", "A", " -4 - -1 ", "-4", "-1", 4),
        ("06_1wq2.pdb.gz", "A", "2-14", "2", "14", 13),
    ],
)
def test_residues_by_author_numbers(name, chain, residues, first, last, length):
    structure = read_structure(DATA / name, chain, residues=residues)
    assert (structure.residue_ids[0], structure.residue_ids[-1]) == (first, last)
    assert len(structure.sequence) == length


@pytest.mark.parametrize(
    ("residues", "said"),
    [
        ("1-15", "There is no residue 15 in chain A of .*: choose --residues within 1-14, 20-70."),
        ("12-30", r"breaks between residues SER 14 and SER 20 .*\(20-30\)"),
        ("30-20", "Residue 20 comes before 30 in chain A of .* in the order of the chain"),
        ("20", "--residues '20' is not a range: .* like 2-152 or 10-52A"),
        ("a-b", "is not a range"),
        ("20-22", "There are only 3 residues in 20-22 of chain A of .*: NEMO needs at least 4"),
    ],
)
def test_residues_that_cannot_be_taken(residues, said):
    with pytest.raises(InputError, match=said):
        read_structure(DATA / "06_1wq2.pdb.gz", residues=residues)


def test_longest_segment_within_residues():
    structure = read_structure(DATA / "06_1wq2.pdb.gz", residues="2-30", longest_segment=True)
    assert structure.segment == "2-14"


def test_structure_keeps_numbers_and_source():
    structure = read_structure(DATA / "04_1JMO_l_b.pdb.gz", "H", residues="58-62")
    assert structure.residue_numbers == (*(58, 59), *(60,) * 10, 61, 62)
    assert structure.insertion_codes == ("", "", "", *"ABCDEFGHI", "", "")
    assert structure.model_index == 1
    assert structure.frame is None
    (source,) = structure.sources
    assert source.name == "04_1JMO_l_b.pdb.gz"
    # By 'sha256sum'.
    assert source.sha256 == "a8fef7d4938b5c95d48875c7c60dfe4a31257d82ca5b860102c453f750aad4bc"


# Variants of all files


def strip_ter(lines: list[str], _: random.Random) -> list[str]:
    return [line for line in lines if not line.startswith("TER")]


def blank_chains(lines: list[str], _: random.Random) -> list[str]:
    return [line[:21] + " " + line[22:] if is_atom(line) else line for line in lines]


def drop_residue(lines: list[str], source: random.Random) -> list[str]:
    gone = source.choice([line[21:27] for line in lines if is_atom(line)])
    return [line for line in lines if not is_atom(line) or line[21:27] != gone]


def shuffle_hetatm(lines: list[str], source: random.Random) -> list[str]:
    """Residue by residue, after all other atoms."""
    moved = [line for line in lines if line.startswith("HETATM")]
    keys = list(dict.fromkeys(line[17:27] for line in moved))
    source.shuffle(keys)
    last = max(i for i, line in enumerate(lines) if line.startswith("ATOM"))
    others = [line for line in lines[: last + 1] if not line.startswith("HETATM")]
    ends = [line for line in lines[last + 1 :] if not line.startswith(("HETATM", "TER"))]
    return others + [line for key in keys for line in moved if line[17:27] == key] + ends


def append_waters(lines: list[str], source: random.Random) -> list[str]:
    last = max(i for i, line in enumerate(lines) if is_atom(line))
    chain = lines[last][21]
    waters = [
        line
        for i in range(source.randrange(1, 300))
        for line in molecule(("OW", "HW1", "HW2"), "SOL", 900 + i, 300.0, chain)
    ]
    return lines[: last + 1] + waters + lines[last + 1 :]


def drop_atom_lines(lines: list[str], source: random.Random) -> list[str]:
    return [line for line in lines if not is_atom(line) or source.random() > 0.02]


def reverse_residues(lines: list[str], _: random.Random) -> list[str]:
    atoms = filter(is_atom, lines)
    residues = [list(group) for _, group in itertools.groupby(atoms, key=lambda x: x[21:27])]
    return [line for residue in reversed(residues) for line in residue] + lines[-1:]


def rename_residues(lines: list[str], source: random.Random) -> list[str]:
    names = ["NALA", "HISE", "UNK", "ZZZZ", "SOL", "POPC", "CYS2", "X", "", "ACE", "NA+", "DLE"]
    keys = sorted({line[21:27] for line in lines if is_atom(line)})
    new = {key: source.choice(names) for key in source.sample(keys, min(3, len(keys)))}
    return [
        line[:17] + new[line[21:27]].ljust(4) + line[21:]
        if is_atom(line) and line[21:27] in new
        else line
        for line in lines
    ]


def is_atom(line: str) -> bool:
    return line.startswith(("ATOM", "HETATM"))


CHANGES: list[Callable[[list[str], random.Random], list[str]]] = [
    strip_ter,
    blank_chains,
    drop_residue,
    shuffle_hetatm,
    append_waters,
    drop_atom_lines,
    reverse_residues,
    rename_residues,
]


def as_pdb(path: Path) -> list[str]:
    """First model, as PDB lines."""
    text = text_of(path)
    if ".cif" in path.name:
        parsed = gemmi.make_structure_from_block(gemmi.cif.read_string(text)[0])
        parsed.setup_entities()
        text = parsed.make_pdb_string()
    first = text.split("ENDMDL")[0].splitlines()
    return [line for line in first if is_atom(line) or line.startswith("TER")] + ["END"]


@pytest.mark.parametrize("path", [*FILES, TRP_CAGE], ids=lambda path: path.name)
@pytest.mark.parametrize("change", [strip_ter, shuffle_hetatm, append_waters, reverse_residues])
def test_what_is_not_of_the_protein_changes_nothing(path, change, tmp_path):
    original, changed = as_pdb(path), change(as_pdb(path), random.Random(7))
    structures = []
    for i, lines in enumerate((original, changed)):
        file = tmp_path / f"{i}.pdb"
        file.write_text("\n".join(lines) + "\n")
        chain = structures[0].chain if structures else None
        structures.append(read_structure(file, chain, longest_segment=True))
    before, after = structures
    assert after.sequence == before.sequence
    assert after.residue_ids == before.residue_ids
    np.testing.assert_array_equal(after.backbone, before.backbone)
    if change is append_waters:
        waters = sum("OW  SOL" in line for line in changed)
        counted = re.search(r"(\d+) solvent molecules? \(.*SOL", " ".join(after.notes))
        others = sum(line[17:20] == "HOH" and line[77] == "O" for line in original)
        assert int(counted[1]) >= waters
        assert others > 0 or int(counted[1]) == waters


@pytest.mark.integration
@pytest.mark.parametrize("path", [*FILES, TRP_CAGE], ids=lambda path: path.name)
def test_variants_are_read_or_refused_in_one_line(path, tmp_path):
    """One change and two at once; the longest segment where a variant is broken."""
    original = as_pdb(path)
    for seed in range(2):
        source = random.Random(f"{path.name} {seed}")
        for changes in [[change] for change in CHANGES] + [
            source.sample(CHANGES, 2) for _ in range(4)
        ]:
            lines = original
            for change in changes:
                lines = change(lines, source)
            file = tmp_path / "variant.pdb"
            file.write_text("\n".join(lines) + "\n")
            names = [change.__name__ for change in changes]
            for options in ({}, {"longest_segment": True}):
                try:
                    structure = read_structure(file, **options)
                except InputError as error:
                    said = str(error)
                    assert "\n" not in said, (names, said)
                    assert str(file) in said, (names, said)
                    continue
                assert set(structure.sequence) <= set("ACDEFGHIKLMNPQRSTVWY"), names
                steps = np.linalg.norm(np.diff(structure.ca, axis=0), axis=1)
                assert steps.max() < 4.2, names
            read_chains_or_refuse(file)


def read_chains_or_refuse(file: Path) -> None:
    try:
        structures, failures = read_chains(file)
    except InputError:
        return
    assert structures or failures


def test_gzipped_case(tmp_path, plain):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress((CASES / "solvent_after_chain.pdb").read_bytes()))
    np.testing.assert_array_equal(read_structure(path).ca, plain.ca)

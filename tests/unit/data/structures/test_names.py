"""What residues are by their names, against the force fields of OpenMM, ParmEd's tables and the files of GROMACS."""

import xml.etree.ElementTree as ET
from pathlib import Path

import gemmi
import parmed.residue
import pytest
from openmm import app

from openmm_nemo.data.structures.names import (
    SIDE_CHAIN_ATOMS,
    TERMINAL_OXYGENS,
    Kind,
    is_amino_acid,
    is_modified,
    kind_of,
    look_up,
    parent,
)
from openmm_nemo.residues import AMINO_ACIDS, THREE_LETTER

FORCE_FIELDS = Path(app.__file__).parent / "data"

# Amino acids in GROMACS' residuetypes.dat.
GROMACS = """
    ALA ARG ARGN ASN ASN1 ASP ASP1 ASPH ASPP ASH CYS CYS1 CYS2 CYSH GLN GLU GLUH GLUP GLH GLY HIS HIS1 HISA HISB HISH
    HISD HISE HISP HSD HSE HSP HYP ILE LEU LSN LYS LYSH MELEU MET MEVAL PHE PHEH PHEU PRO SER THR TRP TRPH TRPU TYR TYRH
    TYRU VAL PGLU HID HIE HIP LYP LYN CYN CYM CYX NALA NGLY NSER NTHR NLEU NILE NVAL NASN NGLN NARG NHID NHIE NHIP NHISD
    NHISE NHISH NTRP NPHE NTYR NGLU NASP NLYS NLYSN NPRO NHYP NCYS NCYS2 NMET NASPH NGLUH CALA CGLY CSER CTHR CLEU CILE
    CVAL CASN CGLN CARG CHID CHIE CHIP CHISD CHISE CHISH CTRP CPHE CTYR CGLU CASP CLYS CLYSN CPRO CHYP CCYS CCYS2 CMET
    CASPH CGLUH
"""


def templates(file: str) -> dict[str, dict[str, str]]:
    """Elements of the atoms of each residue of a force field, by their names; virtual sites have none."""
    root = ET.parse(FORCE_FIELDS / file).getroot()
    elements = {kind.get("name"): kind.get("element") for kind in root.find("AtomTypes")}
    return {
        residue.get("name"): {
            atom.get("name"): elements[atom.get("type")]
            for atom in residue.findall("Atom")
            if elements.get(atom.get("type"))
        }
        for residue in root.find("Residues")
    }


def kind(name: str) -> Kind | None:
    known = look_up(name)
    return None if known is None else known.kind


@pytest.mark.parametrize(
    "file",
    ["amber14/protein.ff14SB.xml", "amber19/protein.ff19SB.xml", "amber99sb.xml", "amoeba2018.xml"],
)
def test_amino_acids_of_force_fields_have_the_atoms_of_their_letters(file):
    """Of 70 and more templates, with N- and C-terminal ones."""
    found = 0
    for name, atoms in templates(file).items():
        if not {"N", "CA", "C"} <= set(atoms):
            assert not is_amino_acid(name) or name == "DGN", name  # a nucleoside, and D-glutamine
            continue
        assert kind(name) == Kind.AMINO_ACID
        heavy = {
            atom
            for atom, element in atoms.items()
            if element != "H" and atom not in TERMINAL_OXYGENS
        }
        count = SIDE_CHAIN_ATOMS[parent(name)] + is_modified(name)  # hydroxyproline has one more
        assert len(heavy - {"N", "CA", "C", "O"}) == count, name
        assert parent(name) == (parent(name[1:]) if len(name) == 4 else parent(name))
        found += 1
    assert found > 70


@pytest.mark.parametrize("name", GROMACS.split())
def test_names_of_gromacs(name):
    assert kind(name) == Kind.AMINO_ACID
    stems = {three: letter for letter, three in THREE_LETTER.items()}
    stems |= dict.fromkeys(("HID", "HIE", "HIP", "HSD", "HSE", "HSP"), "H")
    stems |= {"ASH": "D", "GLH": "E", "CYM": "C", "CYN": "C", "CYX": "C", "HYP": "P"}
    stems |= {"LYN": "K", "LYP": "K", "LSN": "K", "MEL": "L", "MEV": "V", "PGL": "E"}
    assert parent(name) == next(stems[s] for s in (name[:3], name[1:4]) if s in stems)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("amber14/lipid17.xml", Kind.LIPID),
        ("amber14/DNA.OL15.xml", Kind.NUCLEOTIDE),
        ("amber14/RNA.OL3.xml", Kind.NUCLEOTIDE),
    ],
)
def test_residues_of_other_force_fields(file, expected):
    others = {"OHE", "DGN"}  # a cap; and a name that its atoms decide
    names = set(templates(file)) - others
    assert len(names) > 14
    assert {name for name in names if kind(name) != expected} == set()


@pytest.mark.parametrize(
    "file",
    ["tip3p.xml", "tip4pew.xml", "tip5p.xml", "spce.xml", "opc.xml", "swm4ndp.xml", "amber14/tip3pfb.xml",
     "charmm36/water.xml", "charmm36/tip3p-pme-b.xml", "charmm36/tip5pew.xml", "charmm36_2024/water.xml"],
)  # fmt: skip
def test_waters_and_ions_of_force_fields(file):
    for name, atoms in templates(file).items():
        elements = sorted(atoms.values())
        if elements == ["H", "H", "O"]:
            assert kind(name) == Kind.SOLVENT, name
        elif len(elements) == 1 and name != "Ra":  # radium; RA is adenosine
            assert kind(name) == Kind.ION, name


def test_names_of_parmed():
    assert {name for name in parmed.residue.SOLVENT_NAMES if kind(name) != Kind.SOLVENT} == set()
    ions = parmed.residue.ALLION_NAMES
    assert len(ions) > 20
    assert {name for name in ions if kind(name) != Kind.ION} == set()


@pytest.mark.parametrize("name", ["DALA", "DHSP", "DLYS", "DAL", "DGN"])
def test_d_amino_acids_stand_for_none_of_the_twenty(name):
    assert kind(name) == Kind.D_AMINO_ACID
    assert parent(name) == ""


@pytest.mark.parametrize(
    ("name", "letter"),
    [
        ("SEC", "C"),
        ("PYL", "K"),
        ("CSE", "C"),
        ("MSE", "M"),
        ("NMSE", "M"),
        ("2MR", "R"),
        ("KCX", "K"),
        ("S1P", "S"),
        ("T1P", "T"),
        ("Y1P", "Y"),
        ("H1D", "H"),
        ("H2D", "H"),
        ("H1E", "H"),
        ("H2E", "H"),
        ("NLE", "L"),
    ],
)
def test_modified_amino_acids(name, letter):
    assert parent(name) == letter
    assert is_modified(name)


def test_standard_names():
    assert "".join(parent(THREE_LETTER[letter]) for letter in AMINO_ACIDS) == AMINO_ACIDS
    assert not any(is_modified(name) for name in THREE_LETTER.values())


def residue(name: str, atoms: dict[str, str]) -> gemmi.Residue:
    made = gemmi.Residue()
    made.name = name
    for atom_name, element in atoms.items():
        atom = gemmi.Atom()
        atom.name, atom.element = atom_name, gemmi.Element(element)
        made.add_atom(atom)
    return made


@pytest.mark.parametrize(
    ("name", "atoms", "expected"),
    [
        ("XXX", {"OW": "O", "H1": "H", "H2": "H"}, Kind.SOLVENT),
        ("XXX", {"X1": "Sr"}, Kind.ION),
        ("XXX", {"C1": "C", "C2": "C", "C3": "C", "C4": "C", "C5": "C", "O5": "O"}, Kind.SUGAR),
        ("XXX", {"C1": "C"}, Kind.LIGAND),
        ("TYD", {"P": "P", "C1'": "C"}, Kind.LIGAND),  # thymidine diphosphate
        ("TYD", {"N": "N", "CA": "C", "C": "C"}, Kind.AMINO_ACID),  # tyrosinate of AMOEBA
        ("DGN", {"P": "P", "C1'": "C"}, Kind.NUCLEOTIDE),
        ("DGN", {"N": "N", "CA": "C", "C": "C"}, Kind.D_AMINO_ACID),
        ("CA", {"CA": "Ca"}, Kind.ION),
    ],
)
def test_atoms_decide_where_names_do_not(name, atoms, expected):
    assert kind_of(residue(name, atoms)) == expected

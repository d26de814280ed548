"""Names of residues and atoms in structure files."""

import gemmi

from openmm_nemo.residues import AMINO_ACIDS, THREE_LETTER

SIDE_CHAIN_ATOMS = {
    "A": 1, "C": 2, "D": 4, "E": 5, "F": 7, "G": 0, "H": 6, "I": 4, "K": 5, "L": 4,
    "M": 4, "N": 4, "P": 3, "Q": 5, "R": 7, "S": 2, "T": 3, "V": 3, "W": 10, "Y": 8,
}  # fmt: skip
"""Heavy atoms beyond N, CA, C and O."""

BACKBONE = ("N", "CA", "C", "O")
TERMINAL_OXYGENS = {"OXT", "OT1", "OT2", "O1", "O2"}
STANDARD = {name: letter for letter, name in THREE_LETTER.items()}

# Protonation states as the Amber and CHARMM force fields name them; gemmi does not know these.
FORCE_FIELD_NAMES = {
    "HID": "H", "HIE": "H", "HIP": "H", "HSD": "H", "HSE": "H", "HSP": "H",
    "CYX": "C", "CYM": "C", "ASH": "D", "GLH": "E", "LYN": "K",
}  # fmt: skip


def is_amino_acid(name: str) -> bool:
    """Tell if a residue name is that of an amino acid, standard or modified."""
    return name in FORCE_FIELD_NAMES or gemmi.find_tabulated_residue(name).is_amino_acid()


def parent(name: str) -> str:
    """Return the one-letter code of the residue or of its parent, or an empty string."""
    if name in FORCE_FIELD_NAMES:
        return FORCE_FIELD_NAMES[name]
    letter = gemmi.find_tabulated_residue(name).one_letter_code.strip().upper()
    return letter if letter in AMINO_ACIDS and is_amino_acid(name) else ""


def element(residue_name: str, atom: gemmi.Atom) -> gemmi.Element:
    """Return the element, from the atom's name where that is sure.

    Files without element columns and with shifted names make gemmi read CA as calcium.
    """
    if residue_name in STANDARD or residue_name in FORCE_FIELD_NAMES:
        return gemmi.Element(atom.name.lstrip("0123456789")[:1])
    return atom.element

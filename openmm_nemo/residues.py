"""The twenty amino acids: letters, names and masses."""

from openmm_nemo.errors import InputError

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
"""One-letter codes in the order of the network's one-hot input."""

THREE_LETTER = dict(
    zip(
        AMINO_ACIDS,
        [
            "ALA",
            "CYS",
            "ASP",
            "GLU",
            "PHE",
            "GLY",
            "HIS",
            "ILE",
            "LYS",
            "LEU",
            "MET",
            "ASN",
            "PRO",
            "GLN",
            "ARG",
            "SER",
            "THR",
            "VAL",
            "TRP",
            "TYR",
        ],
        strict=True,
    )
)

# Average masses of the residues (amino acid minus water), IUPAC 2021 standard atomic weights.
RESIDUE_MASS_DALTON = {
    "A": 71.079, "C": 103.139, "D": 115.088, "E": 129.115, "F": 147.177,
    "G": 57.052, "H": 137.142, "I": 113.160, "K": 128.174, "L": 113.160,
    "M": 131.193, "N": 114.104, "P": 97.117, "Q": 128.131, "R": 156.188,
    "S": 87.078, "T": 101.105, "V": 99.133, "W": 186.214, "Y": 163.176,
}  # fmt: skip

MIN_LENGTH = 4
"""Shortest chain that has a dihedral angle."""


def check_sequence(sequence: str) -> str:
    """Return ``sequence`` in upper case without white space, or say what is wrong with it.

    Parameters
    ----------
    sequence : str
        One-letter amino-acid codes.

    Returns
    -------
    str

    Raises
    ------
    InputError
        If a letter is not one of the twenty amino acids or the chain is shorter than four residues.
    """
    cleaned = "".join(sequence.split())
    for position, letter in enumerate(cleaned, start=1):
        if letter not in AMINO_ACIDS + AMINO_ACIDS.lower():
            raise InputError(
                f"The sequence has {letter!r} at position {position}: "
                f"use the twenty one-letter codes {AMINO_ACIDS}."
            )
    if len(cleaned) < MIN_LENGTH:
        raise InputError(
            f"The sequence has {len(cleaned)} residues: NEMO needs at least {MIN_LENGTH}."
        )
    return cleaned.upper()

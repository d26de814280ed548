"""The twenty amino acids: letters, names and masses."""

import string
import warnings
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

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

RARE_PARENTS = {"U": "C", "O": "K"}
"""The amino acid that stands for a rare one: cysteine for selenocysteine, lysine for pyrrolysine."""

_RARE_NAMES = {"U": "selenocysteine", "O": "pyrrolysine"}

GAPS = "-."
"""Signs for gaps in alignments."""

MIN_LENGTH = 4
"""Length of the shortest chain with a dihedral angle."""


def chain_in_words(name: str) -> str:
    """Return a chain as sentences call it."""
    return f"chain {name}" if name else "the chain without a name"


BREAK = ":"
"""Sign between the chains of a complex, in sequences and in names of chains."""


def chain_name(number: int) -> str:
    """Name of a chain of a complex, counted from 0: A to Z, a to z, then numbers from 53."""
    letters = string.ascii_letters[26:] + string.ascii_letters[:26]
    return letters[number] if number < len(letters) else str(number + 1)


class Numbering(NamedTuple):
    """Names of a chain and its residues in files, or of the chains of a complex.

    Attributes
    ----------
    chain : str
        Empty for a chain without a name. The names of several chains are separated by colons.
    residue_ids : tuple of str
        Numbers with insertion codes, like "52A", length L.
    chain_lengths : tuple of int
        Number of residues of each chain of a complex; empty for one chain.
    """

    chain: str
    residue_ids: tuple[str, ...]
    chain_lengths: tuple[int, ...] = ()

    @classmethod
    def consecutive(cls, length: int, chain: str = "A") -> "Numbering":
        """One chain, from 1."""
        return cls(chain, tuple(map(str, range(1, length + 1))))

    @classmethod
    def join(cls, chains: Sequence["Numbering"]) -> "Numbering":
        """Numbering of a complex of these chains; of the chain itself if there is one."""
        if len(chains) == 1:
            return chains[0]
        return cls(
            BREAK.join(chain.chain for chain in chains),
            tuple(number for chain in chains for number in chain.residue_ids),
            tuple(len(chain.residue_ids) for chain in chains),
        )

    @property
    def chains(self) -> tuple["Numbering", ...]:
        """Numbering of each chain."""
        if not self.chain_lengths:
            return (self,)
        ids = iter(self.residue_ids)
        return tuple(
            Numbering(name, tuple(islice(ids, length)))
            for name, length in zip(self.chain.split(BREAK), self.chain_lengths, strict=True)
        )

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers without insertion codes, length L."""
        return tuple(int(number.rstrip(string.ascii_letters)) for number in self.residue_ids)

    @property
    def insertion_codes(self) -> tuple[str, ...]:
        """Insertion code of each residue, or an empty string, length L."""
        return tuple(number.lstrip("-" + string.digits) for number in self.residue_ids)


def read_sequence(sequence: str) -> tuple[str, tuple[str, ...]]:
    """Read a sequence as written by users.

    Parameters
    ----------
    sequence : str
        One-letter amino-acid codes, in either case, with or without white space and a final ``*``, the stop of a
        translated gene.

    Returns
    -------
    str
        The sequence in the twenty codes; U (selenocysteine) is taken as C and O (pyrrolysine) as K.
    tuple of str
        One sentence per kind of residue that was taken as another, or letter that was left out.

    Raises
    ------
    InputError
        If it is not a string, there is another letter, or the chain is shorter than four residues.
    """
    if not isinstance(sequence, str):
        raise InputError(
            f"The sequence is a {type(sequence).__name__}: give the one-letter codes of one protein as a string."
        )
    letters = "".join(sequence.split())
    notes = []
    if letters.endswith("*"):
        letters = letters[:-1]
        notes.append("Left out the '*' (stop) at the end of the sequence.")
    allowed = AMINO_ACIDS + "".join(RARE_PARENTS)
    for position, letter in enumerate(letters, start=1):
        if letter in GAPS:
            raise InputError(
                f"The sequence has a gap, {letter!r}, at position {position}: give it without gaps."
            )
        if letter not in allowed + allowed.lower():
            raise InputError(
                f"The sequence has {letter!r} at position {position}: "
                f"use the twenty one-letter codes {AMINO_ACIDS}."
            )
    if len(letters) < MIN_LENGTH:
        raise InputError(
            f"The sequence has {len(letters)} residues: NEMO needs at least {MIN_LENGTH}."
        )
    letters = letters.upper()
    for rare, parent in RARE_PARENTS.items():
        places = [str(i) for i, letter in enumerate(letters, start=1) if letter == rare]
        if places:
            where = (
                f"position {places[0]}"
                if len(places) == 1
                else f"{len(places)} positions, the first {places[0]},"
            )
            notes.append(f"Took {rare} ({_RARE_NAMES[rare]}) at {where} as {parent}.")
    return letters.translate({ord(rare): parent for rare, parent in RARE_PARENTS.items()}), tuple(
        notes
    )


def check_sequence(sequence: str) -> str:
    """Return ``sequence`` in the twenty codes, see `read_sequence`, whose notes become warnings.

    Raises
    ------
    InputError
        As for `read_sequence`.
    """
    checked, notes = read_sequence(sequence)
    for note in notes:
        warnings.warn(note, stacklevel=3)
    return checked


def read_sequences(sequence: str) -> tuple[str, tuple[str, ...]]:
    """Read the sequence of a protein, or those of the chains of a complex, as written by users.

    Parameters
    ----------
    sequence : str
        As for `read_sequence`, with a colon between chains.

    Returns
    -------
    str
        The sequences in the twenty codes, with colons.
    tuple of str
        As from `read_sequence`; they name the chain of a complex.

    Raises
    ------
    InputError
        As for `read_sequence`; the message names the chain of a complex.
    """
    if not isinstance(sequence, str) or BREAK not in sequence:
        return read_sequence(sequence)
    parts = sequence.split(BREAK)
    checked, notes = [], []
    for number, part in enumerate(parts):
        if not part.strip():
            raise InputError(
                f"Chain {chain_name(number)} is empty (0 residues): give a sequence before and after each colon."
            )
    for number, part in enumerate(parts):
        name = chain_name(number)
        try:
            letters, own = read_sequence(part)
        except InputError as error:
            raise InputError(f"Chain {name}: {error}") from None
        checked.append(letters)
        notes += [f"Chain {name}: {note}" for note in own]
    return BREAK.join(checked), tuple(notes)


def check_chains(sequence: str) -> tuple[str, ...]:
    """Sequences of the chains of a complex, or of one protein, see `read_sequences`, whose notes become warnings.

    Raises
    ------
    InputError
        As for `read_sequences`.
    """
    checked, notes = read_sequences(sequence)
    for note in notes:
        warnings.warn(note, stacklevel=3)
    return tuple(checked.split(BREAK))

"""Protein sequences in FASTA files."""

import os
from pathlib import Path
from typing import NamedTuple

from openmm_nemo.data.failures import Failure
from openmm_nemo.errors import InputError
from openmm_nemo.files import file_name_of, read_text
from openmm_nemo.residues import read_sequences

MAX_NAME_BYTES = 200
"""File systems take 255, and some of our files add to the name."""


class FastaRecord(NamedTuple):
    """A protein, or a complex, in a FASTA file.

    Attributes
    ----------
    name : str
        The first word of its header.
    folder : str
        The name with other characters than letters, digits and ``_.+=,@-`` replaced by ``_``; unique in the file.
    sequence : str
        One letter per residue, with a colon between the chains of a complex, see `read_sequences`.
    notes : tuple of str
        One sentence per choice that was made.
    """

    name: str
    folder: str
    sequence: str
    notes: tuple[str, ...]


def read_fasta(path: str | os.PathLike[str]) -> tuple[list[FastaRecord], list[Failure]]:
    """Read all proteins in a FASTA file, plain or gzipped.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of FastaRecord
    list of Failure
        Records that cannot be used, and why: without a name, with the name or the folder of an earlier one, or with a
        sequence that `read_sequences` refuses, such as one with gaps.

    Raises
    ------
    InputError
        If the file cannot be read or has no record.
    """
    records: list[FastaRecord] = []
    failures: list[Failure] = []
    numbers_by_name: dict[str, int] = {}
    name_by_folder: dict[str, str] = {}
    name_by_sequence: dict[str, str] = {}
    for number, (name, text) in enumerate(parse_fasta(read_text(Path(path)), path), start=1):
        place = f"Record {number} ({name}) of {path}" if name else f"Record {number} of {path}"
        folder = file_name_of(name)
        try:
            _check_name(name)
            if (earlier := numbers_by_name.setdefault(name, number)) != number:
                raise InputError(f"Record {earlier} has the same name: give each its own.")
            if (other := name_by_folder.setdefault(folder, name)) != name:
                raise InputError(
                    f"It would share the folder {folder} with {other}: rename one of them."
                )
            sequence, notes = read_sequences(text)
        except InputError as error:
            failures.append(Failure(place, str(error)))
            continue
        if folder != name:
            notes += (f"Its folder is {folder}.",)
        if (twin := name_by_sequence.setdefault(sequence, name)) != name:
            notes += (f"It has the same sequence as {twin}.",)
        records.append(FastaRecord(name, folder, sequence, notes))
    return records, failures


def parse_fasta(text: str, path: str | os.PathLike[str]) -> list[tuple[str, str]]:
    """Names (the first word of each header) and sequences of FASTA or A3M text.

    Lines before the first record may be comments, which begin with ``#`` or ``;``.

    Raises
    ------
    InputError
        If there are none, or other lines before the first.
    """
    records: list[tuple[str, list[str]]] = []
    stray = 0
    # splitlines() also splits at characters that headers may contain.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.startswith(">"):
            records.append((next(iter(line[1:].split()), ""), []))
        elif records:
            records[-1][1].extend(line.split())
        elif line.strip() and not line.startswith(("#", ";")):
            stray = stray or number
    if not records:
        raise InputError(f"{path} has no sequences: give a FASTA, A3M or Stockholm file.")
    if stray:
        raise InputError(
            f"Line {stray} of {path} comes before the first '>': remove it, or write a header above it."
        )
    return [(name, "".join(words)) for name, words in records]


def _check_name(name: str) -> None:
    if not name:
        raise InputError("It has no name: write one after the '>'.")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise InputError(
            f"Its name has {len(name.encode())} bytes: give one of at most {MAX_NAME_BYTES}."
        )

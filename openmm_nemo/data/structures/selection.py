"""Which residues to take from a chain: a range, the longest unbroken segment, or those with a given sequence."""

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from openmm_nemo.data.structures.polymer import Residue, chain_breaks, problem_of
from openmm_nemo.errors import InputError
from openmm_nemo.residues import MIN_LENGTH

SHOWN_SEGMENTS = 8

_RESIDUE_RANGE = re.compile(r"\s*(-?\d+[A-Za-z]?)\s*-\s*(-?\d+[A-Za-z]?)\s*")


class Selection(NamedTuple):
    """What to take from a file, see `read_structure`."""

    chain: str | None = None
    residues: str | None = None
    longest_segment: bool = False
    sequence: str | None = None


def choose_residues(
    residues: list[Residue], selection: Selection, place: str
) -> tuple[list[Residue], list[str]]:
    """Return the residues to take and the note on the choice."""
    notes = []
    if selection.residues is not None:
        residues = _in_range(residues, selection.residues, place)
    if selection.sequence is not None:
        letters = "".join(residue.letter or "?" for residue in residues)
        start = letters.find(selection.sequence)
        if start < 0:
            raise InputError(
                f"The {len(residues)} residues of {place} do not contain the sequence of the protein "
                f"({len(selection.sequence)} residues): give a structure of the same protein, or another chain with "
                "--chain."
            )
        whole, residues = residues, residues[start : start + len(selection.sequence)]
        if len(residues) < len(whole):
            notes.append(
                f"Took residues {_ends(residues)}, which have the sequence of the protein."
            )
    if selection.longest_segment:
        segments = _segments(residues)
        longest = max(segments, key=len, default=[])
        if MIN_LENGTH <= len(longest) < len(residues):
            notes.append(f"Took the longest segment, {_ends(longest)}, of {_listed(segments)}.")
            residues = longest
    return residues, notes


def segment_choices(residues: list[Residue]) -> list[str]:
    """Options that select a part of the chain, if a part of it can be used."""
    usable = [segment for segment in _segments(residues) if len(segment) >= MIN_LENGTH]
    if not usable:
        return []
    longest = _ends(max(usable, key=len))
    return [
        f"a segment with --residues ({_listed(usable)})",
        f"the longest with --longest-segment ({longest})",
    ]


def _in_range(residues: list[Residue], wanted: str, place: str) -> list[Residue]:
    """Return the residues from the first to the last one named, in the order of the chain."""
    match = _RESIDUE_RANGE.fullmatch(wanted)
    if match is None:
        raise InputError(
            f"--residues {wanted!r} is not a range: give the first and last residues in the numbering of the file, "
            "like 2-152 or 10-52A."
        )
    numbers = [residue.number for residue in residues]
    for end in match.groups():
        if end not in numbers:
            raise InputError(
                f"There is no residue {end} in {place}: choose --residues within "
                f"{_listed(_segments(residues))}."
            )
    first = numbers.index(match[1])
    last = len(numbers) - 1 - numbers[::-1].index(match[2])
    if last < first:
        raise InputError(
            f"Residue {match[2]} comes before {match[1]} in {place}: give --residues in the order of "
            "the chain."
        )
    return residues[first : last + 1]


def _segments(residues: list[Residue]) -> list[list[Residue]]:
    """Split residues where the chain breaks, leaving out those that NEMO cannot use."""
    segments: list[list[Residue]] = []
    before: Residue | None = None
    for residue in residues:
        if problem_of(residue, ""):
            before = None
            continue
        if before is None or chain_breaks(_ca([before, residue])):
            segments.append([])
        segments[-1].append(residue)
        before = residue
    return segments


def _listed(segments: list[list[Residue]]) -> str:
    """Name segments by their ends."""
    usable = [_ends(segment) for segment in segments if len(segment) >= MIN_LENGTH]
    usable = usable or list(map(_ends, segments))
    rest = len(usable) - SHOWN_SEGMENTS
    return ", ".join(usable[:SHOWN_SEGMENTS]) + (f" and {rest} more" if rest > 0 else "")


def _ends(segment: list[Residue]) -> str:
    return f"{segment[0].number}-{segment[-1].number}"


def _ca(residues: Iterable[Residue]) -> np.ndarray:
    """Return the positions (L, 3) of the CA atoms, Angstrom."""
    return np.array([residue.atoms["CA"].pos.tolist() for residue in residues])

"""Multiple sequence alignments of a protein with its homologues, in the protein's columns (the paper's B.5 and B.7)."""

import io
import os
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path

import numpy as np

from openmm_nemo.data.array_file import ArrayFile
from openmm_nemo.data.fasta import parse_fasta
from openmm_nemo.errors import InputError
from openmm_nemo.files import completing, read_text
from openmm_nemo.residues import AMINO_ACIDS

GAP = len(AMINO_ACIDS)
"""Code of a gap in `Alignment.rows`."""

MAX_GAPS = 0.5
MIN_DISTANCE = 0.2
DECAY = 5.0
"""Rows are drawn with p ~ exp(-DECAY * distance to the query)."""

_LETTERS = np.frombuffer((AMINO_ACIDS + "-").encode(), dtype=np.uint8)
_GAP_SIGNS = "-._~*"

_SUFFIXES = (".a3m", ".sto", ".fasta")
# Annotations that HH-suite writes among the sequences of an A3M file.
_NOT_SEQUENCES = ("ss_pred", "ss_conf", "ss_dssp", "sa_dssp", "aa_dssp", "aa_pred")


def _table(signs: str, codes: Sequence[int], rest: int) -> np.ndarray:
    table = np.full(256, rest, dtype=np.uint8)
    table[list(signs.encode())] = codes
    return table


_CODES = _table(AMINO_ACIDS + AMINO_ACIDS.lower(), [*range(GAP)] * 2, rest=GAP)
_IS_LETTER = _table(string.ascii_letters, [1] * 52, rest=0).astype(bool)
_IS_KNOWN = _table(string.ascii_letters + _GAP_SIGNS, [1] * 57, rest=0).astype(bool)


@dataclass(frozen=True, eq=False)
class Alignment:
    """A protein, called the query (row 0), and its homologues.

    Attributes
    ----------
    names : tuple of str
        Names of the N rows.
    rows : ndarray, shape (N, L), uint8
        Indices in `openmm_nemo.residues.AMINO_ACIDS`; 20 is a gap. Letters other than the twenty amino acids (X, B, Z,
        J, U, O) also count as gaps. Columns are the residues of the query, which has no gaps.
    """

    names: tuple[str, ...]
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def sequence(self) -> str:
        """The query."""
        return _LETTERS[self.rows[0]].tobytes().decode()

    @cached_property
    def distances(self) -> np.ndarray:
        """Normalised Hamming distance of every row to the query, shape (N,), float64.

        The fraction of different letters among the columns in which both rows have one; 1 if there are none.
        """
        return _distances(self.rows[0], self.rows.T)

    @cached_property
    def _cumulative(self) -> np.ndarray:
        total = np.cumsum(np.exp(-DECAY * self.distances))
        return total / total[-1]

    def select(self, kept: np.ndarray) -> "Alignment":
        """Some of the rows, given by their indices or a mask."""
        numbers = np.arange(len(self))[kept]
        return Alignment(tuple(self.names[i] for i in numbers), self.rows[numbers])

    def drop_gapped(self, max_gaps: float = MAX_GAPS) -> "Alignment":
        """Rows with gaps in at most this fraction of the columns (the paper's B.5: half)."""
        return self.select((self.rows == GAP).mean(axis=1) <= max_gaps)

    def thin(
        self,
        min_distance: float = MIN_DISTANCE,
        progress: Callable[[int], None] = lambda count: None,
    ) -> "Alignment":
        """Rows that differ from each other, chosen greedily in their order, so that the query stays.

        Parameters
        ----------
        min_distance : float
            Minimum normalised Hamming distance (see `distances`) between any two rows that are kept. The paper (B.5)
            says that hhfilter left sequences at a distance of 0.8. Taken literally, no two rows would share more than
            20% of their letters, which is true of almost no pair of homologues; hhfilter's threshold is the largest
            identity, so we take it to mean 80% identity: a distance of 0.2.
        progress : callable
            Called with the number of rows compared so far, from time to time.

        Returns
        -------
        Alignment
        """
        columns = np.ascontiguousarray(self.rows.T)
        kept = np.ones(len(self), dtype=bool)
        for i in range(len(self)):
            if kept[i]:
                near = _distances(columns[:, i], columns[:, i + 1 :]) < min_distance
                kept[i + 1 :] &= ~near
                progress(i + 1)
        return self.select(kept)


def read_alignment(path: str | os.PathLike[str], sequence: str | None = None) -> Alignment:
    """Read an alignment in A3M, A2M, aligned FASTA or Stockholm format, plain or gzipped.

    The format is recognised by the content. Insertions relative to the first row, the query, are removed. If all rows
    have the same length, they are aligned column by column, and letters of either case count. Otherwise the file is
    A3M, in which lower-case letters are not aligned.

    Parameters
    ----------
    path : path
    sequence : str, optional
        Sequence that the query must have.

    Returns
    -------
    Alignment

    Raises
    ------
    InputError
        If the file cannot be read or is not an alignment, or its query has a letter other than the twenty amino acids
        or is not ``sequence``.
    """
    text = read_text(Path(path))
    if text.lstrip().startswith("# STOCKHOLM"):
        names, texts = _parse_stockholm(text, path)
    else:
        rows = [row for row in parse_fasta(text, path) if row[0] not in _NOT_SEQUENCES]
        if not rows:
            raise InputError(
                f"{path} has no sequences, only annotations: give a FASTA, A3M or Stockholm file."
            )
        names, texts = [name for name, _ in rows], [text for _, text in rows]
    alignment = align_to_query(names, texts, str(path))
    if sequence is not None:
        _check_query(alignment.sequence, sequence, path)
    return alignment


def write_alignment(path: str | os.PathLike[str], alignment: Alignment) -> None:
    """Write an alignment as A3M; the file appears when it is complete.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    lines = (
        f">{name}\n{_LETTERS[row].tobytes().decode()}\n"
        for name, row in zip(alignment.names, alignment.rows, strict=True)
    )
    try:
        with completing(Path(path)) as partial, open(partial, "w", encoding="utf-8") as file:
            file.writelines(lines)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}): choose another place."
        ) from None


def augmented(sequence: str, alignment: Alignment, generator: np.random.Generator) -> str:
    """Draw a relative of a protein: its sequence with the letters of one row of its alignment (the paper's B.7).

    Row t is drawn with probability p_t ~ exp(-5 d_t), where d_t is its distance to the query (the extracted text lost
    the minus, but says that closer rows are drawn more often). The query is one of the rows, with d = 0. Where the row
    has a gap, the query's letter stays.

    Parameters
    ----------
    sequence : str
        Length L.
    alignment : Alignment
        Alignment of the sequence, filtered as desired.
    generator : numpy.random.Generator

    Returns
    -------
    str
        Length L.

    Raises
    ------
    InputError
        If the alignment is of another sequence.
    """
    if sequence != alignment.sequence:
        _check_query(alignment.sequence, sequence, "an alignment")
    drawn = alignment.rows[np.searchsorted(alignment._cumulative, generator.random(), "right")]
    return _LETTERS[np.where(drawn == GAP, alignment.rows[0], drawn)].tobytes().decode()


class AlignmentFolder:
    """A folder of alignments, one file per protein, read on request.

    Files are named by the protein's id and one of .a3m, .sto and .fasta, and may be gzipped (.gz).

    Parameters
    ----------
    folder : path

    Raises
    ------
    InputError
        If the folder has no such file.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        names = (path.name.removesuffix(".gz") for path in self.folder.glob("*"))
        if not any(name.endswith(_SUFFIXES) for name in names):
            raise InputError(
                f"{folder} has no alignments: give a folder of files that end in {', '.join(_SUFFIXES)}."
            )

    def get(self, name: str, sequence: str) -> Alignment | None:
        """Alignment of the protein with this id and sequence; None if there is no file.

        Raises
        ------
        InputError
            If there are several files, or the file is not an alignment of the sequence.
        """
        found = [
            path
            for suffix in _SUFFIXES
            for zipped in ("", ".gz")
            if (path := self.folder / f"{name}{suffix}{zipped}").exists()
        ]
        if len(found) > 1:
            raise InputError(f"{found[0]} and {found[1].name} are of the same protein: remove one.")
        return read_alignment(found[0], sequence) if found else None


class AlignmentArrays:
    """Alignments of many proteins in one .npz file, which docs/data-format.md describes; nothing is unpickled.

    Parameters
    ----------
    path : path

    Raises
    ------
    InputError
        If the file cannot be read or its arrays do not fit together.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        arrays = ArrayFile(self.path)
        sizes = arrays.column("length", "iu"), arrays.column("rows", "iu", (len(arrays.ends()),))
        ids = arrays.column("id", "U", sizes[0].shape).tolist()
        letters = arrays.column("letters", "U", ()).item()
        if sorted(letters) != sorted(AMINO_ACIDS + "-"):
            raise InputError(f"The letters of {path} are {letters!r}: give {AMINO_ACIDS}-.")
        self._codes = _CODES[list(letters.encode())]
        ends = np.cumsum(sizes[0].astype(np.int64) * sizes[1])
        self._codes_of_all = arrays.column("alignment", "u", (int(ends[-1]),))
        if self._codes_of_all.max(initial=0) >= len(letters) or (sizes[1] < 1).any():
            raise InputError(
                f"{path} has codes of {len(letters)} or more, or a domain without rows: see docs/data-format.md."
            )
        self._places = {
            name: (int(end), int(length), int(rows))
            for name, end, length, rows in zip(ids, ends, *sizes, strict=True)
        }

    def get(self, name: str, sequence: str) -> Alignment | None:
        """Alignment of the protein with this id and sequence; None if there is none.

        Raises
        ------
        InputError
            If the alignment is of another sequence.
        """
        if name not in self._places:
            return None
        end, length, rows = self._places[name]
        codes = self._codes_of_all[end - length * rows : end].reshape(length, rows)
        alignment = Alignment(tuple(map(str, range(rows))), self._codes[codes.T])
        if alignment.sequence != sequence:
            _check_query(alignment.sequence, sequence, f"{name} in {self.path}")
        return alignment


def read_alignments(path: str | os.PathLike[str]) -> AlignmentFolder | AlignmentArrays:
    """Alignments of many proteins: a .npz file, or a folder of files.

    Raises
    ------
    InputError
        See `AlignmentFolder` and `AlignmentArrays`.
    """
    return AlignmentArrays(path) if Path(path).suffix == ".npz" else AlignmentFolder(path)


def _parse_stockholm(text: str, path: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    from pyhmmer.easel import MSAFile

    try:
        with MSAFile(io.BytesIO(text.lstrip().encode()), format="stockholm") as file:
            alignments = list(file)
    except ValueError as error:
        raise InputError(
            f"{path} is not a complete Stockholm file ({error}): get it again."
        ) from None
    if len(alignments) != 1:
        raise InputError(f"{path} holds {len(alignments)} alignments: give a file with one.")
    return list(alignments[0].names), list(alignments[0].alignment)


def align_to_query(names: Sequence[str], texts: Sequence[str], place: str) -> Alignment:
    """Code aligned sequences in the columns of the first.

    Parameters
    ----------
    names, texts : sequence of str
        One per row; see `read_alignment` for lower case and rows of different lengths.
    place : str
        Where the rows are from, for messages.

    Raises
    ------
    InputError
        If a row has a character that is neither a letter nor a gap, the rows do not fit together, or the query has no
        residues or an unknown one.
    """
    signs = [_signs(text, name, place) for text, name in zip(texts, names, strict=True)]
    residues = signs[0][_IS_LETTER[signs[0]]]
    if not residues.size:
        raise InputError(f"The query {names[0]} of {place} has no residues: give its sequence.")
    for position in np.flatnonzero(_CODES[residues] == GAP)[:1]:
        raise InputError(
            f"The query {names[0]} of {place} has {chr(residues[position])!r} at residue {position + 1}: "
            f"use the twenty one-letter codes {AMINO_ACIDS}."
        )
    residue = np.cumsum(_IS_LETTER[signs[0]]) - 1
    if len(set(map(len, signs))) > 1:
        residue = residue[_is_aligned(signs[0])]
        signs = [row[_is_aligned(row)] for row in signs]
    taken = _IS_LETTER[signs[0]]
    rows = np.full((len(names), len(residues)), GAP, dtype=np.uint8)
    rows[0] = _CODES[residues]
    for number in range(1, len(names)):
        if len(signs[number]) != len(signs[0]):
            raise InputError(
                f"{place} is not an alignment: row {number + 1} ({names[number]}) has {len(signs[number])} "
                f"aligned columns and the query {len(signs[0])}."
            )
        rows[number, residue[taken]] = _CODES[signs[number][taken]]
    return Alignment(tuple(names), rows)


def _signs(text: str, name: str, place: str) -> np.ndarray:
    # Anything that is not ASCII becomes "?", which is refused like other characters.
    signs = np.frombuffer(text.encode("ascii", "replace"), dtype=np.uint8)
    for position in np.flatnonzero(~_IS_KNOWN[signs])[:1]:
        raise InputError(
            f"{place} is not an alignment: the sequence {name} has {text[position]!r} at position {position + 1}."
        )
    return signs


def _is_aligned(signs: np.ndarray) -> np.ndarray:
    """Whether characters of A3M are aligned: all except lower case and dots."""
    return (signs < ord("a")) & (signs != ord("."))


def _check_query(query: str, sequence: str, path: str | os.PathLike[str]) -> None:
    for number, (one, other) in enumerate(zip_longest(query, sequence, fillvalue=""), start=1):
        if one != other:
            raise InputError(
                f"The query of {path} has {one or 'nothing'} at residue {number} where the sequence has "
                f"{other or 'nothing'}: give the alignment of this sequence."
            )


def _distances(row: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Normalised Hamming distance of a row (L,) to others, given as columns (L, N); shape (N,)."""
    has_letter = row != GAP
    columns = columns[has_letter]
    shared = columns != GAP
    different = (columns != row[has_letter, None]) & shared
    # The narrowest integers that hold the counts: sums are many times faster than with numpy's default.
    narrow = np.min_scalar_type(len(row))
    n_shared = shared.sum(axis=0, dtype=narrow)
    n_different = different.sum(axis=0, dtype=narrow)
    return np.divide(n_different, n_shared, out=np.ones(len(n_shared)), where=n_shared > 0)

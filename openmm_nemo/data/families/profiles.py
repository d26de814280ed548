"""Sequence profiles: how much more often than on average each amino acid occurs at each residue (the paper's B.6)."""

import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from openmm_nemo.data.families.alignments import Alignment
from openmm_nemo.errors import InputError
from openmm_nemo.files import completing, read_text
from openmm_nemo.residues import AMINO_ACIDS

PSEUDO_COUNT = 10.0
"""q of the paper, added to the count of each amino acid."""

BACKGROUND = np.array([
    0.0787945, 0.0151600, 0.0535222, 0.0668298, 0.0397062, 0.0695071, 0.0229198, 0.0590092, 0.0594422, 0.0963728,
    0.0237718, 0.0414386, 0.0482904, 0.0395639, 0.0540978, 0.0683364, 0.0540687, 0.0673417, 0.0114135, 0.0304133,
])  # fmt: skip
"""Frequencies of `AMINO_ACIDS` in Swiss-Prot 50.8 (the reviewed part of UniProt), the background of HMMER 3.

The paper uses those of the whole of UniProt and does not print them.
"""

DEPTH = 1000.0
"""Number of alignment rows that frequencies are assumed to come from."""

PROFILE_KINDS = ("deep", "own")
"""Kinds of profiles that a set of domains may have: from deep alignments (HHblits), and from a plain search such as
users run themselves. They differ in depth, so a model learns from only one kind."""

_SHARE_TOLERANCE = 0.01
_ROOT_SCALE = 255


@dataclass(frozen=True, eq=False)
class ColumnFrequencies:
    """Frequencies of the amino acids in the columns of an alignment, one byte each.

    Attributes
    ----------
    roots : ndarray, shape (L, 20), uint8
        Square roots of the frequencies, times 255, with columns in the order of `openmm_nemo.residues.AMINO_ACIDS`. A
        row need not be normalised.

    Raises
    ------
    InputError
        If the shape or type is wrong, or a row is zero.
    """

    roots: np.ndarray

    def __post_init__(self) -> None:
        if self.roots.dtype != np.uint8 or self.roots.shape[1:] != (len(AMINO_ACIDS),):
            raise InputError(
                f"The frequencies are {self.roots.dtype} of shape {self.roots.shape}: give uint8 of shape (L, 20)."
            )
        empty = ~self.roots.any(axis=1)
        if empty.any():
            raise InputError(
                f"The frequencies are all zero at residue {np.argmax(empty) + 1}: give some for each residue."
            )

    def __len__(self) -> int:
        return len(self.roots)

    def __getitem__(self, part: slice) -> "ColumnFrequencies":
        # A part of what was checked needs no check.
        frequencies = object.__new__(ColumnFrequencies)
        vars(frequencies)["roots"] = self.roots[part]
        return frequencies

    @property
    def frequencies(self) -> np.ndarray:
        """Frequencies, shape (L, 20), float32; rows add up to 1."""
        squares = (self.roots / np.float32(_ROOT_SCALE)) ** 2
        return squares / squares.sum(axis=1, keepdims=True)

    @property
    def neff(self) -> float:
        """Diversity of the columns: exp of their mean entropy, from 1 (a single sequence) to 20."""
        shares = self.frequencies
        logarithms = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
        return float(np.exp(-(shares * logarithms).sum(axis=1).mean()))

    @property
    def profile(self) -> np.ndarray:
        """Profile of these frequencies, shape (L, 20), float32, see `profile_from_frequencies`."""
        return profile_from_frequencies(self.frequencies).astype(np.float32)


def profile(
    alignment: Alignment, background: ArrayLike = BACKGROUND, pseudo_count: float = PSEUDO_COUNT
) -> np.ndarray:
    """Profile of an alignment.

    With counts C of the letters in a column, M = (C + q) / sum (C + q) and P = sigmoid(log(M / b)).

    Parameters
    ----------
    alignment : Alignment
        Alignment of N rows, with equal weights, and L columns. Gaps do not count.
    background : array-like, shape (20,)
        b, frequencies of the amino acids.
    pseudo_count : float
        q. With N rows, 20 q of the N + 20 q counts are pseudo-counts.

    Returns
    -------
    ndarray, shape (L, 20), float64
        Between 0 and 1; 0.5 where an amino acid is as frequent as in the background. Columns are in the order of
        `openmm_nemo.residues.AMINO_ACIDS`.

    Raises
    ------
    InputError
        If the background or the pseudo-count is not positive.
    """
    letters = range(len(AMINO_ACIDS))
    counts = np.stack([(alignment.rows == letter).sum(axis=0) for letter in letters], axis=1)
    return _profile(counts, background, pseudo_count)


def profile_from_frequencies(
    frequencies: ArrayLike,
    depth: float = DEPTH,
    background: ArrayLike = BACKGROUND,
    pseudo_count: float = PSEUDO_COUNT,
) -> np.ndarray:
    """Profile of an alignment that is known only by the frequencies in its columns.

    Parameters
    ----------
    frequencies : array-like, shape (L, 20) or (L, 21)
        Frequencies of the amino acids, in the order of `openmm_nemo.residues.AMINO_ACIDS`, and optionally of gaps, in
        each column. They add up to 1, or to less if the frequency of gaps was left out.
    depth : float
        Number of rows in the alignment: pseudo-counts are added to frequencies times depth.
    background, pseudo_count
        See `profile`.

    Returns
    -------
    ndarray, shape (L, 20), float64
        See `profile`, which gives the same for the alignment itself.

    Raises
    ------
    InputError
        If these are not frequencies, or the depth, the background or the pseudo-count is not positive.
    """
    n = len(AMINO_ACIDS)
    shares = np.asarray(frequencies, dtype=np.float64)
    if shares.ndim != 2 or not len(shares) or shares.shape[1] not in (n, n + 1):
        raise InputError(f"The frequencies have shape {shares.shape}: give one of (L, {n + 1}).")
    total = shares.sum(axis=1)
    wrong = ~(total <= 1 + _SHARE_TOLERANCE) | (shares < 0).any(axis=1)
    if shares.shape[1] > n:
        wrong |= ~(total >= 1 - _SHARE_TOLERANCE)
    for residue in np.flatnonzero(wrong)[:1]:
        raise InputError(
            f"The frequencies at residue {residue + 1} are negative or do not add up to 1: correct them."
        )
    if not (np.isfinite(depth) and depth > 0):
        raise InputError(f"The depth is {depth}: give the number of rows of the alignment.")
    return _profile(depth * shares[:, :n], background, pseudo_count)


def information_content(profile: ArrayLike, background: ArrayLike = BACKGROUND) -> np.ndarray:
    """Information about the amino acid at each residue, log2(20) + sum M log2(M), as in sequence logos.

    M includes the pseudo-counts: small alignments have little information.

    Parameters
    ----------
    profile : array-like, shape (L, 20)
    background : array-like, shape (20,)
        Background that the profile was made with.

    Returns
    -------
    ndarray, shape (L,), float64
        Bits, 0 where nothing is known.
    """
    p = np.asarray(profile, dtype=np.float64)
    m = np.asarray(background) * p / (1 - p)
    return np.log2(len(AMINO_ACIDS)) + (m * np.log2(m)).sum(axis=1)


def read_profiles(path: str | os.PathLike[str], depth: float = DEPTH) -> dict[str, np.ndarray]:
    """Read frequencies from JSON lines, plain or gzipped, and make profiles of them.

    Each line is an object with ``id``, ``frequencies`` (a list of numbers per residue) and ``columns``, a string or
    list of the twenty amino acids, in any order, and "-" for the frequency of gaps, which may be left out.

    Parameters
    ----------
    path : path
    depth : float
        See `profile_from_frequencies`.

    Returns
    -------
    dict of str to ndarray, shape (L, 20), float64
        Profiles by id.

    Raises
    ------
    InputError
        If the file cannot be read, or a line is not such an object or repeats an id.
    """
    profiles: dict[str, np.ndarray] = {}
    for number, line in enumerate(read_text(Path(path)).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            name, frequencies = _read_line(line)
            if name in profiles:
                raise ValueError(f"an earlier line also has {name}")
            profiles[name] = profile_from_frequencies(frequencies, depth)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            reason = str(reason).removesuffix(".")
            raise InputError(
                f"Line {number} of {path} is not a profile ({reason}): correct or remove it."
            ) from None
    if not profiles:
        raise InputError(f"{path} holds no profiles: give JSON lines of frequencies.")
    return profiles


def read_profile(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a profile from text, one line per residue; numbers are separated by commas in .csv files, by spaces in
    others.

    Returns
    -------
    ndarray, shape (L, n), float64
        n should be 20, which the model that takes the profile checks.

    Raises
    ------
    InputError
        If the file cannot be read or is not a table of numbers.
    """
    try:
        with warnings.catch_warnings(action="error"):
            return np.loadtxt(path, ndmin=2, delimiter=_delimiter(path), encoding="utf-8-sig")
    except (OSError, ValueError, UserWarning) as error:
        raise InputError(
            f"The profile {path} cannot be read ({error}): give 20 numbers per line."
        ) from None


def write_profile(path: str | os.PathLike[str], profile: ArrayLike) -> None:
    """Write a profile as text that `read_profile` reads; the file appears when it is complete.

    The first line is a comment with the order of the amino acids. Numbers have eight decimals.

    Parameters
    ----------
    path : path
        With the extension .csv, commas separate the numbers.
    profile : array-like, shape (L, 20)

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    separator = _delimiter(path) or " "
    try:
        with completing(Path(path)) as partial:
            header = separator.join(AMINO_ACIDS)
            np.savetxt(partial, profile, fmt="%.8f", delimiter=separator, header=header)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}): choose another place."
        ) from None


def _delimiter(path: str | os.PathLike[str]) -> str | None:
    return "," if Path(path).suffix == ".csv" else None


def _profile(counts: np.ndarray, background: ArrayLike, pseudo_count: float) -> np.ndarray:
    b = np.asarray(background, dtype=np.float64)
    if b.shape != (len(AMINO_ACIDS),) or not (np.isfinite(b) & (b > 0)).all():
        raise InputError("The background is wrong: give twenty positive frequencies.")
    if not (np.isfinite(pseudo_count) and pseudo_count > 0):
        raise InputError(f"The pseudo-count is {pseudo_count}: give a positive number.")
    m = counts + pseudo_count
    m = m / m.sum(axis=1, keepdims=True)
    return m / (m + b)  # sigmoid(log(m / b))


def _read_line(line: str) -> tuple[str, np.ndarray]:
    """Name and frequencies, shape (L, 20) or (L, 21), with columns in our order."""
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("it is not an object")
    name, columns = values["id"], values["columns"]
    if not isinstance(name, str | int):
        raise ValueError(f"its id is {name!r}")
    if not isinstance(columns, str | list):
        raise ValueError(f"its columns are {columns!r}")
    order = AMINO_ACIDS + ("-" if "-" in columns else "")
    if sorted(columns) != sorted(order):
        raise ValueError(f"its columns are {columns!r}")
    frequencies = np.array(values["frequencies"], dtype=np.float64)
    if frequencies.ndim != 2 or frequencies.shape[1] != len(columns):
        raise ValueError(f"its frequencies have shape {frequencies.shape}")
    return str(name), frequencies[:, [columns.index(letter) for letter in order]]

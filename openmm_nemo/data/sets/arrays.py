"""Domains and profiles as numpy arrays in .npz files, which docs/data-format.md describes.

All residues of all domains are rows of the same arrays; ``length`` is the number of each domain's residues. Nothing is
unpickled.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openmm_nemo.data.array_file import ArrayFile
from openmm_nemo.data.failures import Failure
from openmm_nemo.data.families.profiles import PROFILE_KINDS, ColumnFrequencies
from openmm_nemo.data.sets.domains import UNLABELLED, Domain, secondary_structure
from openmm_nemo.data.sets.labels import is_cath_code
from openmm_nemo.data.structures.polymer import chain_breaks
from openmm_nemo.errors import InputError
from openmm_nemo.residues import AMINO_ACIDS, check_sequence

SUFFIX = ".npz"

STRUCTURES, PROFILES = "structures", "profiles"

_STEP = np.float32(0.01)
"""Angstrom, unit of the stored coordinates."""

_PROFILE_KEYS = {"profile": "deep", **{kind: kind for kind in PROFILE_KINDS}}
"""Keys of profiles, and the kind that each holds."""

_N_LETTERS = len(AMINO_ACIDS)


class ProfileRecord(NamedTuple):
    """Record of a domain in a file of profiles.

    Attributes
    ----------
    length : int
        Number of residues.
    profiles : dict of str to ColumnFrequencies
        Profiles by kind.
    cluster : str
        Name of its sequence cluster; empty if the file has none.
    """

    length: int
    profiles: dict[str, ColumnFrequencies]
    cluster: str


def content_of(path: Path) -> str:
    """Content of a file according to the names of its arrays: `STRUCTURES` or `PROFILES`.

    Raises
    ------
    InputError
        If it cannot be read or holds something else.
    """
    names = ArrayFile(path).names
    if {"dca", "rel"} <= names:
        return STRUCTURES
    if names & _PROFILE_KEYS.keys():
        return PROFILES
    if "alignment" in names:
        raise InputError(
            f"{path} holds alignments, which are no part of a set: name it in data.alignments of a training file."
        )
    raise InputError(
        f"{path} holds neither structures nor profiles: see docs/data-format.md for the arrays of such a file."
    )


def read_ids(path: Path) -> list[str]:
    """Ids of the domains or profiles in a file.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    return ArrayFile(path).column("id", "U", (None,)).tolist()


def read_structures(
    path: Path, first: int = 0, last: int | None = None, profiles: Path | None = None
) -> Iterator[Domain | Failure]:
    """Read some domains from a file of structures.

    Parameters
    ----------
    path : Path
    first, last : int
        Range of domains to read, excluding ``last``. Default: all.
    profiles : Path, optional
        File with the profiles of the same domains in the same order.

    Yields
    ------
    Domain or Failure

    Raises
    ------
    InputError
        If a file cannot be read or an array is missing or has a wrong type or shape.
    """
    arrays = ArrayFile(path)
    ends = arrays.ends()
    n, n_residues = len(ends), int(ends[-1])
    columns: dict[str, Any] = {
        name: arrays.column(name, kind, (n,)) for name, kind in (("id", "U"), ("length", "iu"))
    }
    for name, kind in _OPTIONAL.items():
        if name in arrays.names:
            columns[name] = arrays.column(name, kind, (n,))
    rows = {
        "seq": arrays.column("seq", "u", (n_residues,)),
        "dca": arrays.column("dca", "i", (n_residues, 3)),
        "rel": arrays.column("rel", "i", (n_residues, 3, 3)),
    }
    if "ss8" in arrays.names:
        rows["ss8"] = arrays.column("ss8", "u", (n_residues,))
    if profiles:
        rows["profile"] = _roots(ArrayFile(profiles), "profile", n_residues)
    for i in range(n)[first:last]:
        inside = slice(ends[i] - columns["length"][i], ends[i])
        values = {name: column[i].item() for name, column in columns.items()}
        try:
            yield _domain(values, {name: row[inside] for name, row in rows.items()})
        except (InputError, ValueError) as error:
            yield Failure(f"{values['id']} of {path}", str(error))


def read_profile_records(path: Path) -> dict[str, ProfileRecord]:
    """Read a file of profiles.

    Returns
    -------
    dict of str to ProfileRecord
        Records by the id of the domain.

    Raises
    ------
    InputError
        If it cannot be read or an array is missing or has a wrong type or shape.
    """
    arrays = ArrayFile(path)
    ends = arrays.ends()
    n, n_residues = len(ends), int(ends[-1])
    ids = arrays.column("id", "U", (n,)).tolist()
    clusters = arrays.column("c30", "U", (n,)).tolist() if "c30" in arrays.names else [""] * n
    roots = {
        kind: _roots(arrays, key, n_residues)
        for key, kind in _PROFILE_KEYS.items()
        if key in arrays.names
    }
    records = {}
    for name, start, stop, cluster in zip(ids, (0, *ends[:-1]), ends, clusters, strict=True):
        found = {kind: rows[start:stop] for kind, rows in roots.items()}
        records[name] = ProfileRecord(
            int(stop - start),
            {kind: ColumnFrequencies(rows.copy()) for kind, rows in found.items() if _known(rows)},
            cluster,
        )
    return records


_OPTIONAL = {
    "start": "iu",
    "c30": "U",
    "same_as": "U",
    "cath": "U",
    "cath_src": "U",
    "near_held_out": "b",
}


def _domain(values: dict[str, Any], rows: dict[str, np.ndarray]) -> Domain:
    sequence = check_sequence(rows["seq"].tobytes().decode("ascii", "replace"))
    backbone = np.full((len(sequence), 5, 3), np.nan, dtype=np.float32)
    ca = np.cumsum(rows["dca"], axis=0, dtype=np.int64)
    backbone[:, 1] = ca * _STEP
    backbone[:, (0, 2, 3)] = (ca[:, None] + rows["rel"]) * _STEP
    breaks = chain_breaks(backbone[:, 1])
    start = values.get("start", 1)
    codes = tuple(filter(None, values.get("cath", "").split(";")))
    for code in codes:
        if not is_cath_code(code):
            raise ValueError(f"its cath has {code!r}, which is not a code")
    source = values.get("cath_src", "")
    if "cath_src" in values and not codes:
        source = UNLABELLED
    has_profile = "profile" in rows and _known(rows["profile"])
    return Domain(
        id=values["id"],
        sequence=sequence,
        backbone=backbone,
        dssp=rows["ss8"].tobytes().decode("ascii", "replace")
        if "ss8" in rows
        else secondary_structure(sequence, backbone, breaks),
        residue_ids=tuple(map(str, range(start, start + len(sequence)))),
        breaks=breaks,
        cath=codes,
        cluster=values.get("c30", ""),
        cath_source=source,
        near_held_out=values.get("near_held_out", False),
        same_as=values.get("same_as", ""),
        profiles={"deep": ColumnFrequencies(rows["profile"].copy())} if has_profile else {},
    )


def _known(roots: np.ndarray) -> bool:
    """Whether there is a profile: a row of zeros stands for none."""
    return bool(roots.any(axis=1).all())


def _roots(arrays: ArrayFile, key: str, n_residues: int) -> np.ndarray:
    """Square roots of frequencies (n_residues, 20) in our order of the amino acids; a gap column is left out."""
    columns = arrays.column("columns", "U", ()).item() if "columns" in arrays.names else AMINO_ACIDS
    if sorted(columns.replace("-", "")) != sorted(AMINO_ACIDS):
        raise InputError(f"The columns of {arrays.path} are {columns!r}: give {AMINO_ACIDS}.")
    rows = arrays.column(key, "u", (n_residues, None))
    if rows.dtype != np.uint8 or not _N_LETTERS <= rows.shape[1] <= len(columns):
        raise InputError(
            f"{key!r} of {arrays.path} is {rows.dtype} with {rows.shape[1]} columns: give uint8 with {_N_LETTERS}."
        )
    return rows[:, [columns.index(letter) for letter in AMINO_ACIDS]]

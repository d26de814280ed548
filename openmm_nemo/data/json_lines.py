"""Domains as JSON lines: one object a line, plain or gzipped, with the keys of `_KEYS`."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from openmm_nemo.data.domains import Domain, secondary_structure
from openmm_nemo.data.failures import Failure
from openmm_nemo.errors import InputError
from openmm_nemo.residues import check_sequence

_ATOMS = ("N", "CA", "C", "O", "SC")
_KEYS = ("id", "seq", *_ATOMS)


def read_json_lines(path: Path) -> Iterator[Domain | Failure]:
    """Read domains one by one.

    Needed are ``id``, ``seq`` and coordinates ``N``, ``CA``, ``C``, ``O``, ``SC`` of shape (L, 3) in Angstrom, null for
    a missing atom. Taken if there: ``ss8`` (else it is computed), ``resnum``, ``chain_breaks``, ``cath``, ``scop``,
    ``c30`` (cluster at 30% sequence identity).

    Parameters
    ----------
    path : Path

    Yields
    ------
    Domain or Failure

    Raises
    ------
    InputError
        If the file itself cannot be read.
    """
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rt") if zipped else open(path) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _read(line, f"line {number} of {path}")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read to its end ({error}): get it again.") from None


def _read(line: str, place: str) -> Domain | Failure:
    try:
        values = json.loads(line)
        lacking = [key for key in _KEYS if key not in values]
        if lacking:
            return Failure(place, f"it has no {lacking[0]!r}")
        return _domain(values)
    except (ValueError, TypeError, AttributeError) as error:
        return Failure(place, str(error))


def _domain(values: dict[str, Any]) -> Domain:
    sequence = check_sequence(values["seq"])
    missing = [np.nan] * 3
    atoms = [
        [missing if position is None else position for position in values[name]] for name in _ATOMS
    ]
    backbone = np.array(atoms, dtype=np.float32).transpose(1, 0, 2)
    if not np.isfinite(backbone[:, 1]).all():
        raise ValueError("a residue has no CA")
    breaks = tuple(values.get("chain_breaks") or ())
    numbers = values.get("resnum") or range(1, len(sequence) + 1)
    return Domain(
        id=str(values["id"]),
        sequence=sequence,
        backbone=backbone,
        dssp=values.get("ss8") or secondary_structure(sequence, backbone, breaks),
        residue_ids=tuple(map(str, numbers)),
        breaks=breaks,
        cath=tuple(values.get("cath") or ()),
        scop=tuple(values.get("scop") or ()),
        cluster=values.get("c30") or "",
    )

"""Domains as JSON lines: one object per line, plain or gzipped, with the keys in `_NEEDED` and `_TAKEN`."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from openmm_nemo.data.failures import Failure
from openmm_nemo.data.sets.domains import Domain, secondary_structure
from openmm_nemo.data.sets.labels import is_cath_code
from openmm_nemo.data.structures.polymer import chain_breaks
from openmm_nemo.errors import InputError
from openmm_nemo.residues import check_sequence

_ATOMS = ("N", "CA", "C", "O", "SC")
_NAME = (str, int)
_NEEDED: dict[str, Any] = {"id": _NAME, "seq": str, **dict.fromkeys(_ATOMS, list)}
_TAKEN = {
    "ss8": str,
    "resnum": list,
    "chain_breaks": list,
    "cath": list,
    "scop": list,
    "c30": _NAME,
}
_KINDS = {str: "a string", list: "a list", _NAME: "a string"}


def read_json_lines(path: Path) -> Iterator[Domain | Failure]:
    """Read domains one by one.

    Required: ``id``, ``seq`` and coordinates ``N``, ``CA``, ``C``, ``O``, ``SC`` of shape (L, 3) in Angstrom, null for
    a missing atom. Optional: ``ss8`` (default: computed), ``resnum`` (default: 1 to L), ``chain_breaks`` (default:
    where neighbouring CA atoms are more than 4.2 Angstrom apart), ``cath`` and ``scop`` (lists of codes), ``c30``
    (cluster at 30% sequence identity).

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
        if not path.is_file():
            raise InputError(f"{path} is not a file of JSON lines: give such a file.")
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else open(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _read(line, f"line {number} of {path}")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read to its end ({error}): get it again.") from None


def _read(line: bytes, place: str) -> Domain | Failure:
    try:
        return _domain(json.loads(line.decode("utf-8-sig")))
    except RecursionError:
        return Failure(place, "it is nested too deeply")
    except ValueError as error:
        return Failure(place, str(error))


def _domain(values: Any) -> Domain:
    if not isinstance(values, dict):
        raise ValueError("it is not a JSON object")
    for key, kind in (_NEEDED | _TAKEN).items():
        value = values.get(key)
        if value is None and key in _NEEDED:
            raise ValueError(f"it has no {key!r}")
        if value is not None and not isinstance(value, kind):
            raise ValueError(f"its {key!r} is not {_KINDS[kind]}")
    sequence = check_sequence(values["seq"])
    for key in (*_ATOMS, "ss8", "resnum"):
        if values.get(key) and len(values[key]) != len(sequence):
            raise ValueError(f"it has {len(sequence)} residues and {len(values[key])} {key!r}")
    backbone = np.stack([_positions(name, values[name]) for name in _ATOMS], axis=1)
    breaks = values.get("chain_breaks")
    if breaks is None:
        breaks = chain_breaks(backbone[:, 1])
    elif not all(isinstance(i, int) for i in breaks):
        raise ValueError("its 'chain_breaks' are not whole numbers")
    return Domain(
        id=str(values["id"]),
        sequence=sequence,
        backbone=backbone,
        dssp=values.get("ss8") or secondary_structure(sequence, backbone, tuple(breaks)),
        residue_ids=_residue_ids(values.get("resnum") or range(1, len(sequence) + 1)),
        breaks=tuple(breaks),
        cath=_codes("cath", values),
        scop=_codes("scop", values),
        cluster="" if values.get("c30") is None else str(values["c30"]),
    )


def _positions(name: str, rows: list[Any]) -> np.ndarray:
    """Coordinates (L, 3), float32; NaN for null."""
    try:
        with np.errstate(over="ignore"):  # in float32, such numbers become infinite
            positions = np.array(
                [[np.nan] * 3 if row is None else row for row in rows], dtype=np.float32
            )
    except (ValueError, TypeError, OverflowError):
        positions = np.empty(0, dtype=np.float32)
    if positions.shape != (len(rows), 3):
        raise ValueError(f"its {name!r} is not a list of three coordinates, or null, per residue")
    if np.isinf(positions).any():
        raise ValueError(f"its {name!r} has coordinates that are not finite")
    return positions


def _residue_ids(numbers: Any) -> tuple[str, ...]:
    if not all(isinstance(number, _NAME) for number in numbers):
        raise ValueError("its 'resnum' is not a list of numbers or strings")
    return tuple(map(str, numbers))


def _codes(key: str, values: dict[str, Any]) -> tuple[str, ...]:
    codes = values.get(key) or []
    for code in codes:
        if not isinstance(code, str) or (key == "cath" and not is_cath_code(code)):
            raise ValueError(f"its {key!r} has {code!r}, which is not a code")
    return tuple(codes)

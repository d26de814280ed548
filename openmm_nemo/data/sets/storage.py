"""Sets of domains in one file: safetensors, which is memory-mapped, so that a domain is read without its neighbours.

All residues of all domains are rows of the same tensors; ``offset`` is where each domain begins. Everything that is not
a number (names, residue numbers, codes) is in one piece of JSON. Profiles of each kind have their own tensor and
``offset``, because not all domains have one. docs/data-format.md describes the file.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from openmm_nemo.data.families.profiles import PROFILE_KINDS, ColumnFrequencies
from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.errors import InputError
from openmm_nemo.files import arrays_digest, completing
from openmm_nemo.residues import AMINO_ACIDS

FORMAT = "openmm_nemo domains"
VERSION = "3"

_VERSION_2 = ("offset", "backbone", "sequence", "dssp", "break", "records")
_PROFILES = [f"profile_{kind}{part}" for kind in PROFILE_KINDS for part in ("", "_offset")]
_TENSORS = {"2": _VERSION_2, VERSION: (*_VERSION_2, *_PROFILES)}
"""Format names by version. The second had neither profiles nor, in its records, the keys in `_NEW`."""

_NEW = {"cath_source": "", "near_held_out": False, "same_as": ""}


def write_domains(path: str | os.PathLike[str], domains: Iterable[Domain]) -> None:
    """Write a set; the file appears when it is complete.

    Parameters
    ----------
    path : path
        An existing file is replaced.
    domains : iterable of Domain

    Raises
    ------
    InputError
        If there are no domains, two have the same id, or the file cannot be written.
    """
    domains = list(domains)
    if not domains:
        raise InputError(f"There are no domains to write to {path}: give files that can be read.")
    ids = [domain.id for domain in domains]
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise InputError(f"Two domains of {path} are named {twice}: give each its own id.")
    backbones = [domain.backbone for domain in domains]
    breaks = [np.isin(np.arange(len(domain)), domain.breaks) for domain in domains]
    records = [
        {
            "id": domain.id,
            "residue_ids": " ".join(domain.residue_ids),
            "cath": domain.cath,
            "scop": domain.scop,
            "cluster": domain.cluster,
            **{name: getattr(domain, name) for name in _NEW},
        }
        for domain in domains
    ]
    tensors: dict[str, np.ndarray] = {
        "offset": np.cumsum([0, *map(len, domains)], dtype=np.int64),
        # safetensors silently writes other memory layouts wrongly.
        "backbone": np.ascontiguousarray(np.concatenate(backbones, dtype=np.float32)),
        "sequence": _letters("".join(domain.sequence for domain in domains)),
        "dssp": _letters("".join(domain.dssp for domain in domains)),
        "break": np.concatenate(breaks),
        "records": _letters(json.dumps(records)),
    }
    for kind in PROFILE_KINDS:
        rows = [d.profiles[kind].roots if kind in d.profiles else _NO_ROWS for d in domains]
        tensors[f"profile_{kind}"] = np.concatenate(rows)
        tensors[f"profile_{kind}_offset"] = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    metadata = {"format": FORMAT, "version": VERSION, "sha256": arrays_digest(tensors)}
    try:
        with completing(Path(path)) as partial:
            # Its own writer makes files that other users cannot read.
            partial.write_bytes(save(tensors, metadata))
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}): choose another place."
        ) from None


class DomainSet(Sequence[Domain]):
    """A set of domains on disk.

    Parameters
    ----------
    path : path

    Raises
    ------
    InputError
        If the file cannot be read, is not a set of domains, or is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        remedy = "build it again with 'openmm-nemo data build'."
        try:
            self._file = safe_open(path, framework="numpy")
            metadata = self._file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise InputError(f"{path} is not a set of domains: {remedy}")
            if metadata["version"] not in _TENSORS:
                raise InputError(f"{path} was written by another version of openmm_nemo: {remedy}")
            names = _TENSORS[metadata["version"]]
            tensors = {name: self._file.get_tensor(name) for name in names}
            if arrays_digest(tensors) != metadata["sha256"]:
                raise InputError(f"{path} is damaged (its checksum is wrong): {remedy}")
            self._offset = tensors["offset"]
            self._records = [_NEW | record for record in json.loads(tensors["records"].tobytes())]
            self._profile_offset = {
                kind: tensors[f"profile_{kind}_offset"]
                for kind in PROFILE_KINDS
                if f"profile_{kind}" in tensors
            }
        except (OSError, SafetensorError, KeyError) as error:
            raise InputError(f"{path} cannot be read ({error}): {remedy}") from None
        self.ids = tuple(record["id"] for record in self._records)
        self.lengths = np.diff(self._offset)

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Domain: ...
    @overload
    def __getitem__(self, index: slice) -> list[Domain]: ...
    def __getitem__(self, index: int | slice) -> Domain | list[Domain]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        record = self._records[index]
        index %= len(self)

        def part(name: str, offset: np.ndarray = self._offset) -> np.ndarray:
            return self._file.get_slice(name)[offset[index] : offset[index + 1]]

        return Domain(
            id=record["id"],
            sequence=part("sequence").tobytes().decode(),
            backbone=part("backbone"),
            dssp=part("dssp").tobytes().decode(),
            residue_ids=tuple(record["residue_ids"].split(" ")),
            breaks=tuple(np.flatnonzero(part("break")).tolist()),
            cath=tuple(record["cath"]),
            scop=tuple(record["scop"]),
            cluster=record["cluster"],
            **{name: record[name] for name in _NEW},
            profiles={
                kind: ColumnFrequencies(part(f"profile_{kind}", offset))
                for kind, offset in self._profile_offset.items()
                if offset[index] < offset[index + 1]
            },
        )

    def __iter__(self) -> Iterator[Domain]:
        return (self[i] for i in range(len(self)))

    def find(self, name: str) -> Domain:
        """Domain with an id.

        Raises
        ------
        InputError
            If there is none.
        """
        if name not in self.ids:
            raise InputError(
                f"{self.path} has no domain {name}: 'openmm-nemo data info' lists its domains."
            )
        return self[self.ids.index(name)]


_NO_ROWS = np.empty((0, len(AMINO_ACIDS)), dtype=np.uint8)


def _letters(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)

"""Sets of domains in one file: safetensors, which is memory-mapped, so that a domain is read without its neighbours.

All residues of all domains are rows of the same tensors; ``offset`` tells where each domain begins. What is not a
number (names, residue numbers, codes) is one piece of JSON.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.errors import InputError
from openmm_nemo.files import arrays_digest, completing

FORMAT = "openmm_nemo domains"
VERSION = "2"

_TENSORS = ("offset", "backbone", "sequence", "dssp", "break", "records")


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
        If there is none, two have the same id, or the file cannot be written.
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
        }
        for domain in domains
    ]
    tensors: dict[str, np.ndarray] = {
        "offset": np.cumsum([0, *map(len, domains)], dtype=np.int64),
        # safetensors writes other layouts wrongly, and says nothing.
        "backbone": np.ascontiguousarray(np.concatenate(backbones, dtype=np.float32)),
        "sequence": _letters("".join(domain.sequence for domain in domains)),
        "dssp": _letters("".join(domain.dssp for domain in domains)),
        "break": np.concatenate(breaks),
        "records": _letters(json.dumps(records)),
    }
    metadata = {"format": FORMAT, "version": VERSION, "sha256": arrays_digest(tensors)}
    try:
        with completing(Path(path)) as partial:
            # Its own writer makes files that nobody else may read.
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
            if metadata["version"] != VERSION:
                raise InputError(f"{path} was written by another version of openmm_nemo: {remedy}")
            tensors = {name: self._file.get_tensor(name) for name in _TENSORS}
            if arrays_digest(tensors) != metadata["sha256"]:
                raise InputError(f"{path} is damaged (its checksum is wrong): {remedy}")
            self._offset = tensors["offset"]
            self._records = json.loads(tensors["records"].tobytes())
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
        start, stop = self._offset[index % len(self)], self._offset[index % len(self) + 1]

        def part(name: str) -> np.ndarray:
            return self._file.get_slice(name)[start:stop]

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
                f"{self.path} has no domain {name}: 'openmm-nemo data info' writes a table of them."
            )
        return self[self.ids.index(name)]


def _letters(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)

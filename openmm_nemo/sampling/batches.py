"""Finished batches of proteins whose ensembles are not complete yet, on disk, so that an interruption loses little.

A folder of ensembles has a hidden folder per such protein, ``.ID.batches``, with one safetensors file per batch, named
by its first sample and the one after its last.
"""

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from openmm_nemo.errors import InputError
from openmm_nemo.files import completing

_NAME = re.compile(r"(\d+)-(\d+)\.safetensors")


class Samples(NamedTuple):
    """Structures in a batch, float32.

    Attributes
    ----------
    x : ndarray, shape (B, L, 3)
        C-alpha positions, Angstrom.
    atoms : ndarray, shape (B, L, 5, 3)
        Angstrom.
    energy : ndarray, shape (B,)
        U at x, kT; zero for a baseline, which has none.
    """

    x: np.ndarray
    atoms: np.ndarray
    energy: np.ndarray


class FinishedBatches:
    """Finished batches of one protein.

    Parameters
    ----------
    folder : path
        Folder of ensembles.
    id : str
        The protein's.
    """

    def __init__(self, folder: str | os.PathLike[str], id: str):
        self.path = Path(folder) / f".{id}.batches"
        self._batches: dict[range, Path] = {}
        for path in sorted(self.path.glob("*")):
            if match := _NAME.fullmatch(path.name):
                self._batches[range(int(match[1]), int(match[2]))] = path

    @property
    def samples(self) -> set[int]:
        """Numbers of the samples."""
        return {k for batch in self._batches for k in batch}

    def add(self, batch: range, samples: Samples) -> None:
        """Write a batch atomically.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        self.path.mkdir(exist_ok=True)
        path = self.path / f"{batch.start}-{batch.stop}.safetensors"
        with completing(path) as partial:
            save_file({k: np.ascontiguousarray(v) for k, v in samples._asdict().items()}, partial)
        self._batches[batch] = path

    def read(self, wanted: range) -> Samples:
        """Read samples, all of which must be there, in their order.

        Raises
        ------
        InputError
            If a file is damaged.
        """
        rows: dict[int, tuple[np.ndarray, ...]] = {}
        for batch, path in self._batches.items():
            try:
                found = load_file(path)
                arrays = [found[name] for name in Samples._fields]
                rows |= dict(zip(batch, zip(*arrays, strict=True), strict=True))
            except (OSError, SafetensorError, KeyError, ValueError):
                raise InputError(
                    f"{path} is damaged: remove it and rerun the same command."
                ) from None
        return Samples(*map(np.stack, zip(*(rows[k] for k in wanted), strict=True)))

    def remove(self) -> None:
        """Remove all batches."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._batches.clear()


def remove_batches(folder: Path) -> None:
    """Remove the batches of all proteins."""
    for path in folder.glob(".*.batches"):
        shutil.rmtree(path, ignore_errors=True)

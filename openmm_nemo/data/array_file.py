"""Files of numpy arrays (.npz), read without unpickling; each array is checked when it is read."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from openmm_nemo.errors import InputError

# numpy and zipfile raise many kinds of errors for files that are damaged, encrypted or something else.
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


class ArrayFile:
    """Arrays in a file, read on request. docs/data-format.md describes such files.

    Parameters
    ----------
    path : Path

    Attributes
    ----------
    names : set of str

    Raises
    ------
    InputError
        If it cannot be read.
    """

    def __init__(self, path: Path):
        self.path = path
        with self._reading():
            file = np.load(path, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array")
        self._file = file
        self.names = set(file.files)

    def column(self, name: str, kinds: str, shape: tuple[int | None, ...] | None = None) -> Any:
        """Read an array.

        Parameters
        ----------
        name : str
        kinds : str
            Letters of the numpy dtype kinds that it may have.
        shape : tuple, optional
            Shape that it must have; None stands for any length.

        Raises
        ------
        InputError
            If it is missing, cannot be read, or has another type or shape.
        """
        if name not in self.names:
            raise InputError(
                f"{self.path} has no {name!r}: see docs/data-format.md for what it needs."
            )
        with self._reading():
            array = self._file[name]
        wrong = shape is not None and (
            array.ndim != len(shape)
            or any(n not in (m, None) for m, n in zip(array.shape, shape, strict=True))
        )
        if array.dtype.kind not in kinds or wrong:
            raise InputError(
                f"{name!r} of {self.path} is {array.dtype} of shape {array.shape}: "
                "see docs/data-format.md for what it must be."
            )
        return array

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except _UNREADABLE as error:
            raise InputError(
                f"{self.path} is not a .npz file that can be read to its end ({error}): get it again."
            ) from None

    def ends(self) -> np.ndarray:
        """End of each domain in the rows of all, from ``length``; shape (n,), int64.

        Raises
        ------
        InputError
            If there is no ``length`` or it is not one positive number per domain.
        """
        lengths = self.column("length", "iu")
        if lengths.ndim != 1 or not len(lengths) or (lengths < 1).any():
            raise InputError(
                f"'length' of {self.path} is not one positive number per domain: correct it."
            )
        return np.cumsum(lengths, dtype=np.int64)

"""Files: how they appear, what may name them, and digests of what is in them."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np


def partial_of(path: Path) -> Path:
    """What a file is named until it is complete: NAME.partial.EXT, because extensions tell libraries the format."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


@contextmanager
def completing(path: Path) -> Iterator[Path]:
    """Give the file to write in place of ``path``, which it becomes, replacing any other, when all went well.

    If not, it is removed.
    """
    partial = partial_of(path)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def can_name_a_file(name: str) -> bool:
    """Tell if this is not empty, without slashes, dot at the front and signs that cannot be printed."""
    return bool(name) and name.isprintable() and name[0] != "." and not set("/\\") & set(name)


def json_digest(values: Any) -> str:
    """SHA-256 of what JSON keeps of the values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of arrays, their names, types and shapes, in this order."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()

"""Reading, atomic writing, valid names and digests of files."""

import csv
import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from openmm_nemo.errors import InputError


def partial_of(path: Path) -> Path:
    """Name of a file until it is complete: NAME.partial.EXT, because libraries infer the format from the extension."""
    return path.with_name(f"{path.stem}.partial{path.suffix}")


@contextmanager
def completing(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write, which replaces ``path`` on success and is removed on failure."""
    partial = partial_of(path)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file, with six digits of floats; it appears when it is complete."""
    with completing(path) as partial, open(partial, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in row])


def can_name_a_file(name: str) -> bool:
    """Whether a name is not empty and has no slashes, leading dot or unprintable characters."""
    return bool(name) and name.isprintable() and name[0] != "." and not set("/\\") & set(name)


def file_name_of(name: str) -> str:
    """A name for files that is safe in shells, too: all but letters, digits and ``_.+=,@-`` becomes ``_``."""
    return re.sub(r"^[.-]|[^\w.+=,@-]", "_", name)


def read_text(path: Path) -> str:
    """Text of a plain or gzipped file."""
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: check the file name.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: give a file in it.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read to its end ({error}): get it again.") from None
    return content.decode("utf-8-sig", errors="replace")


def json_digest(values: Any) -> str:
    """SHA-256 of the values as JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def arrays_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of arrays with their names, types and shapes, in this order."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()

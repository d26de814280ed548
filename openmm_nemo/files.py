"""Files that appear when they are complete."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


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

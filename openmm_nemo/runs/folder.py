"""A run folder: the record of the settings of the run, and the lock that keeps two runs out of one folder.

The verbs that write a folder and can be interrupted (``simulate``, ``sample`` and ``train``) all use it.
"""

import errno
import fcntl
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from openmm_nemo.errors import InputError
from openmm_nemo.files import completing, json_digest

FORMAT_VERSION = 2
"""Version of newly written records. Version 1 had no digest."""

LOCK_FILE = ".lock"

RECORDS = ("run.json", "series.json", "sampling.json", "settings.json")
"""Records of all kinds of runs."""

START_ANEW = "start a new run with another --out"

SHOWN_CHANGES = 5

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of file systems without locks."""

T = TypeVar("T")


@dataclass(frozen=True)
class RunKind:
    """How a verb uses its run folders.

    Attributes
    ----------
    record : str
        Name of the record, a JSON file.
    resume : str
        What the user must give to continue a run.
    marker : str, optional
        File whose presence means that a folder holds a run. Default: the record.
    oldest : int
        Oldest version of the record that can still be read.
    """

    record: str
    resume: str = "--resume"
    marker: str = ""
    oldest: int = 1


class RunFolder:
    """A folder that only one run at a time may write.

    Parameters
    ----------
    path : Path
        Need not exist.
    kind : RunKind
    """

    def __init__(self, path: Path, kind: RunKind):
        self.path = path
        self.kind = kind

    @property
    def holds_run(self) -> bool:
        """Whether there is a run in the folder."""
        return (self.path / (self.kind.marker or self.kind.record)).exists()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs out of the folder, which is made if it does not exist and removed if it stays empty.

        The operating system releases the lock when the process ends, however it ends. On file systems without locks,
        the run proceeds without one.

        Raises
        ------
        InputError
            If the folder is in use by another run or cannot be written.
        """
        with self.writing():
            made = [place for place in (self.path, *self.path.parents) if not place.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = self._locked_file()
        try:
            yield
        finally:
            # Before the lock is released: afterwards, the file may belong to the next run.
            with suppress(OSError):
                (self.path / LOCK_FILE).unlink()
            os.close(descriptor)
            with suppress(OSError):
                for place in made:
                    place.rmdir()

    def _locked_file(self) -> int:
        """File descriptor that holds the lock."""
        path = self.path / LOCK_FILE
        while True:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                raise OSError(error.errno, os.strerror(error.errno or 0), str(self.path)) from None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = _read_owner(descriptor)
                os.close(descriptor)
                raise InputError(
                    f"{self.path} is in use by another run{owner}: wait until it ends, or give another --out."
                ) from None
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    os.close(descriptor)
                    raise
            if _is_file(descriptor, path):
                break
            os.close(descriptor)  # the previous run has just removed it
        with suppress(OSError):  # a full disk does not matter
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {platform.node()}\n".encode(), 0)
        return descriptor

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn errors of the file system into `InputError`."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{error.filename or self.path} cannot be written ({error.strerror or error}): fix this or give "
                f"another --out; {self.kind.resume} continues a run that had begun."
            ) from error

    def check_new(self, names: Iterable[str] = ()) -> None:
        """Raise InputError if the folder holds a run of any kind, or one of the files ``names``."""
        with self.writing():
            taken = [name for name in names if (self.path / name).exists()]
            if self.holds_run:
                raise InputError(
                    f"{self.path} already holds a run: give {self.kind.resume} to continue it, or another --out."
                )
            others = [r for r in RECORDS if r != self.kind.record and (self.path / r).exists()]
        if others:
            raise InputError(
                f"{self.path} already holds another run ({others[0]}): give another --out."
            )
        if taken:
            raise InputError(f"{self.path / taken[0]} already exists: give another --out.")

    def check_resumable(self) -> None:
        """Raise InputError unless the folder holds a run."""
        if not self.holds_run:
            raise InputError(
                f"{self.path} holds no run to resume: leave {self.kind.resume} out to start one."
            )

    def check_settings(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Raise InputError, naming the changes, if settings differ from those that the run was started with."""
        # As JSON represents them.
        changes = list(_changes(before, json.loads(json.dumps(now))))
        if changes:
            shown = ", ".join(islice(changes, SHOWN_CHANGES))
            more = f" and {len(changes) - SHOWN_CHANGES} more" * (len(changes) > SHOWN_CHANGES)
            raise InputError(
                f"The run in {self.path} was started with {shown}{more}: keep these, or give another --out."
            )

    def check_model(self, before: str, now: str, name: str) -> None:
        """Raise InputError if the fingerprint of the model ``name`` differs from that at the start of the run."""
        if before != now:
            raise InputError(
                f"The model {name!r} has changed since the run in {self.path} began: {START_ANEW}."
            )

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically."""
        with completing(self.path / name) as partial:
            partial.write_bytes(content)

    def write_record(self, values: Mapping[str, Any]) -> None:
        """Write the record, with its version and digest."""
        record = {"format_version": FORMAT_VERSION, **values}
        record["sha256"] = json_digest(record)
        self.write(self.kind.record, json.dumps(record, indent=1).encode())

    def read_record(self, parse: Callable[[dict[str, Any]], T], remedy: str = START_ANEW) -> T:
        """Read the record.

        Parameters
        ----------
        parse : callable
            Turns the values into what is returned.
        remedy : str
            What the user should do if the record cannot be read.

        Raises
        ------
        InputError
            If there is no record, or it cannot be read or parsed, has changed since it was written, or was written by a
            version whose records this one cannot read.
        """
        path = self.path / self.kind.record
        try:
            values = json.loads(path.read_bytes())
            version = dict(values).pop("format_version", 1)
            if not self.kind.oldest <= version <= FORMAT_VERSION:
                raise InputError(f"{path} was written by another version of openmm_nemo: {remedy}.")
            if version > 1 and values.pop("sha256") != json_digest(values):
                raise InputError(f"{path} has changed since it was written: {remedy}.")
            return parse(values)
        except InputError:
            raise
        except OSError as error:
            _cannot_be_read(path, error.strerror or str(error), remedy)
        except KeyError as error:
            _cannot_be_read(path, f"{error} is missing", remedy)
        except (ValueError, TypeError, AttributeError) as error:
            _cannot_be_read(path, " ".join(str(error).split())[:200], remedy)


def _cannot_be_read(path: Path, reason: str, remedy: str) -> NoReturn:
    raise InputError(f"{path} cannot be read ({reason}): {remedy}.") from None


def _read_owner(descriptor: int) -> str:
    """The process that holds the lock, in parentheses; empty if it has not been written yet."""
    pid, _, node = os.pread(descriptor, 300, 0).decode(errors="replace").strip().partition(" ")
    if not pid:
        return ""
    return f" (process {pid})" if node == platform.node() else f" (process {pid} on {node})"


def _is_file(descriptor: int, path: Path) -> bool:
    """Whether a path still refers to the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _changes(before: Any, now: Any, name: str = "") -> Iterator[str]:
    """Differences between JSON values, as text."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in {**before, **now}:
            yield from _changes(before.get(key), now.get(key), f"{name}.{key}".lstrip("."))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for k, pair in enumerate(zip(before, now, strict=True)):
            yield from _changes(*pair, f"{name}.{k}")
    elif before != now:
        yield f"{name} {before} instead of {now}"

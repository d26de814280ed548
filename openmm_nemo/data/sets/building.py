"""From files of structures to a set of domains on disk: in parallel, resumable, and no bad file stops the others."""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openmm_nemo.data.failures import Failure
from openmm_nemo.data.sets.domains import Domain, domain_of
from openmm_nemo.data.sets.json_lines import read_json_lines
from openmm_nemo.data.sets.labels import Labels, with_labels
from openmm_nemo.data.sets.storage import DomainSet, write_domains
from openmm_nemo.data.structures.chains import read_chains
from openmm_nemo.data.structures.parsing import FORMATS
from openmm_nemo.errors import InputError
from openmm_nemo.files import completing
from openmm_nemo.processes import run_tasks
from openmm_nemo.residues import MIN_LENGTH

SET_FILE = "domains.safetensors"
FAILURES_FILE = "failures.csv"
PARTS_FOLDER = "parts"

JSON_SUFFIX = ".jsonl"


class Built(NamedTuple):
    """Outcome of `build_set`.

    Attributes
    ----------
    n_domains : int
        In the set.
    failures : list of Failure
        What is not in it, and why.
    """

    n_domains: int
    failures: list[Failure]


class Sources(NamedTuple):
    """Files to read, see `source_files`.

    Attributes
    ----------
    files : list of Path
    others : list of Path
        Files in the folders that are something else by their names.
    """

    files: list[Path]
    others: list[Path]


def source_files(inputs: Sequence[Path]) -> Sources:
    """Files named by ``inputs``: themselves, and those below folders that can be structures or JSON lines.

    Of a folder, that is files with the extensions of these, which may be gzipped, and with none, as those of CATH's and
    ASTRAL's domains.

    Raises
    ------
    InputError
        If one does not exist, or there is no file.
    """
    files: dict[str, Path] = {}
    others: dict[str, Path] = {}
    for path in inputs:
        if os.path.isdir(path):
            for file in _files_below(path):
                readable = _suffix(file) is not None or not file.suffix or os.path.isdir(file)
                (files if readable else others).setdefault(os.path.abspath(file), file)
        elif os.path.exists(path):
            files.setdefault(os.path.abspath(path), path)
        else:
            raise InputError(f"{path} is not there: give files or folders of structures.")
    if not files:
        kinds = ", ".join((*structure_suffixes(), JSON_SUFFIX))
        raise InputError(f"{inputs[0]} has no file that ends in {kinds} or these with .gz.")
    return Sources(list(files.values()), [others[key] for key in others if key not in files])


def read_source(path: Path) -> tuple[list[Domain], list[Failure]]:
    """Domains of a file, and what could not be read."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder that may not be read: ask for permission.")
        if _suffix(path) != JSON_SUFFIX:
            structures, failures = read_chains(path)
            return [domain_of(structure) for structure in structures], failures
        found = list(read_json_lines(path))
    except InputError as error:
        return [], [Failure(str(path), str(error))]
    domains = [item for item in found if isinstance(item, Domain)]
    failures = [item for item in found if isinstance(item, Failure)]
    if not domains:  # another kind of file, most likely
        why = failures[0].reason if failures else "it is empty"
        return [], [Failure(str(path), f"none of its {len(failures)} lines is a domain: {why}")]
    return domains, failures


def build_set(
    inputs: Sequence[Path],
    out: Path,
    workers: int | None = None,
    tell: Callable[[int], None] = lambda count: None,
    labels: Labels | None = None,
) -> Built:
    """Read files and write a set of domains.

    What has been read is kept in ``out/parts`` until the set is complete, so that an interrupted build goes on.

    Parameters
    ----------
    inputs : sequence of Path
        Files and folders, see `source_files`.
    out : Path
        Folder; made if it does not exist. A set in it is replaced when the new one is complete.
    workers : int, optional
        Processes. Default: one for each processor.
    tell : callable
        Told the number of files that have been read, from time to time.
    labels : Labels, optional
        CATH and SCOP codes, in place of those in the files.

    Returns
    -------
    Built

    Raises
    ------
    InputError
        If there is nothing to read, nothing could be read, the labels name domains that are not there, or the folder
        cannot be written.
    """
    files = source_files(inputs).files
    parts = out / PARTS_FOLDER
    try:
        parts.mkdir(parents=True, exist_ok=True)
        places = [_part_of(file, parts) for file in files]
        missing = [pair for pair in zip(files, places, strict=True) if not _done(pair[1]).exists()]
        tell(len(files) - len(missing))
        with closing(run_tasks(_read_part, missing, workers)) as done:
            for count, _ in enumerate(done, start=len(files) - len(missing) + 1):
                tell(count)
        domains, failures = _gather(files, places)
        if not domains:
            reasons = "; ".join(failure.reason for failure in failures[:3])
            raise InputError(f"None of {len(files)} files could be read: {reasons}")
        write_domains(out / SET_FILE, with_labels(domains, labels) if labels else domains)
        _write_failures(out / FAILURES_FILE, failures)
        shutil.rmtree(parts)
    except BrokenProcessPool:
        raise InputError(
            "A process that reads files was killed (memory may be short): run the same command again, it goes on."
        ) from None
    except OSError as error:
        raise InputError(
            f"{error.filename or out} cannot be written ({error.strerror}): choose another --out."
        ) from None
    return Built(len(domains), failures)


def _files_below(folder: Path) -> list[Path]:
    """All files in a folder and its folders, links included; and folders that may not be read."""
    files: list[Path] = []
    seen = set()
    walk = os.walk(folder, onerror=lambda e: files.append(Path(e.filename)), followlinks=True)
    for place, folders, names in walk:
        real = os.path.realpath(place)
        if real in seen:  # links may lead in circles
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        files += [Path(place, name) for name in names]
    return sorted(files)


def structure_suffixes() -> tuple[str, ...]:
    """Endings of the names of structure files."""
    return tuple(suffix for kind in FORMATS.values() for suffix in kind.suffixes)


def _suffix(path: Path) -> str | None:
    """What the name says that a file is, or None."""
    name = path.name.lower().removesuffix(".gz")
    return next((s for s in (*structure_suffixes(), JSON_SUFFIX) if name.endswith(s)), None)


def _part_of(file: Path, parts: Path) -> Path:
    """Where the domains of a file are kept; another place if the file changes."""
    key = os.path.abspath(file)
    with suppress(OSError):  # who reads it will tell
        status = file.stat()
        key += f" {status.st_size} {status.st_mtime_ns}"
    return parts / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:20]}.safetensors"


def _done(part: Path) -> Path:
    """Written last: what could not be read of a file that has been read."""
    return part.with_suffix(".json")


def _read_part(file: Path, part: Path) -> None:
    domains, failures = read_source(file)
    unique: dict[str, Domain] = {}
    for domain in domains:
        if np.diff(domain.segments).max() < MIN_LENGTH:
            reason = f"{domain.id} has no {MIN_LENGTH} residues without a break"
            failures.append(Failure(str(file), reason))
            continue
        if domain.id in unique:
            failures.append(Failure(str(file), f"it has {domain.id} twice; the first was taken"))
        unique.setdefault(domain.id, domain)
    if unique:
        write_domains(part, unique.values())
    with completing(_done(part)) as partial:
        partial.write_text(json.dumps({"failures": failures, "n_domains": len(unique)}))


def _gather(files: list[Path], places: list[Path]) -> tuple[list[Domain], list[Failure]]:
    """All domains, each id once, and all failures, in the order of the files."""
    domains: dict[str, Domain] = {}
    failures: list[Failure] = []
    for file, part in zip(files, places, strict=True):
        try:
            found, lost = _load_part(part)
        except ValueError:  # of another version, or damaged when the machine went down
            _read_part(file, part)
            found, lost = _load_part(part)
        failures += lost
        for domain in found:
            if domain.id in domains:
                reason = f"another file has {domain.id}, too, and was taken"
                failures.append(Failure(str(file), reason))
            domains.setdefault(domain.id, domain)
    return list(domains.values()), failures


def _load_part(part: Path) -> tuple[list[Domain], list[Failure]]:
    record = json.loads(_done(part).read_text())
    domains = list(DomainSet(part)) if record["n_domains"] else []
    return domains, [Failure(*failure) for failure in record["failures"]]


def _write_failures(path: Path, failures: list[Failure]) -> None:
    # Names of files may be any bytes.
    options: Any = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
    with completing(path) as partial, open(partial, "w", **options) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Failure._fields)
        writer.writerows(failures)

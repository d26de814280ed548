"""Build a set of domains from files of structures: in parallel, resumable, and bad files do not stop the others."""

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openmm_nemo.data.failures import Failure
from openmm_nemo.data.families.profiles import PROFILE_KINDS
from openmm_nemo.data.sets import arrays
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

CHUNK = 2000
"""Number of domains read at a time from a file of arrays."""


class Built(NamedTuple):
    """Outcome of `build_set`.

    Attributes
    ----------
    n_domains : int
        Number of domains in the set.
    failures : list of Failure
        What is not in the set, and why.
    n_profiles : dict of str to int
        Number of domains with a profile of each kind.
    """

    n_domains: int
    failures: list[Failure]
    n_profiles: dict[str, int]


class Sources(NamedTuple):
    """Files to read, see `source_files`.

    Attributes
    ----------
    files : list of Path
    others : list of Path
        Files in the folders whose names say that they are something else.
    """

    files: list[Path]
    others: list[Path]


class Task(NamedTuple):
    """A unit of reading: a file, or some domains of a file of arrays.

    Attributes
    ----------
    file : Path
    first, last : int, optional
        For a file of structures as arrays: range of domains, excluding ``last``.
    profiles : Path, optional
        File with the profiles of these domains.
    """

    file: Path
    first: int = 0
    last: int | None = None
    profiles: Path | None = None


class Plan(NamedTuple):
    """What a build is going to read, see `plan_of`.

    Attributes
    ----------
    tasks : list of Task
    profiles : list of Path
        Files of profiles for domains in other files.
    """

    tasks: list[Task]
    profiles: list[Path]


def source_files(inputs: Sequence[Path]) -> Sources:
    """Files given by ``inputs``: themselves, and those below folders that can be structures, JSON lines or arrays.

    In folders, these are files with the extensions of these formats, optionally gzipped, and files without extension,
    such as the domains of CATH and ASTRAL.

    Raises
    ------
    InputError
        If one does not exist, or there are no files.
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
            raise InputError(f"{path} does not exist: give files or folders of structures.")
    if not files:
        kinds = ", ".join((*structure_suffixes(), JSON_SUFFIX, arrays.SUFFIX))
        raise InputError(f"{inputs[0]} has no file that ends in {kinds} or these with .gz.")
    return Sources(list(files.values()), [others[key] for key in others if key not in files])


def plan_of(files: Sequence[Path]) -> Plan:
    """Divide the work: split large files of arrays, and assign files of profiles to their domains.

    Profiles with the ids of a file of structures, in the same order, belong to it; others belong to domains in any
    file.
    """
    contents: dict[Path, str] = {}
    for file in files:
        if file.name.lower().endswith(arrays.SUFFIX):
            with suppress(InputError):  # the task that reads it reports the reason
                contents[file] = arrays.content_of(file)
    ids = {file: arrays.read_ids(file) for file in contents}
    tasks: list[Task] = []
    profiles = [file for file in files if contents.get(file) == arrays.PROFILES]
    for file in files:
        if contents.get(file) == arrays.STRUCTURES:
            own = next((other for other in profiles if ids[other] == ids[file]), None)
            starts = range(0, len(ids[file]), CHUNK)
            tasks += [Task(file, start, start + CHUNK, own) for start in starts]
        elif file not in profiles:
            tasks.append(Task(file))
    used = {task.profiles for task in tasks}
    return Plan(tasks, [file for file in profiles if file not in used])


def read_source(path: Path) -> tuple[list[Domain], list[Failure]]:
    """Domains of a file, and failures."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder that may not be read: ask for permission.")
        if _suffix(path) == arrays.SUFFIX:
            arrays.content_of(path)  # reports what else it is
            return _sorted(arrays.read_structures(path))
        if _suffix(path) != JSON_SUFFIX:
            structures, failures = read_chains(path)
            return [domain_of(structure) for structure in structures], failures
        found = list(read_json_lines(path))
    except InputError as error:
        return [], [Failure(str(path), str(error))]
    domains, failures = _sorted(found)
    if not domains:  # most likely another kind of file
        why = failures[0].reason if failures else "it is empty"
        return [], [Failure(str(path), f"none of its {len(failures)} lines is a domain: {why}")]
    return domains, failures


def build_set(
    inputs: Sequence[Path],
    out: Path,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda count: None,
    labels: Labels | None = None,
) -> Built:
    """Read files and write a set of domains.

    What has been read is kept in ``out/parts`` until the set is complete, so that an interrupted build can continue.

    Parameters
    ----------
    inputs : sequence of Path
        Files and folders, see `source_files`.
    out : Path
        Folder, made if it does not exist. A set in it is replaced when the new one is complete.
    workers : int, optional
        Number of processes. Default: one per processor.
    progress : callable
        Called with the number of tasks (see `plan_of`) done so far, from time to time.
    labels : Labels, optional
        CATH and SCOP codes, which replace those in the files.

    Returns
    -------
    Built

    Raises
    ------
    InputError
        If there is nothing to read, nothing could be read, the labels name domains that do not exist, or the folder
        cannot be written.
    """
    tasks, profiles = plan_of(source_files(inputs).files)
    parts = out / PARTS_FOLDER
    try:
        parts.mkdir(parents=True, exist_ok=True)
        places = [_part_of(task, parts) for task in tasks]
        missing = [pair for pair in zip(tasks, places, strict=True) if not _done(pair[1]).exists()]
        progress(len(tasks) - len(missing))
        with closing(run_tasks(_read_part, missing, workers)) as done:
            for count, _ in enumerate(done, start=len(tasks) - len(missing) + 1):
                progress(count)
        domains, failures = _gather(tasks, places, profiles)
        if not domains:
            reasons = "; ".join(failure.reason for failure in failures[:3])
            n_files = len({task.file for task in tasks})
            raise InputError(f"None of {n_files} files could be read: {reasons}")
        if labels:
            domains = list(with_labels(domains, labels))
        write_domains(out / SET_FILE, domains)
        _write_failures(out / FAILURES_FILE, failures)
        shutil.rmtree(parts)
    except BrokenProcessPool:
        raise InputError(
            "A process that reads files was killed (perhaps out of memory): rerun the same command to continue."
        ) from None
    except OSError as error:
        raise InputError(
            f"{error.filename or out} cannot be written ({error.strerror}): choose another --out."
        ) from None
    return Built(
        len(domains),
        failures,
        {kind: sum(kind in domain.profiles for domain in domains) for kind in PROFILE_KINDS},
    )


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
    """Suffixes of structure files."""
    return tuple(suffix for kind in FORMATS.values() for suffix in kind.suffixes)


def _suffix(path: Path) -> str | None:
    """Kind of file according to its name, or None."""
    name = path.name.lower().removesuffix(".gz")
    suffixes = (*structure_suffixes(), JSON_SUFFIX, arrays.SUFFIX)
    return next((s for s in suffixes if name.endswith(s)), None)


def _part_of(task: Task, parts: Path) -> Path:
    """File in which the domains of a task are kept; a different one if a source file changes."""
    key = f"{task.first} {task.last}"
    for file in filter(None, (task.file, task.profiles)):
        key += f" {os.path.abspath(file)}"
        with suppress(OSError):  # the task that reads it reports the reason
            status = file.stat()
            key += f" {status.st_size} {status.st_mtime_ns}"
    return parts / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:20]}.safetensors"


def _done(part: Path) -> Path:
    """File with the failures of a task, written last."""
    return part.with_suffix(".json")


def _read_part(task: Task, part: Path) -> None:
    domains, failures = _read_task(task)
    unique: dict[str, Domain] = {}
    for domain in domains:
        if np.diff(domain.segments).max() < MIN_LENGTH:
            reason = f"{domain.id} has no {MIN_LENGTH} residues without a break"
            failures.append(Failure(str(task.file), reason))
            continue
        if domain.id in unique:
            failures.append(
                Failure(str(task.file), f"it has {domain.id} twice; the first one was taken")
            )
        unique.setdefault(domain.id, domain)
    if unique:
        write_domains(part, unique.values())
    with completing(_done(part)) as partial:
        partial.write_text(json.dumps({"failures": failures, "n_domains": len(unique)}))


def _read_task(task: Task) -> tuple[list[Domain], list[Failure]]:
    if task.last is None:
        return read_source(task.file)
    try:
        return _sorted(arrays.read_structures(task.file, task.first, task.last, task.profiles))
    except InputError as error:
        return [], [Failure(str(task.file), str(error))]


def _sorted(found: Iterable[Domain | Failure]) -> tuple[list[Domain], list[Failure]]:
    items = list(found)
    return (
        [item for item in items if isinstance(item, Domain)],
        [item for item in items if isinstance(item, Failure)],
    )


def _gather(
    tasks: list[Task], places: list[Path], profiles: list[Path]
) -> tuple[list[Domain], list[Failure]]:
    """All domains, each id once, with their profiles, and all failures, in the order of the files."""
    found: list[tuple[Task, Domain]] = []
    failures: list[Failure] = []
    for task, part in zip(tasks, places, strict=True):
        try:
            domains, lost = _load_part(part)
        except ValueError:  # from another version, or damaged when the machine went down
            _read_part(task, part)
            domains, lost = _load_part(part)
        failures += lost
        found += [(task, domain) for domain in domains]
    originals = {domain.id for _, domain in found if not domain.same_as}
    taken: dict[str, Domain] = {}
    others: set[str] = set()  # domains that may have a profile in a file of profiles
    repeated: list[Failure] = []
    for task, domain in found:
        if domain.same_as in originals:
            reason = f"{domain.id} is the same as {domain.same_as}, which was taken"
            repeated.append(Failure(str(task.file), reason))
        elif domain.id in taken:
            reason = f"another file also has {domain.id} and was taken"
            failures.append(Failure(str(task.file), reason))
        else:
            taken[domain.id] = domain
            if task.last is None:
                others.add(domain.id)
    for path in profiles:
        failures += _add_profiles(taken, others, path)
    return list(taken.values()), failures + repeated


def _add_profiles(domains: dict[str, Domain], names: set[str], path: Path) -> list[Failure]:
    """Give the named domains the profiles and clusters in a file; return what does not fit."""
    try:
        records = arrays.read_profile_records(path)
    except InputError as error:
        return [Failure(str(path), str(error))]
    failures = []
    unknown = records.keys() - names
    if unknown:
        reason = f"{len(unknown)} of its {len(records)} profiles belong to no domain, such as {min(unknown)}"
        failures.append(Failure(str(path), reason))
    for name, record in records.items():
        if name not in names:
            continue
        domain = domains[name]
        if record.length != len(domain):
            reason = f"{name} has {len(domain)} residues and a profile of {record.length}"
            failures.append(Failure(str(path), reason))
            continue
        domains[name] = replace(
            domain,
            profiles={**record.profiles, **domain.profiles},
            cluster=record.cluster or domain.cluster,
        )
    return failures


def _load_part(part: Path) -> tuple[list[Domain], list[Failure]]:
    record = json.loads(_done(part).read_text())
    domains = list(DomainSet(part)) if record["n_domains"] else []
    return domains, [Failure(*failure) for failure in record["failures"]]


def _write_failures(path: Path, failures: list[Failure]) -> None:
    # File names may be any bytes.
    options: Any = {"newline": "", "encoding": "utf-8", "errors": "surrogateescape"}
    with completing(path) as partial, open(partial, "w", **options) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Failure._fields)
        writer.writerows(failures)

"""From ensembles on disk to a report: ``openmm-nemo evaluate``."""

import json
from collections.abc import Callable, Generator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import astuple, fields
from pathlib import Path
from typing import NamedTuple

import numpy as np

from openmm_nemo.data.splits import Place, Split
from openmm_nemo.errors import InputError
from openmm_nemo.evaluation.assessment import Assessment, assess
from openmm_nemo.evaluation.figures import draw_pictures
from openmm_nemo.evaluation.report import PROTEINS_FILE, Table, write_report
from openmm_nemo.evaluation.tables import (
    TRAIN,
    Row,
    table_by_clusters,
    table_by_level,
    write_assessments,
)
from openmm_nemo.evaluation.tm_align import pairwise_tm
from openmm_nemo.files import write_table
from openmm_nemo.processes import run_tasks
from openmm_nemo.sampling.ensembles import ensemble_ids, read_ensemble
from openmm_nemo.sampling.sampling import RECORD_FILE

REPORT_FILE = "report.html"
TABLE_FILE = "table.csv"

NAMED = 5
"""Maximum number of proteins that a note names."""


class Evaluation(NamedTuple):
    """Outcome of `evaluate`.

    Attributes
    ----------
    assessments : list of Assessment
        Assessments of the proteins that could be assessed, in the order of their ids.
    rows : list of Row
        Rows by level; the first is the total.
    notes : list of str
        What a reader of the figures needs to know, one sentence each.
    """

    assessments: list[Assessment]
    rows: list[Row]
    notes: list[str]


class _Task(NamedTuple):
    """A protein to assess."""

    samples: Path
    id: str
    level: str
    identity: float


def evaluate(
    samples: Path,
    out: Path,
    split: Path | None = None,
    workers: int | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Evaluation:
    """Assess all ensembles in a folder and write report, tables and figures.

    An ensemble that cannot be assessed is left out, and a note says so.

    Parameters
    ----------
    samples : Path
        Folder of ensembles, see `openmm_nemo.sampling.ensembles`.
    out : Path
        Folder, made if it does not exist. Writes report.html, proteins.csv, table.csv and the figures; each appears
        when it is complete.
    split : Path, optional
        File of an `openmm_nemo.data.splits.Split`, which has levels and identities.
    workers : int, optional
        Number of processes. Default: one per processor. 1: this process.
    progress : callable
        Called with the number of proteins assessed so far, from time to time.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        If there are no ensembles, none can be assessed or none is in the split, TM-align is missing, the folder cannot
        be written, or a process was killed.
    """
    ids = ensemble_ids(samples)
    if not ids:
        raise InputError(
            f"{samples} has no ensembles: give a folder that 'openmm-nemo sample' wrote."
        )
    pairwise_tm(np.empty((0, 4, 3)))  # fails now if TM-align is missing
    tasks, notes = _tasks(samples, ids, split)
    try:
        out.mkdir(parents=True, exist_ok=True)
        assessments, failures = [], {}
        with closing(_assess_all(tasks, workers)) as results:
            for count, (id, outcome) in enumerate(results, start=1):
                if isinstance(outcome, str):
                    failures[id] = outcome
                else:
                    assessments.append(outcome)
                progress(count)
        if not assessments:
            reasons = "; ".join(list(failures.values())[:3])
            raise InputError(f"None of {len(ids)} ensembles could be assessed: {reasons}")
        assessments.sort(key=lambda a: a.id)
        left_out = sorted(failures.items())
        notes += [f"{id} is left out: {reason}" for id, reason in left_out[:NAMED]]
        notes += _about([id for id, _ in left_out[NAMED:]], "Also left out for such reasons")
        notes += _about([a.id for a in assessments if a.native is None], "Without native structure")
        evaluation = Evaluation(assessments, table_by_level(assessments), notes)
        _write(out, samples, evaluation)
    except OSError as error:
        raise InputError(
            f"{error.filename or out} cannot be written ({error.strerror}): choose another --out."
        ) from None
    return evaluation


def _tasks(samples: Path, ids: list[str], split: Path | None) -> tuple[list[_Task], list[str]]:
    """What to assess, and notes about proteins missing from the split."""
    if split is None:
        return [_Task(samples, id, "", np.nan) for id in ids], []
    places = Split.read(split).places
    unknown = [id for id in ids if id not in places]
    if unknown == ids:
        raise InputError(
            f"{split} has none of the proteins in {samples}: give the split of the set that they are from."
        )
    tasks = []
    for id in ids:
        place = places.get(id, Place("unused"))
        level = TRAIN if place.part == "train" else place.level
        tasks.append(
            _Task(samples, id, level, np.nan if place.identity is None else place.identity)
        )
    unused = [id for id in ids if id in places and places[id].part == "unused"]
    return tasks, [
        *_about(unknown, f"Not in {split.name}, so their level is unknown"),
        *_about(unused, f"Unused in {split.name}, so they have no level"),
    ]


def _about(ids: Sequence[str], what: str) -> list[str]:
    """A note about proteins; none if there are none."""
    names = ", ".join(ids[:NAMED]) + (f" and {len(ids) - NAMED} more" if len(ids) > NAMED else "")
    return [f"{what}: {names}."] if ids else []


# The files


def _write(out: Path, samples: Path, evaluation: Evaluation) -> None:
    assessments, rows, notes = evaluation
    write_assessments(out / PROTEINS_FILE, assessments)
    write_table(
        out / TABLE_FILE, [field.name for field in fields(Row)], [astuple(row) for row in rows]
    )
    pictures = draw_pictures(assessments)
    for picture in pictures:
        picture.write(out)
    settings, trained = _settings(samples)
    tables = (
        Table("By level of generalization", "level", rows),
        Table("By certainty", "clusters", table_by_clusters(assessments)),
    )
    title = f"Evaluation of {settings.get('model', samples.resolve().name)}"
    if not trained:
        title += " (untrained)"
    about = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())
    write_report(out / REPORT_FILE, assessments, title, tables, pictures, notes, about)


def _settings(samples: Path) -> tuple[dict[str, object], bool]:
    """How the ensembles were sampled, empty if unknown, and whether the model was trained."""
    try:
        record = json.loads((samples / RECORD_FILE).read_bytes())
        return dict(record["settings"]), bool(record["trained"])
    except (OSError, ValueError, TypeError, KeyError):
        return {}, True


def _assess_all(tasks: list[_Task], workers: int | None) -> Generator[tuple[str, Assessment | str]]:
    """Outcome of every task, in any order."""
    try:
        with closing(run_tasks(_assess, [(task,) for task in tasks], workers)) as results:
            for number, outcome in results:
                yield tasks[number].id, outcome
    except BrokenProcessPool:
        raise InputError(
            "A process that compares structures was killed (perhaps out of memory): use fewer --workers."
        ) from None


def _assess(task: _Task) -> Assessment | str:
    """The assessment, or the reason why there is none."""
    try:
        return assess(read_ensemble(task.samples, task.id), task.level, task.identity)
    except InputError as error:
        return str(error)

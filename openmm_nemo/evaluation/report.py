"""The report of an evaluation: one HTML file with tables, figures and structures, which works offline."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from openmm_nemo.evaluation.assessment import Assessment
from openmm_nemo.evaluation.figures import LEVEL_NAMES
from openmm_nemo.evaluation.tables import FOLD_TM, HEADER, TRAIN, Row
from openmm_nemo.geometry import superpose
from openmm_nemo.pages.page import write_page
from openmm_nemo.pages.pictures import Picture
from openmm_nemo.pages.structures import coordinates, facing

PROTEINS_FILE = "proteins.csv"
"""The table of all proteins, next to the page."""

SHOWN_STRUCTURES = 50
SHOWN_ROWS = 1000

_TEMPLATE = Path(__file__).with_name("page") / "report.html"


class Table(NamedTuple):
    """A table of the report.

    Attributes
    ----------
    caption : str
    group : str
        Heading of the first column.
    rows : sequence of Row
    """

    caption: str
    group: str
    rows: Sequence[Row]


class _Column(NamedTuple):
    """A column of the table of proteins."""

    name: str
    meaning: str


_COLUMNS = (
    _Column("Protein", ""),
    _Column("Length", "Residues."),
    _Column("Level", "Level of generalization: C, A, T or H, see above; train: in the training set."),
    _Column("Identity", "Sequence identity to the nearest protein of the training set, %."),
    _Column("Clusters", "Clusters of the ensemble at TM-score 0.5: few where the model is certain."),
    _Column("TM", "TM-score of the representative."),
    _Column("Best TM", "TM-score of the structure of the ensemble that is closest to the native one."),
    _Column("RMSD", "RMSD of the representative, Å."),
    _Column("GDT-TS", "GDT-TS of the representative."),
    _Column("lDDT", "lDDT of the representative."),
    _Column("Contacts", "Fraction of the representative's contacts that are native."),
    _Column("Rg", "Mean radius of gyration of the ensemble, Å."),
    _Column("Native Rg", "Radius of gyration of the native structure, Å."),
)  # fmt: skip


def write_report(
    path: str | os.PathLike[str],
    assessments: Sequence[Assessment],
    title: str,
    tables: Sequence[Table],
    pictures: Sequence[Picture],
    notes: Sequence[str] = (),
    about: str = "",
) -> None:
    """Write the page; it appears when it is complete.

    At most `SHOWN_STRUCTURES` proteins are shown in 3D and `SHOWN_ROWS` listed, spread evenly from the best to the
    worst; the page says so.

    Parameters
    ----------
    path : path
        HTML file to write.
    assessments : sequence of Assessment
        At least one.
    title : str
    tables : sequence of Table
        The first row of the first one is the total.
    pictures : sequence of Picture
        See `openmm_nemo.evaluation.figures.draw_pictures`.
    notes : sequence of str
        What a reader needs to know, one sentence each.
    about : str
        How the ensembles were sampled.
    """
    ranked = rank(assessments)
    shown = spread(ranked, SHOWN_STRUCTURES)
    listed = spread(ranked, SHOWN_ROWS)
    number = {a: k for k, a in enumerate(shown)}
    marks = {ranked[place]: name for name, place in _landmarks(ranked).items()}
    write_page(
        Path(path),
        _TEMPLATE,
        title=title,
        summary=_summary(assessments),
        tiles=_tiles(tables[0].rows[0]),
        notes=notes,
        about=f"Sampled with {about}." if about else "",
        tables=tables,
        header=HEADER[1:],
        pictures=pictures,
        groups=_groups(shown, marks),
        structures_text=_how_many("shown", len(shown), len(ranked)),
        proteins_text=_how_many("listed", len(listed), len(ranked), f"; {PROTEINS_FILE} has all"),
        columns=_COLUMNS,
        rows=[{"number": number.get(a), "cells": _cells(a)} for a in listed],
        data=[_protein(a) for a in shown],
    )


def rank(assessments: Sequence[Assessment]) -> list[Assessment]:
    """Proteins from the highest TM-score of the representative to the lowest; those without a native come last."""
    return sorted(assessments, key=lambda a: -a.representative_tm if _known(a) else np.inf)


def spread(ranked: Sequence[Assessment], limit: int) -> list[Assessment]:
    """At most ``limit`` proteins of a ranking: best, median and worst, and the others evenly spaced."""
    if len(ranked) <= limit:
        return list(ranked)
    marks = set(_landmarks(ranked).values())
    others = [place for place in range(len(ranked)) if place not in marks]
    even = np.linspace(0, len(others) - 1, limit - len(marks)).round().astype(int)
    return [ranked[place] for place in sorted(marks.union(others[k] for k in even))]


def _known(a: Assessment) -> bool:
    return bool(np.isfinite(a.representative_tm))


def _landmarks(ranked: Sequence[Assessment]) -> dict[str, int]:
    """Positions of the best, the median and the worst among those with a TM-score."""
    known = sum(map(_known, ranked))
    return {"best": 0, "median": (known - 1) // 2, "worst": known - 1} if known >= 3 else {}


def _groups(shown: Sequence[Assessment], marks: dict[Assessment, str]) -> list[dict[str, Any]]:
    """Choices of proteins: first best, median and worst, then the others."""
    marked: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for number, a in enumerate(shown):
        tm = _number(a.representative_tm)
        words = ", ".join(filter(None, (tm and f"TM {tm}", marks.get(a))))
        option = {"number": number, "label": f"{a.id} ({words})" if words else a.id}
        (marked if a in marks else others).append(option)
    rest = "Others, from best to worst" if marked else "Proteins"
    groups = (("Best, median and worst", marked), (rest, others))
    return [{"label": label, "proteins": members} for label, members in groups if members]


def _protein(a: Assessment) -> dict[str, Any]:
    """What the page shows of a protein besides the table: facts, and structures in one frame."""
    chains = [np.asarray(x, dtype=float) for x in (a.x, a.native) if x is not None]
    if a.native is not None:
        chains[0] = superpose(*map(torch.from_numpy, chains)).numpy()
    prediction, *native = facing(chains)
    facts = (
        ("Residues", str(len(a.sequence))),
        ("Level", LEVEL_NAMES[a.level] if a.level else ""),
        ("Identity to training", _percent(a.identity)),
        ("TM-score", _number(a.representative_tm)),
        ("Best in ensemble", _number(a.tm.max())),
        ("RMSD", _number(a.rmsd, 2, " Å")),
        ("GDT-TS", _number(a.gdt_ts)),
        ("lDDT", _number(a.lddt)),
        ("Structures", str(len(a.tm))),
        ("Clusters", str(a.n_clusters)),
        ("Largest cluster", str((a.clusters == 0).sum())),
        ("Rg of the ensemble", _number(a.rg.mean(), 1, " Å")),
        ("Rg of the native", _number(a.native_rg, 1, " Å")),
    )
    compared = ", superposed on the native structure" if native else ""
    return {
        "description": f"Predicted C-alpha trace of {a.id}{compared}",
        "facts": [fact for fact in facts if fact[1]],
        "native": coordinates(native[0]) if native else None,
        "prediction": coordinates(prediction),
    }


def _cells(a: Assessment) -> list[str]:
    """Row of the table of proteins, in the order of `_COLUMNS`."""
    return [
        a.id,
        str(len(a.sequence)),
        a.level,
        _number(100 * a.identity, 1),
        str(a.n_clusters),
        _number(a.representative_tm),
        _number(a.tm.max()),
        _number(a.rmsd, 2),
        _number(a.gdt_ts),
        _number(a.lddt),
        _number(a.contact_precision),
        _number(a.rg.mean(), 1),
        _number(a.native_rg, 1),
    ]


def _summary(assessments: Sequence[Assessment]) -> str:
    lengths = [len(a.sequence) for a in assessments]
    sizes = [len(a.tm) for a in assessments]
    proteins = "1 protein" if len(assessments) == 1 else f"{len(assessments)} proteins"
    text = f"{proteins} of {_span(lengths)} residues, {_span(sizes)} structures of each."
    trained = sum(a.level == TRAIN for a in assessments)
    if trained == len(assessments):
        text += " They are all in the training set."
    elif trained:
        text += f" {trained} of them are in the training set: they do not count in the means."
    return text


def _tiles(total: Row) -> list[dict[str, str]]:
    """Large numbers at the top of the page."""
    tiles = (
        ("Proteins", str(total.n_proteins)),
        ("Mean TM-score", _number(total.tm)),
        (f"TM-score above {FOLD_TM}", _percent(total.same_fold)),
        ("Mean number of clusters", _number(total.n_clusters, 1)),
    )
    return [{"label": label, "value": value} for label, value in tiles if value]


def _how_many(verb: str, n: int, total: int, where: str = "") -> str:
    if n == total:
        return "" if n == 1 else f"All {n} proteins are {verb}."
    return f"{n} of {total} proteins are {verb}, spread evenly from the best to the worst{where}."


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _number(value: float, digits: int = 3, unit: str = "") -> str:
    """The value as text; empty where it is unknown."""
    return f"{value:.{digits}f}{unit}" if np.isfinite(value) else ""


def _percent(share: float) -> str:
    return _number(100 * share, 0, "%")

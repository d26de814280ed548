"""Figures of many proteins: by level of generalisation (the paper's Table 1), by certainty, and protein by protein."""

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from openmm_nemo.evaluation.assessment import Assessment
from openmm_nemo.files import completing

TRAIN = "train"
LEVELS = ("C", "A", "T", "H", TRAIN)
CLUSTER_COUNTS = ((1, 3), (4, 10), (11, 30), (31, None))
FOLD_TM = 0.5
"""TM-score above which two structures most likely have the same fold (Xu & Zhang 2010)."""

HEADER = (
    "",
    "proteins",
    "TM",
    "s.e.",
    "TM at lowest U",
    "best TM",
    "mean TM",
    "TM > 0.5",
    "RMSD (Å)",
    "GDT-TS",
    "lDDT",
    "contacts",
    "Rg ratio",
    "clusters",
)
"""Columns of a table, in the order of the fields of `Row`."""

PROTEIN_COLUMNS = (
    "id",
    "level",
    "identity",
    "residues",
    "structures",
    "clusters",
    "largest_cluster",
    "representative",
    "tm",
    "lowest_energy_tm",
    "best_tm",
    "mean_tm",
    "rmsd_angstrom",
    "gdt_ts",
    "lddt",
    "contact_precision",
    "rg_angstrom",
    "mean_rg_angstrom",
    "native_rg_angstrom",
)


@dataclass(frozen=True)
class Row:
    """Means over a group of proteins.

    Each mean is over the proteins for which the value is known; NaN if there are none.

    Attributes
    ----------
    group : str
        "total", a level, or a range of numbers of clusters.
    n_proteins : int
    tm, tm_error : float
        TM-score of the representative to the native, and the standard error of this mean over proteins.
    lowest_tm : float
        TM-score of the structure of lowest energy.
    best_tm, mean_tm : float
        TM-score of the structure closest to the native, and the mean over all structures.
    same_fold : float
        Fraction of proteins whose representative has a TM-score above 0.5.
    rmsd : float
        Angstrom.
    gdt_ts, lddt, contact_precision : float
    rg_ratio : float
        Mean radius of gyration of the ensemble, over that of the native.
    n_clusters : float
    """

    group: str
    n_proteins: int
    tm: float
    tm_error: float
    lowest_tm: float
    best_tm: float
    mean_tm: float
    same_fold: float
    rmsd: float
    gdt_ts: float
    lddt: float
    contact_precision: float
    rg_ratio: float
    n_clusters: float

    def cells(self) -> tuple[str, ...]:
        """Cells under `HEADER`; "-" where a value is unknown."""
        group, n_proteins, *means = astuple(self)
        decimals = [1 if name in ("RMSD (Å)", "clusters") else 3 for name in HEADER[2:]]
        shown = [
            "-" if np.isnan(mean) else f"{mean:.{n}f}"
            for mean, n in zip(means, decimals, strict=True)
        ]
        return (group, str(n_proteins), *shown)


def table_by_level(assessments: Sequence[Assessment]) -> list[Row]:
    """Rows of the paper's Table 1: total, then every level that has proteins.

    Proteins of the training set have a row of their own and do not count in the total.
    """
    rows = [_row("total", [a for a in assessments if a.level != TRAIN])]
    rows += [_row(level, [a for a in assessments if a.level == level]) for level in LEVELS]
    return [row for row in rows if row.n_proteins]


def table_by_clusters(assessments: Sequence[Assessment]) -> list[Row]:
    """Rows by the number of clusters, from the most certain; without the training set (the paper's Figure 4A)."""
    rows = []
    for low, high in CLUSTER_COUNTS:
        name = f"{low} to {high}" if high else f"{low} and more"
        inside = [
            a for a in assessments if a.level != TRAIN and low <= a.n_clusters <= (high or np.inf)
        ]
        rows.append(_row(name, inside))
    return [row for row in rows if row.n_proteins]


def table_lines(rows: Iterable[Row], group: str) -> Iterator[str]:
    """Lines of a table for a terminal, in aligned columns.

    Parameters
    ----------
    rows : iterable of Row
    group : str
        Heading of the first column.
    """
    cells = [(group, *HEADER[1:]), *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *others in cells:
        columns = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join([f"{first:{widths[0]}}", *columns])


def write_assessments(path: str | os.PathLike[str], assessments: Iterable[Assessment]) -> None:
    """Write a CSV file with one line per protein; unknown values are nan.

    rmsd_angstrom and the columns after it describe the representative, except for the mean and the native's radius of
    gyration; largest_cluster is the number of structures in it.

    Parameters
    ----------
    path : path
        An existing file is replaced.
    assessments : iterable of Assessment
    """
    with completing(Path(path)) as partial, open(partial, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PROTEIN_COLUMNS)
        for a in assessments:
            figures = (
                a.representative_tm,
                a.lowest_tm,
                a.tm.max(),
                a.tm.mean(),
                a.rmsd,
                a.gdt_ts,
                a.lddt,
                a.contact_precision,
                a.rg[a.representative],
                a.rg.mean(),
                a.native_rg,
            )
            counts = (
                len(a.sequence),
                len(a.tm),
                a.n_clusters,
                (a.clusters == 0).sum(),
                a.representative,
            )
            numbers = [f"{figure:.6g}" for figure in figures]
            writer.writerow([a.id, a.level, f"{a.identity:.6g}", *counts, *numbers])


def _row(group: str, assessments: Sequence[Assessment]) -> Row:
    tm = np.array([a.representative_tm for a in assessments])
    tm = tm[np.isfinite(tm)]
    return Row(
        group=group,
        n_proteins=len(assessments),
        tm=_mean(tm),
        tm_error=float(tm.std(ddof=1) / np.sqrt(len(tm))) if len(tm) > 1 else np.nan,
        lowest_tm=_mean(a.lowest_tm for a in assessments),
        best_tm=_mean(a.tm.max() for a in assessments),
        mean_tm=_mean(a.tm.mean() for a in assessments),
        same_fold=_mean(tm > FOLD_TM),
        rmsd=_mean(a.rmsd for a in assessments),
        gdt_ts=_mean(a.gdt_ts for a in assessments),
        lddt=_mean(a.lddt for a in assessments),
        contact_precision=_mean(a.contact_precision for a in assessments),
        rg_ratio=_mean(a.rg.mean() / a.native_rg for a in assessments),
        n_clusters=_mean(a.n_clusters for a in assessments),
    )


def _mean(values: Iterable[float]) -> float:
    known = np.array([value for value in values if np.isfinite(value)], dtype=float)
    return float(known.mean()) if len(known) else np.nan

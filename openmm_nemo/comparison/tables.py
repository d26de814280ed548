"""Tables of a comparison: for a terminal, as Markdown and as CSV; see `openmm_nemo.comparison.comparison`."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openmm_nemo.comparison.comparison import (
    FIGURES,
    TESTED,
    Comparison,
    Difference,
    paired_differences,
)
from openmm_nemo.comparison.plots import Dots, plot_dots
from openmm_nemo.data.splits import HELD_OUT, LEVELS
from openmm_nemo.files import completing

GROUPS_FILE = "compare.csv"
WINDOWS_FILE = "windows.csv"
MARKDOWN_FILE = "compare.md"
FIGURE_FILE = "compare.png"

_COLUMNS = {
    "tm": ("TM", 3),
    "rmsd_angstrom": ("RMSD (Å)", 2),
    "rg_ratio": ("Rg ratio", 2),
    "contact_precision": ("contacts", 3),
    "bond_error_angstrom": ("bonds (Å)", 2),
    "shuffled_gap": ("shuffled", 3),
    "swapped_gap": ("swapped", 3),
    "mirror_gap": ("mirror", 3),
    "drift_angstrom": ("drift (Å)", 2),
}
"""Heading and number of decimals of each figure."""

_LEGEND = (
    "Means over windows; with several seeds, their mean and ± their standard deviation. TM and RMSD to the native; Rg "
    "ratio: radius of gyration over that of the native; contacts: precision; bonds: error of the C-alpha distances "
    "along the chain; shuffled, swapped, mirror: loss of TM with the residues in random order, with the sequence of "
    "another window, and for the mirror image; drift: RMSD to the native after the same steps from the native."
)
_TEST_LEGEND = (
    "Differences on the same windows, each group averaged over its seeds first: mean, standard error over windows and "
    "p of a two-sided paired t-test. They say nothing about other seeds: compare with ± above."
)


class Table(NamedTuple):
    """A heading and rows of cells; the first row names the columns."""

    heading: str
    cells: list[tuple[str, ...]]


def tables(comparison: Comparison) -> list[Table]:
    """Tables of the groups, one per part and one per level of the test, then the paired differences.

    Parameters
    ----------
    comparison : Comparison
    """
    found = []
    for part, level in _blocks(comparison):
        inside = comparison.inside([part], level)
        what = f"{part}, new at level {level}" if level else part
        found.append(Table(f"{what}: {inside.sum()} windows", _group_cells(comparison, inside)))
    for part in _parts(comparison):
        inside = comparison.inside([part])
        differences = paired_differences(comparison, inside)
        if differences:
            heading = f"{part}: differences on {inside.sum()} windows"
            found.append(Table(heading, _difference_cells(differences)))
    return found


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Lines of all tables for a terminal, in aligned columns."""
    for heading, cells in tables(comparison):
        yield ""
        yield heading
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for first, *others in cells:
            columns = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
            yield "  ".join([f"{first:{widths[0]}}", *columns])


def write_comparison(folder: Path, comparison: Comparison, title: str) -> None:
    """Write the files of a comparison.

    - compare.csv: means over windows, one line per model, part or level, and number of steps.
    - windows.csv: one line per model, window and number of steps.
    - compare.md: the tables.
    - compare.png: TM-scores and drifts by group.

    Parameters
    ----------
    folder : Path
        Files in it are replaced.
    comparison : Comparison
    title : str
        What was compared, for the Markdown and the plot.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    _write_rows(folder / GROUPS_FILE, _model_rows(comparison))
    _write_rows(folder / WINDOWS_FILE, _window_rows(comparison))
    with completing(folder / MARKDOWN_FILE) as partial:
        partial.write_text("\n".join(_markdown(comparison, title)) + "\n", encoding="utf-8")
    with completing(folder / FIGURE_FILE) as partial:
        plot_dots(_dots(comparison), partial, title)


def _parts(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(window.part for window in comparison.windows))


def _blocks(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """Parts, and levels of the test part."""
    for part in _parts(comparison):
        yield part, ""
        if part == "test":
            for level in LEVELS:
                if comparison.inside([part], level).any():
                    yield part, level


def _rows(comparison: Comparison) -> Iterator[tuple[str, int]]:
    """Groups, and the numbers of steps after which they have structures."""
    for group in comparison.group_names():
        for steps in comparison.steps:
            if comparison.is_known(group, steps):
                yield group, steps


def _group_cells(comparison: Comparison, inside: np.ndarray) -> list[tuple[str, ...]]:
    headings = (heading for heading, _ in _COLUMNS.values())
    cells: list[tuple[str, ...]] = [("model", "steps", "seeds", *headings)]
    for group, steps in _rows(comparison):
        means = {name: comparison.seed_means(name, group, steps, inside) for name in FIGURES}
        shown = [_mean_and_spread(means[name], digits) for name, (_, digits) in _COLUMNS.items()]
        cells.append((group, str(steps), str(len(means["tm"])), *shown))
    return cells


def _mean_and_spread(values: np.ndarray, digits: int) -> str:
    known = values[~np.isnan(values)]
    if not len(known):
        return "-"
    text = f"{known.mean():.{digits}f}"
    return f"{text} ± {known.std(ddof=1):.{digits}f}" if _has_spread(known) else text


def _has_spread(values: np.ndarray) -> bool:
    return len(values) > 1 and bool(np.isfinite(values).all())


def _difference_cells(differences: Iterable[Difference]) -> list[tuple[str, ...]]:
    columns = [word for figure in TESTED for word in (_COLUMNS[figure][0], "s.e.", "p")]
    cells: list[tuple[str, ...]] = [("model", "steps", "minus", "steps", "windows", *columns)]
    for d in differences:
        row = (d.group, str(d.steps), d.other, str(d.other_steps), str(d.n_windows))
        shown = []
        for figure in TESTED:
            digits = _COLUMNS[figure][1] + 1
            mean, error, p = d.tests.get(figure, (np.nan,) * 3)
            shown += [f"{mean:+.{digits}f}", f"{error:.{digits}f}", f"{p:.2g}"]
        cells.append((*row, *("-" if "nan" in number else number for number in shown)))
    return cells


def _markdown(comparison: Comparison, title: str) -> Iterator[str]:
    yield f"# {title}"
    yield ""
    yield _LEGEND
    told = False
    for heading, cells in tables(comparison):
        yield ""
        if cells[0][2] == "minus" and not told:
            told = True
            yield _TEST_LEGEND
            yield ""
        yield f"## {heading}"
        yield ""
        yield _markdown_row(cells[0])
        yield "|---" + "|--:" * (len(cells[0]) - 1) + "|"
        for row in cells[1:]:
            yield _markdown_row(row)


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _model_rows(comparison: Comparison) -> Iterator[Sequence[Any]]:
    yield "group", "seed", "source", "part", "level", "steps", "windows", "not_finite", *FIGURES
    for group, seed, m, k in _models(comparison):
        for part, level in _blocks(comparison):
            inside = comparison.inside([part], level)
            steps = comparison.steps[k]
            broken = np.isinf(comparison.figures["rmsd_angstrom"][m, k, inside]).sum()
            means = [
                comparison.seed_means(name, group, steps, inside)[seed - 1] for name in FIGURES
            ]
            where = group, seed, comparison.sources[m], part, level, steps
            yield *where, inside.sum(), broken, *(f"{mean:.6g}" for mean in means)


def _window_rows(comparison: Comparison) -> Iterator[Sequence[Any]]:
    yield "id", "part", "level", "residues", "group", "seed", "source", "steps", *FIGURES
    for group, seed, m, k in _models(comparison):
        for n, window in enumerate(comparison.windows):
            values = [comparison.figures[name][m, k, n] for name in FIGURES]
            where = window.id, window.part, window.level, len(window.s)
            who = group, seed, comparison.sources[m], comparison.steps[k]
            yield *where, *who, *(f"{value:.6g}" for value in values)


def _models(comparison: Comparison) -> Iterator[tuple[str, int, int, int]]:
    """Group, number of the seed in it from 1, index of the model and of its steps."""
    for m, group in enumerate(comparison.groups):
        for k, steps in enumerate(comparison.steps):
            if comparison.is_known(group, steps):
                yield group, comparison.groups[: m + 1].count(group), m, k


def _write_rows(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    with completing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _dots(comparison: Comparison) -> list[Dots]:
    rows = list(_rows(comparison))
    labels = [f"{group}, {f'{steps} steps' if steps else 'z(0)'}" for group, steps in rows]
    parts = {"train": ["train"], "held out": list(HELD_OUT)}
    panels = []
    titles = {
        "tm": "TM-score to the native",
        "drift_angstrom": "RMSD after a start from the native (Å)",
    }
    for figure, title in titles.items():
        series = {
            f"{name} ({inside.sum()} windows)": [
                comparison.seed_means(figure, group, steps, inside) for group, steps in rows
            ]
            for name, members in parts.items()
            if (inside := comparison.inside(members)).any()
        }
        panels.append(Dots(title, labels, series))
    return panels

"""Tables of a comparison: for a terminal, as Markdown and as CSV; see `openmm_nemo.comparison.comparison`."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from openmm_nemo.comparison.comparison import Comparison
from openmm_nemo.comparison.contacts import SEPARATIONS, SHARES
from openmm_nemo.comparison.differences import paired_differences
from openmm_nemo.comparison.energies import MIN_FOREIGN
from openmm_nemo.comparison.measures import FIGURES
from openmm_nemo.comparison.plots import Dots, plot_dots
from openmm_nemo.comparison.windows import MAX_FOREIGN
from openmm_nemo.data.splits import HELD_OUT, LEVELS
from openmm_nemo.dynamics.minimisation import LEARNING_RATE
from openmm_nemo.files import completing

GROUPS_FILE = "compare.csv"
WINDOWS_FILE = "windows.csv"
MARKDOWN_FILE = "compare.md"
FIGURE_FILE = "compare.png"

Columns = dict[str, tuple[str, int]]
"""Heading and number of decimals of each figure."""


class Kind(NamedTuple):
    """A kind of table: its name, what it shows, and its columns by the figure."""

    name: str
    legend: str
    columns: Columns


_STRUCTURES = Kind(
    "structures",
    "Means over windows; with several seeds, their mean and ± their standard deviation; with several samples per "
    "window, means over these first. Step 0 is z(0), from which the first sample starts; the others start as those of "
    "'openmm-nemo sample'. TM and RMSD to the native; Rg ratio: radius of gyration over that of the native; Rg error: "
    "mean of |Rg ratio - 1|, in which chains that are too large and too small do not cancel; contacts: share of the "
    "structure's contacts that the native has; bonds: error of the C-alpha distances along the chain; overlaps: share "
    "of the pairs of C-alphas three or more residues apart that are closer than 3.5 Å. Level: highest level of CATH at "
    "which held-out domains are new to training.",
    {
        "tm": ("TM", 3),
        "rmsd_angstrom": ("RMSD (Å)", 2),
        "rg_ratio": ("Rg ratio", 2),
        "rg_error": ("Rg error", 2),
        "contact_precision": ("contacts", 3),
        "bond_error_angstrom": ("bonds (Å)", 2),
        "overlap_share": ("overlaps", 4),
    },
)
_CHOICES = Kind(
    "chosen samples",
    "One of the samples of each window: that of lowest energy U, the one that 3D-Jury chooses (largest sum of TM to "
    "the others), and the one of highest TM to the native, for which one must know the native.",
    {
        "tm": ("TM: mean", 3),
        "tm_lowest": ("TM: lowest U", 3),
        "tm_jury": ("TM: 3D-Jury", 3),
        "tm_best": ("TM: best", 3),
        "rmsd_angstrom": ("RMSD (Å): mean", 2),
        "rmsd_lowest_angstrom": ("RMSD: lowest U", 2),
        "rmsd_jury_angstrom": ("RMSD: 3D-Jury", 2),
        "rmsd_best_angstrom": ("RMSD: best", 2),
    },
)
_CONTROLS = Kind(
    "controls",
    "Of the first sample. Shuffled, swapped, mirror: loss of TM with the residues in random order, with the sequence "
    "of another window, and for the mirror image; drift: RMSD to the native after the same steps from the "
    "native; annealed gap: U after these steps from the native minus U of the sample, kT per residue.",
    {
        "shuffled_gap": ("shuffled", 3),
        "swapped_gap": ("swapped", 3),
        "mirror_gap": ("mirror", 3),
        "drift_angstrom": ("drift (Å)", 2),
        "annealed_gap_kt": ("annealed gap (kT)", 2),
    },
)
_ENERGY = Kind(
    "energy",
    "U in kT at 300 K, whatever the temperature of the simulation. U/L: mean of the samples, per residue; gap: U of "
    "the native minus that mean, per residue, negative where the native is lower; native lowest: share of the windows "
    "whose native is below every sample; mirror energy: U of the native's mirror image minus U of the native, per "
    "residue, positive where the native's handedness is lower; threading z: U of the native minus the mean over "
    f"foreign structures, over their standard deviation. Foreign structures are the natives of at most {MAX_FOREIGN} "
    "other windows of the part, of other sequence clusters and as long or longer, cut to the first L residues. U "
    "always has the coefficients of the window's own sequence, so that mirror energy and z do not depend on the steps. "
    f"Windows with fewer than {MIN_FOREIGN} foreign structures have no z.",
    {
        "energy_kt": ("U/L (kT)", 2),
        "energy_gap_kt": ("gap (kT)", 2),
        "native_lowest": ("native lowest", 2),
        "mirror_energy_kt": ("mirror energy (kT)", 2),
        "threading_z": ("threading z", 2),
    },
)
_REACH = Kind(
    "reach",
    "Moved: RMSD to the start; clipped: share of steps at the speed limit. Noise: the same simulation of the first "
    "sample without energy. Adam: U minimised over internal coordinates from z(0), by as many steps of Adam with "
    f"learning rate {LEARNING_RATE:g}.",
    {
        "moved_angstrom": ("moved (Å)", 2),
        "clipped": ("clipped", 2),
        "noise_moved_angstrom": ("noise: moved (Å)", 2),
        "noise_tm": ("noise: TM", 3),
        "adam_tm": ("Adam: TM", 3),
        "adam_rmsd_angstrom": ("Adam: RMSD (Å)", 2),
        "adam_energy_kt": ("Adam: U/L (kT)", 2),
    },
)
_KINDS = (_STRUCTURES, _CHOICES, _CONTROLS, _ENERGY, _REACH)

_COMPARED = {
    "tm": ("TM", 3),
    "rmsd_angstrom": ("RMSD (Å)", 2),
    "drift_angstrom": ("drift (Å)", 2),
}
_COMPARED_LOWEST = {"tm_lowest": ("TM", 3), "rmsd_lowest_angstrom": ("RMSD (Å)", 2)}

_CONTACT_LEGEND = (
    "Precision of the L/5 and the L most confident pairs of those at least 6, 12 or 24 apart in sequence, as contacts "
    "(C-alphas closer than 8 Å) of the native; windows without such a contact are left out. Confidence by the pair "
    "term: its probability of a distance below 8 Å; by structures: frequency of the contact in the samples, then their "
    "mean distance; by separation: the closest in sequence first, whatever the protein."
)
_TEST_LEGEND = (
    "Differences on the same windows, each group averaged over its seeds first: mean, standard error over windows and "
    "p of a two-sided paired t-test, not corrected for the number of tests. They say nothing about other seeds: "
    "compare with ± above."
)


_WORDS = ("level", "model", "by", "minus")
"""Columns of words; all others are numbers."""


class Table(NamedTuple):
    """A heading, what the columns mean, and rows of cells; the first row names the columns."""

    heading: str
    legend: str
    cells: list[tuple[str, ...]]


def tables(comparison: Comparison) -> list[Table]:
    """Tables of the groups, one per part and kind of figure, then the paired differences.

    Tables of held-out parts have rows for all windows, then for those at each level. Rows, columns and
    tables without any figure are left out.

    Parameters
    ----------
    comparison : Comparison
    """
    found = []
    for part in _parts(comparison):
        what = f"{part}: {comparison.inside([part]).sum()} windows"
        for name, legend, columns in _KINDS:
            if columns is not _CHOICES.columns or comparison.n_samples > 1:
                cells = _group_cells(comparison, part, columns)
                found.append(Table(f"{what}, {name}", legend, cells))
        cells = _contact_cells(comparison, part)
        found.insert(-1, Table(f"{what}, contacts", _CONTACT_LEGEND, cells))
    for part in _parts(comparison):
        what = f"{part}: differences on {comparison.inside([part]).sum()} windows"
        cells = _difference_cells(comparison, part, _COMPARED)
        found.append(Table(what, _TEST_LEGEND, cells))
        if comparison.n_samples > 1:
            cells = _difference_cells(comparison, part, _COMPARED_LOWEST)
            found.append(Table(f"{what}, samples of lowest U", _TEST_LEGEND, cells))
    return [table._replace(cells=_filled(table.cells)) for table in found if len(table.cells) > 1]


def _filled(cells: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Cells without the columns in which nothing is known."""
    columns = [column for column in zip(*cells, strict=True) if set(column[1:]) != {"-"}]
    return list(zip(*columns, strict=True))


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Lines of all tables for a terminal, in aligned columns."""
    for heading, _, cells in tables(comparison):
        yield ""
        yield heading
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        sides = ["<" if name in _WORDS else ">" for name in cells[0]]
        for row in cells:
            columns = zip(row, sides, widths, strict=True)
            yield "  ".join(f"{cell:{side}{width}}" for cell, side, width in columns).rstrip()


def write_comparison(folder: Path, comparison: Comparison, title: str) -> None:
    """Write the files of a comparison.

    - compare.csv: means over windows, one line per model, part or level, and number of steps.
    - windows.csv: one line per model, window and number of steps.
    - compare.md: the tables.
    - compare.png: TM-scores, drifts and energy gaps by group.

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
    """Parts, and levels of the held-out ones."""
    for part in _parts(comparison):
        yield part, ""
        for level in _levels(comparison, part):
            yield part, level


def _levels(comparison: Comparison, part: str) -> list[str]:
    """Levels of the windows of a part; none if it is not held out."""
    held_out = part in HELD_OUT
    return [level for level in LEVELS if held_out and comparison.inside([part], level).any()]


def _rows(comparison: Comparison) -> Iterator[tuple[str, int]]:
    """Groups, and the numbers of steps after which they have structures."""
    for group in comparison.group_names():
        for steps in comparison.steps:
            if comparison.is_known(group, steps):
                yield group, steps


class _Rows(NamedTuple):
    """Windows of some rows of a table, and the cells in front of them."""

    inside: np.ndarray
    first: tuple[str, ...]


def _rows_of(comparison: Comparison, part: str) -> tuple[tuple[str, ...], list[_Rows]]:
    """Names of the first columns, and rows for all windows of a part and, if it has several, for each level."""
    levels = _levels(comparison, part)
    rows = []
    for level in levels if len(levels) == 1 else ["", *levels]:
        inside = comparison.inside([part], level)
        rows.append(_Rows(inside, (level or "all", str(inside.sum())) if levels else ()))
    return ("level", "windows") if levels else (), rows


def _group_cells(comparison: Comparison, part: str, columns: Columns) -> list[tuple[str, ...]]:
    """Rows of the groups that have any of the figures."""
    names, rows = _rows_of(comparison, part)
    headings = (heading for heading, _ in columns.values())
    cells: list[tuple[str, ...]] = [(*names, "model", "steps", "seeds", *headings)]
    for inside, first in rows:
        for group, steps in _rows(comparison):
            shown = _shown(comparison, group, steps, inside, columns)
            if set(shown) != {"-"}:
                seeds = comparison.groups.count(group)
                cells.append((*first, group, str(steps), str(seeds), *shown))
    return cells


def _contact_cells(comparison: Comparison, part: str) -> list[tuple[str, ...]]:
    """Rows of the pair terms and the structures of each group, and one of the separation."""
    names, rows = _rows_of(comparison, part)
    headings = {"l5": "L/5", "l": "L"}
    columns = [(share, separation) for share in SHARES for separation in SEPARATIONS]
    titles = (f"{headings[share]}, ≥ {separation}" for share, separation in columns)
    cells: list[tuple[str, ...]] = [(*names, "model", "steps", "seeds", "by", *titles)]
    for inside, first in rows:
        found = []
        for group, steps in _rows(comparison):
            if steps == 0:
                found.append((group, steps, "-", "pair term", "pairs"))
            found.append((group, steps, str(steps), "structures", "structures"))
        for group, steps, number, by, source in found:
            keys = {f"{source}_{share}_{separation}": ("", 3) for share, separation in columns}
            shown = _shown(comparison, group, steps, inside, keys)
            if set(shown) != {"-"}:
                seeds = str(comparison.groups.count(group))
                cells.append((*first, group, number, seeds, by, *shown))
        means = (
            comparison.seed_means(f"separation_{share}_{separation}", group, 0, inside)[:1]
            for share, separation in columns
        )
        shown = [_mean_and_spread(mean, 3) for mean in means]
        if set(shown) != {"-"}:
            cells.append((*first, "-", "-", "-", "separation", *shown))
    return cells


def _shown(
    comparison: Comparison, group: str, steps: int, inside: np.ndarray, columns: Columns
) -> list[str]:
    """Means and spreads of the figures of a group."""
    return [
        _mean_and_spread(comparison.seed_means(name, group, steps, inside), digits)
        for name, (_, digits) in columns.items()
    ]


def _mean_and_spread(values: np.ndarray, digits: int) -> str:
    known = values[~np.isnan(values)]
    if not len(known):
        return "-"
    text = f"{known.mean():.{digits}f}"
    return f"{text} ± {known.std(ddof=1):.{digits}f}" if _has_spread(known) else text


def _has_spread(values: np.ndarray) -> bool:
    return len(values) > 1 and bool(np.isfinite(values).all())


def _difference_cells(comparison: Comparison, part: str, titles: Columns) -> list[tuple[str, ...]]:
    """Rows of the first group against the others."""
    names, rows = _rows_of(comparison, part)
    columns = [word for title, _ in titles.values() for word in (title, "s.e.", "p")]
    cells: list[tuple[str, ...]] = [
        (*names[:1], "model", "steps", "minus", "steps", "windows", *columns)
    ]
    found = [(first, d) for inside, first in rows for d in paired_differences(comparison, inside)]
    for first, d in found:
        row = (*first[:1], d.group, str(d.steps), d.other, str(d.other_steps), str(d.n_windows))
        shown = []
        for figure, (_, digits) in titles.items():
            digits += 1
            mean, error, p = d.tests.get(figure, (np.nan,) * 3)
            shown += [f"{mean:+.{digits}f}", f"{error:.{digits}f}", f"{p:.2g}"]
        cells.append((*row, *("-" if "nan" in number else number for number in shown)))
    return cells


def _markdown(comparison: Comparison, title: str) -> Iterator[str]:
    yield f"# {title}"
    told = set()
    for heading, legend, cells in tables(comparison):
        yield ""
        yield f"## {heading}"
        yield ""
        if legend not in told:  # a table of that kind is explained once
            told.add(legend)
            yield legend
            yield ""
        yield _markdown_row(cells[0])
        yield "|" + "|".join("---" if name in _WORDS else "--:" for name in cells[0]) + "|"
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
    """Panels of the figures that are known."""
    rows = list(_rows(comparison))
    labels = [f"{group}, {f'{steps} steps' if steps else 'z(0)'}" for group, steps in rows]
    parts = {"train": ["train"], "held out": list(HELD_OUT)}
    titles = {
        "tm": "TM-score to the native",
        "tm_lowest": "TM-score, lowest energy",
        "drift_angstrom": "drift from the native (Å)",
        "energy_gap_kt": "energy gap (kT per residue)",
    }
    if comparison.n_samples == 1:
        del titles["tm_lowest"]
    panels = []
    for figure, title in titles.items():
        series = {
            f"{name} ({inside.sum()} windows)": [
                comparison.seed_means(figure, group, steps, inside) for group, steps in rows
            ]
            for name, members in parts.items()
            if (inside := comparison.inside(members)).any()
        }
        if np.isfinite(comparison.figures[figure]).any():
            panels.append(Dots(title, labels, series))
    return panels

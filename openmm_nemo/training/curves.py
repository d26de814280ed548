"""Pictures of training runs."""

import csv
import os
from pathlib import Path

import numpy as np

from openmm_nemo.training.gradient_norms import draw_norms, read_norms


def read_metrics(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Series in a table of metrics, each (n, 2): update and value; not every line of the table has all metrics."""
    series: dict[str, list[tuple[float, float]]] = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and name not in ("step", "epoch"):
                    series.setdefault(name, []).append((float(row["step"]), float(value)))
    return {name: np.array(values) for name, values in series.items()}


def plot_curves(
    table: str | os.PathLike[str],
    file: str | os.PathLike[str],
    title: str,
    stage_ends: tuple[int, ...] = (),
    norms: str | os.PathLike[str] | None = None,
) -> None:
    """Draw all series of a table over the updates, one panel each.

    Parameters
    ----------
    table : path
        CSV with a column ``step``.
    file : path
        PNG to write.
    title : str
    stage_ends : tuple of int
        Updates at which a stage ended, drawn as lines.
    norms : path, optional
        CSV of `GradientNorms`, for a panel of the gradient along the roll-out.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    series = read_metrics(table)
    groups: dict[str, list[str]] = {}
    for name in sorted(series):
        # z(0) and the end of the roll-out share a panel.
        groups.setdefault(name.removesuffix("_z0"), []).append(name)
    heat = None if norms is None else read_norms(norms)
    columns = 4
    n_panels = len(groups) + (heat is not None)
    rows = max(-(-n_panels // columns), 1)
    figure = Figure(figsize=(3.4 * columns, 2.3 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[n_panels:]:
        axes.set_axis_off()
    if heat is not None:
        draw_norms(panels[n_panels - 1], *heat)
    for axes, (group, names) in zip(panels, groups.items(), strict=False):
        for name in names:
            updates, values = series[name].T
            marker = "." if len(updates) < 40 else ""
            label = "z(0)" if name.endswith("_z0") else "after the roll-out"
            axes.plot(updates, values, linewidth=1, marker=marker, label=label)
        for end in stage_ends:
            axes.axvline(end, color="0.8", linewidth=0.8, zorder=0)
        if len(names) > 1:
            axes.legend(frameon=False, fontsize=7)
        axes.set_title(group.replace("/", ": ").replace("_", " "), loc="left", fontsize=9)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(file), dpi=120)

"""Pictures of comparisons."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Dots(NamedTuple):
    """A panel of `plot_dots`.

    Attributes
    ----------
    title : str
    labels : sequence of str
        Labels of the rows.
    series : mapping of str to sequence of ndarray
        Repeated measurements for each row, by the name of the series; NaN is not drawn.
    """

    title: str
    labels: Sequence[str]
    series: Mapping[str, Sequence[np.ndarray]]


def plot_dots(panels: Sequence[Dots], file: str | os.PathLike[str], title: str) -> None:
    """Draw measurements in rows: each one as a small point, their mean and standard deviation as a large one.

    Parameters
    ----------
    panels : sequence of Dots
        Panels from left to right, with the same rows. The first row is on top.
    file : path
        PNG to write.
    title : str
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = panels[0].labels
    figure = Figure(figsize=(5 + 3 * len(panels), 1.8 + 0.42 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    axes = figure.subplots(1, len(panels), sharey=True, width_ratios=[3, *[2] * (len(panels) - 1)])
    for panel, here in zip(panels, np.atleast_1d(axes), strict=True):
        for k, (name, series) in enumerate(panel.series.items()):
            colour = f"C{k}"
            shift = 0.3 * (k - (len(panel.series) - 1) / 2)
            for row, values in enumerate(series):
                known = values[np.isfinite(values)]
                if not len(known):
                    continue
                y = row + shift
                spread = known.std(ddof=1) if len(known) > 1 else 0
                here.errorbar(
                    known.mean(), y, xerr=spread, fmt="o", color=colour, markersize=6, capsize=3
                )
                small = {"s": 14, "facecolor": "white", "edgecolor": colour, "linewidths": 0.8}
                if len(known) > 1:
                    here.scatter(known, np.full(len(known), y), zorder=3, **small)
            here.plot([], [], "o", color=colour, label=name)
        here.set_title(panel.title, loc="left", fontsize=10)
        here.set_yticks(range(len(rows)), rows)
        here.grid(alpha=0.3)
        here.spines[["top", "right"]].set_visible(False)
    np.atleast_1d(axes)[0].set_ylim(len(rows) - 0.5, -0.5)
    handles, names = np.atleast_1d(axes)[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=len(names), frameon=False)
    figure.savefig(Path(file), dpi=120)

"""Plots of simulations."""

import csv
import os
import warnings
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openmm_nemo.geometry import superpose

_PANELS = {
    "u_kt": "U (kT)",
    "radius_of_gyration_angstrom": "radius of gyration (Å)",
    "largest_displacement_angstrom": "largest displacement (Å)",
    "clipped_fraction": "clipped steps (fraction)",
    "contacts_between_chains": "contacts between chains",
    "rmsd_angstrom": "RMSD (Å)",
    "tm_score": "TM-score",
}

_FINE = 8

_SHADES = ("Blues", "Oranges", "Greens", "Purples", "Reds", "YlOrBr")
"""Of the chains of a complex."""

_LINES = 200
"""Attempts to exchange that are drawn one by one; more are averaged in blocks."""


def read_table(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Columns of a CSV file with a header line, as floats."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def plot_simulation(
    table: str | os.PathLike[str],
    file: str | os.PathLike[str],
    title: str,
    x: np.ndarray,
    reference: np.ndarray | None = None,
    chains: Mapping[str, int] | None = None,
) -> None:
    """Draw the table of a simulation over its steps, and its final chain or chains.

    Parameters
    ----------
    table : path
        CSV written by `openmm_nemo.engine.NemoStateReporter`.
    file : path
        PNG to write.
    title : str
    x : ndarray, shape (L, 3)
        Final C-alpha positions, Angstrom.
    reference : ndarray, shape (L, 3), optional
        Drawn in grey under the final chain, superposed.
    chains : mapping of str to int, optional
        Names and lengths of the chains of a complex, each of which has a colour. Default: one chain.
    """
    # Imported here, because it takes longer than everything else that the command line imports.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = read_table(table)
    panels = {name: label for name, label in _PANELS.items() if name in columns}
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(13, 2.4 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    grid = figure.add_gridspec(rows, 3, width_ratios=[1, 1, 1.3])
    for k, (name, label) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[k // 2, k % 2])
        marker = "." if len(columns["step"]) < 60 else ""
        axes.plot(columns["step"], columns[name], color="tab:blue", linewidth=1, marker=marker)
        axes.set_title(label, loc="left", fontsize=10)
        axes.grid(alpha=0.3)
        if k // 2 == rows - 1:
            axes.set_xlabel("step")
    x = np.asarray(x, dtype=float)
    if reference is not None:
        x = superpose(torch.from_numpy(x), torch.from_numpy(reference)).numpy()
    _draw_chains(figure.add_subplot(grid[:, 2]), x, reference, chains)
    _save(figure, file)


def plot_exchange(
    file: str | os.PathLike[str],
    title: str,
    steps: np.ndarray,
    walkers: np.ndarray,
    summary: Mapping[str, Any],
) -> None:
    """Draw how walkers move through the temperatures of replica exchange, and the acceptance between neighbours.

    Parameters
    ----------
    file : path
        PNG to write.
    title : str
    steps : ndarray, shape (N + 1,)
    walkers : ndarray, shape (N + 1, R), int
        Walker at each temperature at these steps.
    summary : mapping
        See `openmm_nemo.runs.exchange.summary_of`.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n = walkers.shape[1]
    labels = [f"{temperature:g} K" for temperature in summary["temperatures_kelvin"]]
    figure = Figure(figsize=(13, 0.35 * n + 3), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    walk, bars = figure.subplots(1, 2, width_ratios=[2.2, 1])
    rungs = np.argsort(walkers, axis=1)  # of each walker
    block = -(-len(rungs) // _LINES)
    if block > 1:  # a line for every attempt would fill the picture
        whole = len(rungs) // block * block
        rungs = rungs[:whole].reshape(-1, block, n).mean(1)
        steps = steps[:whole:block]
    for walker, colour in enumerate(colormaps["turbo"](np.linspace(0.08, 0.93, n))):
        walk.step(steps, rungs[:, walker], where="post", color=colour, linewidth=1)
    trips = summary["round_trips"]
    walk.set_title(
        f"temperature of each walker{f', means of {block} attempts' if block > 1 else ''}; {trips} round "
        f"trip{'' if trips == 1 else 's'}",
        loc="left",
        fontsize=10,
    )
    walk.set_xlabel("step")
    walk.set_yticks(range(n), labels)
    walk.set_ylim(-0.4, n - 0.6)
    rates = [pair["acceptance"] or 0 for pair in summary["pairs"]]
    bars.barh(np.arange(n - 1) + 0.5, rates, height=0.6, color="tab:blue")
    heading = "accepted exchanges (fraction)"
    if summary["acceptance_wanted"] is not None:
        bars.axvline(summary["acceptance_wanted"], color="0.4", linestyle="--", linewidth=1)
        heading += "; dashed: wanted"
    bars.set_title(heading, loc="left", fontsize=10)
    bars.set_xlim(0, 1)
    bars.set_ylim(walk.get_ylim())
    bars.set_yticks(range(n), labels)
    for axes in (walk, bars):
        axes.grid(alpha=0.3)
    _save(figure, file)


def _save(figure: Any, file: str | os.PathLike[str]) -> None:
    with warnings.catch_warnings():
        # Letters in the name of a model that matplotlib's font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        figure.savefig(Path(file), dpi=120)


def _draw_chains(
    axes: Any,
    x: np.ndarray,
    reference: np.ndarray | None,
    chains: Mapping[str, int] | None = None,
) -> None:
    """Draw chains, and a reference in grey, viewed along their shortest axis; distant parts are pale."""
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb
    from matplotlib.patheffects import withStroke

    both = x if reference is None else np.concatenate([x, reference])
    _, _, (tall, wide, _) = np.linalg.svd(both - both.mean(0), full_matrices=False)
    # The third axis points to the viewer, so that the plot is not a mirror image.
    view = np.stack([wide, tall, np.cross(wide, tall)], axis=1)
    thick = float(np.interp(len(x), [20, 200], [6, 3]))
    chains = chains or {"": len(x)}
    ends = np.cumsum([0, *chains.values()])
    spans = [slice(first, last) for first, last in pairwise(ends)]
    parts = []
    for k, span in enumerate(spans):
        steps = _FINE * (len(x[span]) - 1)
        if len(spans) == 1:
            colours = colormaps["turbo"](np.linspace(0.08, 0.93, steps))
        else:
            # From dark to light.
            colours = colormaps[_SHADES[k % len(_SHADES)]](np.linspace(0.95, 0.4, steps))
        parts.append((x[span], colours[:, :3], thick))
    if reference is not None:
        parts += [(reference[span], np.array([to_rgb("0.6")]), 0.6 * thick) for span in spans]
    pieces, tones, widths = [], [], []
    for chain, colour, thickness in parts:
        points = _smooth((chain - both.mean(0)) @ view)
        pieces.append(np.stack([points[:-1], points[1:]], axis=1))
        tones.append(np.broadcast_to(colour, (len(points) - 1, 3)))
        widths.append(np.full(len(points) - 1, thickness))
    lines, tints, width = np.concatenate(pieces), np.concatenate(tones), np.concatenate(widths)
    depth = lines[..., 2].mean(1)
    fog = 0.6 * (depth.max() - depth) / max(np.ptp(depth), 1e-9)
    tints = tints + fog[:, None] * (1 - tints)
    # From far to near, each piece on a wider white one that cuts what it crosses; longer, to cover the joints.
    order = np.argsort(depth)
    longer = lines + 0.6 * np.stack([lines[:, 0] - lines[:, 1], lines[:, 1] - lines[:, 0]], axis=1)
    axes.add_collection(
        LineCollection(
            list(np.stack([lines, longer], axis=1)[order, ..., :2].reshape(-1, 2, 2)),
            colors=np.stack([np.ones_like(tints), tints], axis=1)[order].reshape(-1, 3),
            linewidths=np.stack([width + 2.5, width], axis=1)[order].reshape(-1),
            capstyle="butt",
        )
    )
    names = list(chains)
    marks = [("N", x[0]), ("C", x[-1])]
    title = "final Cα trace, blue (N) to red (C)"
    if len(spans) > 1:
        marks = [(name, x[span.start]) for name, span in zip(names, spans, strict=True)]
        title = f"final Cα traces of chains {', '.join(names)}, dark (N) to light (C)"
    for name, end in marks:
        across, up, _ = (end - both.mean(0)) @ view
        text = axes.text(across, up, name, fontsize=12, fontweight="bold", ha="center", va="center")
        text.set_path_effects([withStroke(linewidth=4, foreground="white")])
    axes.set_title(title + ("" if reference is None else "; reference grey"), fontsize=10)
    axes.autoscale_view()
    axes.margins(0.06)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _smooth(points: np.ndarray) -> np.ndarray:
    """Catmull-Rom curve through the points, with `_FINE` pieces between neighbours."""
    ends = 2 * points[[0, -1]] - points[[1, -2]]
    p = np.concatenate([ends[:1], points, ends[1:]])[:, None]
    t = np.linspace(0, 1, _FINE, endpoint=False)[:, None]
    before, start, end, after = p[:-3], p[1:-2], p[2:-1], p[3:]
    curve = 0.5 * (
        2 * start
        + t * (end - before)
        + t**2 * (2 * before - 5 * start + 4 * end - after)
        + t**3 * (3 * start - 3 * end + after - before)
    )
    return np.concatenate([curve.reshape(-1, 3), points[-1:]])

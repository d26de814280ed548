"""Pictures of simulations."""

import csv
import os
from pathlib import Path

import numpy as np
import torch

from openmm_nemo.geometry import superpose

_PANELS = {
    "u_kt": "U (kT)",
    "radius_of_gyration_angstrom": "radius of gyration (Å)",
    "largest_displacement_angstrom": "largest displacement (Å)",
    "clipped_fraction": "clipped steps (fraction)",
    "rmsd_angstrom": "RMSD (Å)",
    "tm_score": "TM-score",
}


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
) -> None:
    """Draw the table of a simulation over its steps, and its final chain.

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
    """
    # Here, because it takes longer than all else that the command line imports.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = read_table(table)
    panels = {name: label for name, label in _PANELS.items() if name in columns}
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(13, 2.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    grid = figure.add_gridspec(rows, 3, width_ratios=[1, 1, 1.3])
    for k, (name, label) in enumerate(panels.items()):
        axes = figure.add_subplot(grid[k // 2, k % 2])
        marker = "." if len(columns["step"]) < 60 else ""
        axes.plot(columns["step"], columns[name], color="tab:blue", linewidth=1, marker=marker)
        axes.set_ylabel(label)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    axes = figure.add_subplot(grid[:, 2], projection="3d")
    if reference is not None:
        x = superpose(torch.from_numpy(np.asarray(x, float)), torch.from_numpy(reference)).numpy()
        axes.plot(*reference.T, color="0.6", linewidth=3, label="reference")
        axes.legend(loc="lower left", frameon=False)
    axes.plot(*x.T, color="0.3", linewidth=1)
    axes.scatter(*x.T, c=np.arange(len(x)), cmap="rainbow", s=30, depthshade=False)
    axes.set_title("final Cα trace, blue (N) to red (C)", fontsize=10)
    axes.set_aspect("equal")
    axes.set_box_aspect(
        axes.get_box_aspect() if hasattr(axes, "get_box_aspect") else None, zoom=1.5
    )
    axes.set_axis_off()
    figure.savefig(Path(file), dpi=120)

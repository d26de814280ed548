"""Plots of sets of domains."""

import os
from pathlib import Path

import numpy as np


def plot_domains(
    lengths: np.ndarray, classes: dict[str, np.ndarray], file: str | os.PathLike[str], title: str
) -> None:
    """Draw the lengths of the domains of a set, by class.

    Parameters
    ----------
    lengths : ndarray, shape (n,)
        Number of residues.
    classes : dict of ndarray, shape (n,), bool
        Which domains are in each class; every domain is in one.
    file : path
        PNG to write.
    title : str
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    n_bins = min(int(np.ptp(lengths)) + 1, 40)
    bins = np.linspace(lengths.min() - 0.5, lengths.max() + 0.5, n_bins + 1).tolist()
    axes.hist(
        [lengths[inside] for inside in classes.values()],
        bins,
        stacked=True,
        label=[f"{name} ({inside.sum()})" for name, inside in classes.items()],
    )
    axes.set_xlabel("residues")
    axes.set_ylabel("domains")
    axes.set_title(title)
    axes.legend(title="CATH class", frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(file), dpi=120)

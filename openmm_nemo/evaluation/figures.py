"""Figures of an evaluation: the paper's Figures 4 and 9, and radii of gyration."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from openmm_nemo.evaluation.assessment import Assessment
from openmm_nemo.evaluation.tables import FOLD_TM, TRAIN
from openmm_nemo.pages.pictures import Picture, draw_picture

LEVEL_NAMES = {
    "C": "class",
    "A": "architecture",
    "T": "topology",
    "H": "homologous superfamily",
    TRAIN: "in the training set",
    "": "not known",
}
"""What is new to the training set at each level, hardest first."""

_COLOURS = {
    "C": "#d1495b",
    "A": "#e0912f",
    "T": "#2a9d8f",
    "H": "#4a7fc9",
    TRAIN: "#9b6bc4",
    "": "#8c959f",
}
_MARKERS = {"C": "o", "A": "s", "T": "^", "H": "D", TRAIN: "P", "": "o"}


def draw_pictures(assessments: Sequence[Assessment]) -> list[Picture]:
    """Draw TM-score by level, by number of clusters and by sequence identity, and radii of gyration.

    Parameters
    ----------
    assessments : sequence of Assessment

    Returns
    -------
    list of Picture
        Always the same four, without an image where no protein has both numbers.
    """
    tm = np.array([a.representative_tm for a in assessments])
    mean_tm = np.array([a.tm.mean() for a in assessments])
    clusters = np.array([a.n_clusters for a in assessments], dtype=float)
    identity = np.array([a.identity for a in assessments])
    rg = np.array([a.rg.mean() for a in assessments])
    rg_spread = np.array([a.rg.std() for a in assessments])
    native_rg = np.array([a.native_rg for a in assessments])
    levels = np.array([a.level for a in assessments])
    return [
        _by_level(tm, levels),
        _by_clusters(clusters, mean_tm, levels),
        _by_identity(identity, tm, levels),
        _gyration(native_rg, rg, rg_spread, levels),
    ]


def _by_level(tm: np.ndarray, levels: np.ndarray) -> Picture:
    name, title = "tm_by_level", "Accuracy by level of generalization"
    known = np.isfinite(tm)
    groups = {level: tm[known & (levels == level)] for level in LEVEL_NAMES}
    groups = {level: values for level, values in groups.items() if len(values)}
    if not any(groups):
        return Picture(name, title, "No protein has both a level and a native structure.")

    def draw(axes: Any, ink: str) -> None:
        random = np.random.default_rng(0)
        for k, (level, values) in enumerate(groups.items()):
            colour = _COLOURS[level]
            axes.scatter(
                k + random.uniform(-0.25, 0.25, len(values)),
                values,
                s=float(np.clip(500 / len(values), 8, 30)),
                marker=_MARKERS[level],
                color=colour,
                alpha=_opacity(len(values)),
                linewidths=0,
            )
            axes.boxplot(
                values,
                positions=[k],
                widths=0.62,
                showfliers=False,
                boxprops={"color": colour},
                whiskerprops={"color": colour},
                capprops={"color": colour},
                medianprops={"color": colour, "linewidth": 2},
            )
            axes.plot(k, values.mean(), "D", color=ink, markersize=6)
        axes.set_xticks(
            range(len(groups)),
            [f"{level or 'not known'}\n{len(values)}" for level, values in groups.items()],
        )
        axes.set_xlabel("level of generalization and number of proteins")
        _tm_axis(axes, "TM-score of the representative", ink)

    means = ", ".join(
        f"{values.mean():.3f} ({level or 'not known'}, n = {len(values)})"
        for level, values in groups.items()
    )
    text = f"Mean TM-score of the representative: {means}. Boxes: quartiles; diamonds: means."
    return draw_picture(name, title, text, draw)


def _by_clusters(clusters: np.ndarray, tm: np.ndarray, levels: np.ndarray) -> Picture:
    name, title = "tm_by_clusters", "Accuracy by certainty"
    known = np.isfinite(tm)
    if not known.any():
        return Picture(name, title, "No protein has a native structure.")

    def draw(axes: Any, ink: str) -> None:
        _scatter(axes, clusters[known], tm[known], levels[known])
        low, high = clusters[known].min(), clusters[known].max()
        margin = max(0.05 * (high - low), 0.5)
        axes.set_xlim(high + margin, low - margin)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("clusters in the ensemble (fewer: more certain)")
        _tm_axis(axes, "mean TM-score of the ensemble", ink)

    text = (
        "Mean TM-score of each ensemble to the native structure against its number of clusters"
        f"{_correlation(clusters[known], tm[known])}."
    )
    return draw_picture(name, title, text, draw)


def _by_identity(identity: np.ndarray, tm: np.ndarray, levels: np.ndarray) -> Picture:
    name, title = "tm_by_identity", "Accuracy by distance to the training set"
    known = np.isfinite(tm) & np.isfinite(identity)
    if not known.any():
        text = "No protein has both a native structure and a known sequence identity to the training set."
        return Picture(name, title, text)

    def draw(axes: Any, ink: str) -> None:
        _scatter(axes, 100 * identity[known], tm[known], levels[known])
        axes.set_xlim(-3, 103)
        axes.set_xlabel("sequence identity to the nearest training protein (%)")
        _tm_axis(axes, "TM-score of the representative", ink)

    text = (
        "TM-score of each representative against the sequence identity to the nearest protein of the training set"
        f"{_correlation(identity[known], tm[known])}."
    )
    return draw_picture(name, title, text, draw)


def _gyration(
    native: np.ndarray, rg: np.ndarray, spread: np.ndarray, levels: np.ndarray
) -> Picture:
    name, title = "rg", "Compactness"
    known = np.isfinite(native) & np.isfinite(rg)
    if not known.any():
        return Picture(name, title, "No protein has a native structure.")
    native, rg, spread, levels = native[known], rg[known], spread[known], levels[known]

    def draw(axes: Any, ink: str) -> None:
        axes.errorbar(
            native, rg, spread, fmt="none", ecolor=_COLOURS[""], elinewidth=0.8, alpha=0.6
        )
        _scatter(axes, native, rg, levels)
        low = min(native.min(), (rg - spread).min()) - 1
        high = max(native.max(), (rg + spread).max()) + 1
        axes.plot([low, high], [low, high], "--", color=ink, linewidth=0.8, zorder=0)
        axes.set_xlim(native.min() - 1, native.max() + 1)
        axes.set_ylim(low, high)
        axes.set_xlabel("Rg of the native structure (Å)")
        axes.set_ylabel("Rg of the ensemble (Å)")

    text = (
        "Radius of gyration of each ensemble (mean and standard deviation) against that of the native structure; "
        f"the median ratio is {np.median(rg / native):.2f}. Dashed: equal."
    )
    return draw_picture(name, title, text, draw)


def _scatter(axes: Any, x: np.ndarray, y: np.ndarray, levels: np.ndarray) -> None:
    """Points with the colour and marker of their level."""
    present = [level for level in LEVEL_NAMES if (levels == level).any()]
    for level in present:
        inside = levels == level
        axes.scatter(
            x[inside],
            y[inside],
            s=float(np.clip(2000 / len(x), 12, 36)),
            marker=_MARKERS[level],
            color=_COLOURS[level],
            alpha=_opacity(len(x)),
            linewidths=0,
            label=level or "not known",
        )
    if any(present):
        legend = axes.legend(
            title="level of generalization",
            alignment="left",
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=len(LEVEL_NAMES),
            frameon=False,
            borderpad=0,
            columnspacing=1.2,
            handletextpad=0.2,
        )
        for handle in legend.legend_handles:
            handle.set_alpha(1)


def _tm_axis(axes: Any, label: str, ink: str) -> None:
    axes.axhline(FOLD_TM, color=ink, linewidth=0.8, linestyle="--", zorder=0)
    axes.set_ylim(0, 1.02)  # points at 1 are not cut off
    axes.set_ylabel(label)


def _opacity(n: int) -> float:
    return float(np.clip(200 / n, 0.1, 0.8))


def _correlation(x: np.ndarray, y: np.ndarray) -> str:
    """Spearman's rank correlation in words; empty where it is undefined."""
    if len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return ""
    from scipy.stats import spearmanr

    return f"; their rank correlation is {spearmanr(x, y).statistic:.2f}"

"""Gradient norms along the roll-outs of a run: a table, and its picture."""

import csv
import os
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
from lightning.pytorch.callbacks import Callback

from openmm_nemo.files import completing
from openmm_nemo.training.module import NemoTraining

CELLS = 200
"""Maximum number of columns in the picture; updates are binned."""


class GradientNorms(Callback):
    """Writes a line whenever metrics are logged and whenever an update is skipped.

    The line has the number of the update (from 0), whether it was skipped (0 or 1), and
    `NemoTraining.gradient_norms`: the gradient's norm at the last step of the roll-out, at the one before, and so on.

    Parameters
    ----------
    path : Path
        CSV file that `begin_table` started.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_index: int,
    ) -> None:
        """Write a line."""
        assert isinstance(module, NemoTraining)
        number = trainer.global_step  # of updates, including this one
        if number % trainer.log_every_n_steps and not module.was_skipped:  # type: ignore[attr-defined]
            return
        norms = module.gradient_norms().tolist()
        if trainer.is_global_zero and (norms or module.was_skipped):
            line = [number - 1, int(module.was_skipped), *(f"{norm:.3e}" for norm in norms)]
            with open(self._path, "a") as file:
                file.write(",".join(map(str, line)) + "\n")


def begin_table(path: Path, steps: int, update: int) -> None:
    """Start a table for this number of steps, with the lines of an interrupted run up to this update."""
    head = ["update", "skipped", *(f"step -{k}" for k in range(1, steps + 1))]
    kept = [",".join(head) + "\n"]
    if update and path.exists():
        whole = (line for line in path.read_text().splitlines(True)[1:] if line.endswith("\n"))
        kept += [line for line in whole if int(line.partition(",")[0]) < update]
    with completing(path) as partial:
        partial.write_text("".join(kept))


def read_norms(path: str | os.PathLike[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """Read a table.

    Returns
    -------
    updates : ndarray, shape (n,)
    log_norms : ndarray, shape (n, S)
        log10 of the norms, last step first: infinite where they are not finite, NaN where there was no step. None
        instead of both if there is nothing to show.
    """
    if not Path(path).exists():
        return None
    with open(path, newline="") as file:
        head, *rows = csv.reader(file)
    log_norms = np.full((len(rows), len(head) - 2), np.nan)
    for line, (_, _, *norms) in zip(log_norms, rows, strict=True):
        values = np.array(norms, dtype=float)
        finite = np.isfinite(values)
        line[: len(norms)] = np.where(
            finite, np.log10(np.maximum(np.where(finite, values, 1), 1e-30)), np.inf
        )
    if not np.isfinite(log_norms).any():
        return None
    return np.array([int(row[0]) for row in rows]), log_norms


def draw_norms(axes: Any, updates: np.ndarray, log_norms: np.ndarray) -> None:
    """Draw a table of `read_norms`: updates to the right, steps back in time upwards, not finite in red."""
    width = max(int(updates[-1]) // CELLS + 1, 10)
    cells = np.full((int(updates[-1]) // width + 1, log_norms.shape[1]), np.nan)
    for update, line in zip(updates, log_norms, strict=True):
        cells[update // width] = np.fmax(cells[update // width], line)
    finite = log_norms[np.isfinite(log_norms)]
    from matplotlib import colormaps

    # Matplotlib does not draw infinity.
    image = axes.imshow(
        np.where(np.isposinf(cells), finite.max() + 1, cells).T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0, len(cells) * width, 0.5, cells.shape[1] + 0.5),
        cmap=colormaps["viridis"].with_extremes(bad="white", over="red"),
        vmin=finite.min(),
        vmax=finite.max(),
    )
    bar = axes.figure.colorbar(image, ax=axes)
    bar.ax.tick_params(labelsize=7)
    axes.set_title("gradient: log10 norm, steps back", loc="left", fontsize=9)
    axes.tick_params(labelsize=7)

"""The page of an analysis: averages, pictures, and trajectories in 3D."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openmm_nemo.analysis.trajectories import MeasuredTrajectory
from openmm_nemo.geometry import superpose
from openmm_nemo.pages.page import write_page
from openmm_nemo.pages.pictures import Picture
from openmm_nemo.pages.structures import coordinates, facing

SHOWN_TRAJECTORIES = 8
SHOWN_FRAMES = 100
"""Per trajectory."""

_TEMPLATE = Path(__file__).with_name("page") / "analysis.html"

_NAMES = {
    "energy_kj_mol": ("Energy", " kJ/mol", 1),
    "radius_of_gyration_angstrom": ("Radius of gyration", " Å", 2),
    "rmsd_angstrom": ("RMSD", " Å", 2),
    "native_contacts": ("Native contacts Q", "", 3),
    "helix": ("Helix", "", 2),
    "strand": ("Strand", "", 2),
}
"""Name, unit and decimals of a measure."""


def write_report(
    path: Path,
    measured: Sequence[MeasuredTrajectory],
    averages: tuple[Sequence[str], Sequence[Sequence[Any]]],
    pictures: Sequence[Picture],
    notes: Sequence[str],
    native: np.ndarray | None = None,
) -> None:
    """Write the page; it appears when it is complete.

    At most `SHOWN_TRAJECTORIES` trajectories of `SHOWN_FRAMES` frames are shown in 3D, spread evenly; the page says so.

    Parameters
    ----------
    path : Path
        HTML file to write.
    measured : sequence of MeasuredTrajectory
        At least one.
    averages : columns and rows
        Table of averages: the first four columns are the temperature and counts, the others values and errors in turn.
    pictures : sequence of Picture
    notes : sequence of str
        What a reader needs to know, one sentence each.
    native : ndarray, shape (L, 3), optional
        C-alpha positions, Angstrom.
    """
    shown = [measured[k] for k in _spread(len(measured), SHOWN_TRAJECTORIES)]
    settings = measured[0].simulated.settings
    frames = sum(len(m.x) for m in measured)
    samples = sum(len(m.samples) for m in measured)
    many = len(measured) > 1
    tiles = {
        "Residues": len(settings.sequence),
        "Trajectories": len(measured),
        "Frames": frames,
        "Independent frames": samples,
    }
    columns, rows = averages
    write_page(
        path,
        _TEMPLATE,
        title=f"Analysis of {len(measured)} trajectories" if many else f"Analysis of {_short(measured[0])}",
        summary=_summary(measured),
        about=f"Simulated with {Path(settings.model).name}.",
        tiles=[{"label": label, "value": value} for label, value in tiles.items()],
        notes=notes,
        header=[_heading(name) for name in columns[4::2]],
        rows=[_cells(columns, row) for row in rows],
        pictures=pictures,
        trajectories=[f"{_short(m)}, {m.temperatures}" for m in shown],
        structures_text=_how_many(len(shown), len(measured), max(len(m.x) for m in shown)),
        data={
            "native": None if native is None else coordinates(_turned(native, native)),
            "trajectories": [_trajectory(m, native) for m in shown],
        },
    )  # fmt: skip


def _trajectory(m: MeasuredTrajectory, native: np.ndarray | None) -> dict[str, Any]:
    """Frames for ``viewer.js``, superposed on the native or on the last one, and the measures of each."""
    chosen = _spread(len(m.x), SHOWN_FRAMES)
    target = m.x[-1] if native is None else native
    x = superpose(*(torch.from_numpy(np.asarray(p, dtype=float)) for p in (m.x[chosen], target)))
    return {
        "frames": [coordinates(frame) for frame in _turned(x.numpy(), target)],
        "facts": [[("Step", f"{m.simulated.step[k]:,}"), *_facts(m, k)] for k in chosen.tolist()],
    }


def _turned(x: np.ndarray, target: np.ndarray) -> np.ndarray:
    (turned,) = facing([x], np.asarray(target, dtype=float))
    return turned


def _facts(m: MeasuredTrajectory, frame: int) -> list[tuple[str, str]]:
    found = []
    for name, values in m.values.items():
        label, unit, digits = _NAMES[name]
        found.append((label, f"{values[frame]:.{digits}f}{unit}"))
    return found


def _cells(columns: Sequence[str], row: Sequence[Any]) -> list[str]:
    """Temperature, counts, and values with their errors."""
    cells = [str(value) for value in row[:4]]
    for name, value, error in zip(columns[4::2], row[4::2], row[5::2], strict=True):
        digits = _NAMES[name][2]
        cells.append(
            f"{value:.{digits}f} ± {error:.{digits}f}" if np.isfinite(error) else f"{value:.{digits}f}"
        )  # fmt: skip
    return cells


def _heading(name: str) -> str:
    label, unit, _ = _NAMES[name]
    return f"{label} ({unit.strip()})" if unit else label


def _summary(measured: Sequence[MeasuredTrajectory]) -> str:
    length = len(measured[0].simulated.sequence)
    temperatures = list(dict.fromkeys(m.temperatures for m in measured))
    at = temperatures[0] if len(temperatures) == 1 else f"{len(temperatures)} temperatures"
    return f"{length} residues, to step {max(m.simulated.step[-1] for m in measured):,}, at {at}."


def _short(m: MeasuredTrajectory) -> str:
    """Name of a run, with that of its replica."""
    folder = m.simulated.folder.resolve()
    return (
        f"{folder.parent.name}/{folder.name}" if m.simulated.settings.replicas > 1 else folder.name
    )


def _spread(n: int, limit: int) -> np.ndarray:
    """At most ``limit`` of n indices, evenly spread, with the first and the last."""
    return np.linspace(0, n - 1, min(n, limit)).round().astype(int)


def _how_many(shown: int, total: int, frames: int) -> str:
    text = f"{shown} of {total} trajectories are shown. " if shown < total else ""
    return text + (f"{SHOWN_FRAMES} frames of each are shown." if frames > SHOWN_FRAMES else "")

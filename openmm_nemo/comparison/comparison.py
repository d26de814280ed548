"""Comparison of models with each other and with controls, on the same windows of domains: ``openmm-nemo compare``.

Every model predicts the structure of each window before simulation (step 0) and after given numbers of steps, from the
sequence, from a permutation of it and from the sequence of another window; it also simulates from the native. Each kind
of figure has its module: structures, energies, contacts and, in `openmm_nemo.comparison.measures`, controls and reach.
"""

import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from openmm_nemo.comparison.measures import FIGURES, measure
from openmm_nemo.comparison.windows import Window
from openmm_nemo.encoders import input_width
from openmm_nemo.errors import InputError
from openmm_nemo.models import NemoModel
from openmm_nemo.processes import run_tasks
from openmm_nemo.sampling.sampling import PAIR_NUMBERS

BATCH_SIZE = 64
"""Number of windows simulated at once: more are no faster."""


class Candidate(NamedTuple):
    """A model that takes part.

    Attributes
    ----------
    group : str
        Models of the same group were made in the same way with different seeds.
    source : str
        Where it comes from, such as its name or folder.
    model : NemoModel
    """

    group: str
    source: str
    model: NemoModel


@dataclass(frozen=True, eq=False)
class Comparison:
    """Figures of M models on N windows, at K numbers of simulation steps.

    Attributes
    ----------
    groups, sources : tuple of str
        Group and source of each model, see `Candidate`.
    windows : tuple of Window
    steps : tuple of int
        The first is 0.
    figures : dict of str to ndarray, shape (M, K, N)
        By the names in `FIGURES`; NaN where unknown: everything but step 0 of a baseline, the drift at step 0, contacts
        of a structure that has none. A structure that is not finite has a TM-score of 0 and an infinite RMSD.
    n_samples : int
        Samples per window after simulation.
    """

    groups: tuple[str, ...]
    sources: tuple[str, ...]
    windows: tuple[Window, ...]
    steps: tuple[int, ...]
    figures: dict[str, np.ndarray]
    n_samples: int = 1

    def group_names(self) -> list[str]:
        """Names of the groups, in the order in which they were given."""
        return list(dict.fromkeys(self.groups))

    def inside(self, parts: Sequence[str], level: str = "") -> np.ndarray:
        """Which windows are in these parts, and at this level if given; shape (N,), bool."""
        return np.array([w.part in parts and w.level.startswith(level) for w in self.windows])

    def of_group(self, figure: str, group: str, steps: int) -> np.ndarray:
        """A figure of the models of a group after some steps, shape (seeds, N)."""
        members = [m for m, name in enumerate(self.groups) if name == group]
        return self.figures[figure][members, self.steps.index(steps)]

    def seed_means(self, figure: str, group: str, steps: int, inside: np.ndarray) -> np.ndarray:
        """Mean of each model of a group over the windows ``inside`` for which the figure is known; shape (seeds,)."""
        return np.array([_mean(row[inside]) for row in self.of_group(figure, group, steps)])

    def is_known(self, group: str, steps: int) -> bool:
        """Whether a group has structures after some steps; baselines have them only at 0."""
        return bool(np.isfinite(self.of_group("tm", group, steps)).any())


def compare(
    candidates: Sequence[Candidate],
    windows: Sequence[Window],
    steps: Sequence[int],
    seed: int,
    workers: int | None = None,
    batch_size: int | None = None,
    controls: bool = True,
    n_samples: int = 1,
    progress: Callable[[int], None] = lambda count: None,
) -> Comparison:
    """Measure all models on all windows, with the same noise.

    Parameters
    ----------
    candidates : sequence of Candidate
    windows : sequence of Window
        See `draw_windows`.
    steps : sequence of int
        Numbers of steps after which structures are measured. Step 0 is always measured.
    seed : int
        Random seed of the noise, at 300 K. The noise of a window depends only on this, its part and its number.
    workers : int, optional
        Number of processes, with one thread each. Default: all processors. 1: this process.
    batch_size : int, optional
        Windows per batch; changes the figures only by rounding. Default: 64, or fewer if they are long.
    controls : bool
        Also measure the gaps of other sequences, the drift, noise alone and Adam: three to five times as long.
    n_samples : int
        Samples per window, see `measure`.
    progress : callable
        Called with the number of windows done so far, out of models times windows, from time to time.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If a model needs profiles and the windows have none, two models of a group are the same, or a process was
        killed.
    """
    _check(candidates, windows)
    steps = tuple(sorted({0, *steps}))
    tasks, places = [], []
    for m, candidate in enumerate(candidates):
        weights = pickle.dumps(candidate.model)
        for start, stop in _batches(windows, candidate.model, batch_size):
            tasks.append((weights, windows[start:stop], steps, seed, controls, n_samples))
            places.append((m, start, stop))
    shape = len(candidates), len(steps), len(windows)
    figures = {name: np.full(shape, np.nan) for name in FIGURES}
    count = 0
    try:
        with closing(run_tasks(_measure_pickled, tasks, workers)) as results:
            for task, found in results:
                m, start, stop = places[task]
                for name, values in found.items():
                    figures[name][m, : len(values), start:stop] = values
                count += stop - start
                progress(count)
    except BrokenProcessPool:
        raise InputError(
            "A process was killed (perhaps out of memory): use fewer --workers or a smaller --max-length."
        ) from None
    groups, sources, _ = zip(*candidates, strict=True)
    return Comparison(groups, sources, tuple(windows), steps, figures, n_samples)


def _check(candidates: Sequence[Candidate], windows: Sequence[Window]) -> None:
    width = windows[0].s.shape[1]
    known: dict[tuple[str, str], str] = {}
    for group, source, model in candidates:
        optional = "has-profile" in model.config.encoders
        if input_width(model.config) > width and not optional:
            raise InputError(
                f"The model {source} takes profiles: give --profiles, or --profile-kind for those of the set."
            )
        key = group, model.fingerprint()
        if key in known:
            raise InputError(
                f"{known[key]} and {source} are the same model, not two seeds of {group!r}: leave one out."
            )
        known[key] = source


def _batches(
    windows: Sequence[Window], model: NemoModel, batch_size: int | None
) -> Iterator[tuple[int, int]]:
    """First window of each batch, and the one after its last."""
    start = 0
    while start < len(windows):
        stop = start + 1
        while stop < len(windows) and windows[stop].part == windows[start].part:
            longest = max(len(windows[stop].s), len(windows[start].s))
            fitting = PAIR_NUMBERS // (longest**2 * model.config.pair_features)
            if stop - start >= (batch_size or min(fitting, BATCH_SIZE)):
                break
            stop += 1
        yield start, stop
        start = stop


def _measure_pickled(
    weights: bytes,
    windows: Sequence[Window],
    steps: Sequence[int],
    seed: int,
    controls: bool,
    n_samples: int,
) -> dict[str, np.ndarray]:
    return measure(_load(weights), windows, steps, seed, controls, n_samples)


@lru_cache(maxsize=1)
def _load(weights: bytes) -> NemoModel:
    return pickle.loads(weights)


def _mean(values: np.ndarray) -> float:
    """Mean of the known values."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan

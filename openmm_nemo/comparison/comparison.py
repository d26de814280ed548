"""Comparison of models with each other and with controls, on the same windows of domains: ``openmm-nemo compare``.

Every model predicts the structure of each window before simulation (step 0) and after given numbers of steps, from the
sequence, from a permutation of it and from the sequence of another window; it also simulates from the native.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from openmm_nemo.comparison.windows import MAX_WINDOWS, Window
from openmm_nemo.data.splits import PARTS
from openmm_nemo.encoders import input_width
from openmm_nemo.errors import InputError
from openmm_nemo.geometry import rmsd
from openmm_nemo.geometry.padding import centred
from openmm_nemo.geometry.similarity import contact_precision, radius_of_gyration, tm_score
from openmm_nemo.models import NemoModel
from openmm_nemo.models.batch import evaluation_mode
from openmm_nemo.processes import run_tasks
from openmm_nemo.sampling.sampling import PAIR_NUMBERS

BATCH_SIZE = 64
"""Number of windows simulated at once: more are no faster."""

FIGURES = (
    "tm",
    "rmsd_angstrom",
    "rg_ratio",
    "contact_precision",
    "bond_error_angstrom",
    "shuffled_gap",
    "swapped_gap",
    "mirror_gap",
    "drift_angstrom",
)
"""Figures measured on a window, see `measure`."""

TESTED = ("tm", "rmsd_angstrom", "drift_angstrom")
"""Figures in which groups are tested against each other."""


class Candidate(NamedTuple):
    """A model that takes part.

    Attributes
    ----------
    group : str
        Models of the same group were made in the same way with different seeds.
    source : str
        Where it comes from: its folder.
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
    """

    groups: tuple[str, ...]
    sources: tuple[str, ...]
    windows: tuple[Window, ...]
    steps: tuple[int, ...]
    figures: dict[str, np.ndarray]

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


class PairedTest(NamedTuple):
    """A figure of one group minus that of another, on the same windows.

    Attributes
    ----------
    mean, error : float
        Mean over windows, and its standard error, after averaging over the seeds of each group.
    p : float
        Two-sided p of a paired t-test. NaN, like the error, if undefined: for one window, or if all differences are
        equal or one is infinite.
    """

    mean: float
    error: float
    p: float


class Difference(NamedTuple):
    """Outcome of `paired_differences`: the first group against another one.

    Attributes
    ----------
    group, other : str
    steps, other_steps : int
    n_windows : int
    tests : dict of str to PairedTest
        By the names in `TESTED`, where both groups have the figure.
    """

    group: str
    steps: int
    other: str
    other_steps: int
    n_windows: int
    tests: dict[str, PairedTest]


def compare(
    candidates: Sequence[Candidate],
    windows: Sequence[Window],
    steps: Sequence[int],
    seed: int,
    workers: int | None = None,
    batch_size: int | None = None,
    controls: bool = True,
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
        Also measure the gaps of other sequences and the drift, which takes four times as long.
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
            tasks.append((weights, windows[start:stop], steps, seed, controls))
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
    return Comparison(groups, sources, tuple(windows), steps, figures)


def measure(
    model: NemoModel,
    windows: Sequence[Window],
    steps: Sequence[int],
    seed: int,
    controls: bool = True,
) -> dict[str, np.ndarray]:
    """Figures of a model on B consecutive windows of one part, as one batch.

    Parameters
    ----------
    model : NemoModel
    windows : sequence of Window
    steps : sequence of int
        K increasing numbers; the first is 0.
    seed : int
        Random seed of the noise.
    controls : bool
        See `compare`.

    Returns
    -------
    dict of str to ndarray, shape (K, B)
        For a baseline, (1, B). By the names in `FIGURES`:

        - tm, the exact search of `tm_score`; rmsd_angstrom, without reflection; rg_ratio, the radius of gyration over
          that of the native; contact_precision; bond_error_angstrom, the mean error of the distances between
          consecutive C-alphas.
        - shuffled_gap, swapped_gap: loss of TM-score to the same native if the model is given the shuffled sequence or
          that of another window. Zero: the model does not use the sequence.
        - mirror_gap: loss of TM-score of the structure's mirror image. Zero: the model does not know handedness.
        - drift_angstrom: RMSD to the native after the same number of steps from the native.
    """
    mask = _padded([np.ones(len(window.s)) for window in windows])
    native = _padded([window.native for window in windows])
    noise = (seed * len(PARTS) + PARTS.index(windows[0].part)) * MAX_WINDOWS + windows[0].number

    def structures(inputs: Sequence[np.ndarray], start: Tensor | None = None) -> Tensor:
        s = _padded(inputs)
        width = input_width(model.config)
        s = F.pad(s, (0, max(width - s.shape[-1], 0)))[..., :width]
        return _simulate(model, s, mask, steps, noise, start)

    found = {"own": structures([window.s for window in windows])}
    if controls:
        found["shuffled"] = structures([window.shuffled for window in windows])
        found["swapped"] = structures([w.s if w.swapped is None else w.swapped for w in windows])
        if model.energy is not None:
            found["drift"] = structures([window.s for window in windows], native)
    figures = {name: np.full(found["own"].shape[:2], np.nan) for name in FIGURES}
    for b, window in enumerate(windows):
        n = len(window.s)
        target = torch.from_numpy(window.native)
        for k in range(len(found["own"])):
            x = {name: states[k, b, :n] for name, states in found.items()}
            for name, value in _figures(x, target).items():
                figures[name][k, b] = value
        if window.swapped is None:
            figures["swapped_gap"][:, b] = np.nan
    figures["drift_angstrom"][0] = np.nan
    return figures


def paired_differences(comparison: Comparison, inside: np.ndarray) -> list[Difference]:
    """Compare the first group with all others, window by window.

    After each number of steps, the first group is compared with the others after the same number of steps, where they
    have an energy, and at step 0; and with itself at step 0. A baseline is compared at step 0.

    Parameters
    ----------
    comparison : Comparison
    inside : ndarray, shape (N,), bool
        Windows to compare on.

    Returns
    -------
    list of Difference
    """
    first, *others = comparison.group_names()
    simulated = [n for n in comparison.steps[1:] if comparison.is_known(first, n)]
    differences = []
    for steps in simulated or [0]:
        pairs = [(other, n) for other in others for n in dict.fromkeys((steps, 0))]
        for other, n in ([(first, 0)] if steps else []) + pairs:
            if comparison.is_known(other, n):
                differences.append(_difference(comparison, inside, first, steps, other, n))
    return differences


def _difference(
    comparison: Comparison, inside: np.ndarray, group: str, steps: int, other: str, other_steps: int
) -> Difference:
    tests = {}
    for figure in TESTED:
        one, two = (
            comparison.of_group(figure, name, n)[:, inside].mean(0)
            for name, n in ((group, steps), (other, other_steps))
        )
        if not np.isnan([one, two]).any():
            tests[figure] = _paired_test(one, two)
    return Difference(group, steps, other, other_steps, int(inside.sum()), tests)


def _paired_test(one: np.ndarray, two: np.ndarray) -> PairedTest:
    from scipy.stats import ttest_rel  # imported here, because it takes long

    apart = one - two
    if len(apart) < 2 or not np.isfinite(apart).all():
        return PairedTest(float(apart.mean()), np.nan, np.nan)
    error = float(apart.std(ddof=1) / np.sqrt(len(apart)))
    p = float(ttest_rel(one, two).pvalue) if error > 0 else np.nan
    return PairedTest(float(apart.mean()), error, p)


def _check(candidates: Sequence[Candidate], windows: Sequence[Window]) -> None:
    width = windows[0].s.shape[1]
    known: dict[tuple[str, str], str] = {}
    for group, source, model in candidates:
        optional = "has-profile" in model.config.encoders
        if input_width(model.config) > width and not optional:
            raise InputError(f"The model {source} takes profiles: give --profiles.")
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
    weights: bytes, windows: Sequence[Window], steps: Sequence[int], seed: int, controls: bool
) -> dict[str, np.ndarray]:
    return measure(_load(weights), windows, steps, seed, controls)


@lru_cache(maxsize=1)
def _load(weights: bytes) -> NemoModel:
    return pickle.loads(weights)


def _simulate(
    model: NemoModel,
    s: Tensor,
    mask: Tensor,
    steps: Sequence[int],
    seed: int,
    start: Tensor | None,
) -> Tensor:
    """Positions after each number of steps, shape (K, B, L, 3), Angstrom; for a baseline, (1, B, L, 3)."""
    with evaluation_mode(model), torch.no_grad():
        batch = model.condition_batch(s, mask)
        x = batch.initial_positions() if start is None else centred(start, mask)
        states = [x]
        schedule = batch.schedule(steps[-1])
        if model.energy is not None:
            for before, after in pairwise(steps):
                trajectory = batch.rollout(
                    after - before, x, seed=seed, first_step=before, schedule=schedule
                )
                x = trajectory.x[-1]
                states.append(x)
        return torch.stack(states)


def _figures(x: Mapping[str, Tensor], native: Tensor) -> dict[str, float]:
    """Figures of the structures of one window, each (L, 3)."""
    own = x["own"]
    tm = _tm(own, native)
    figures = {
        "tm": tm,
        "rmsd_angstrom": _rmsd(own, native),
        "mirror_gap": tm - _tm(own * own.new_tensor([1, 1, -1]), native),
    }
    if own.isfinite().all():
        figures |= {
            "rg_ratio": float(radius_of_gyration(own) / radius_of_gyration(native)),
            "contact_precision": contact_precision(own, native),
            "bond_error_angstrom": float((_bonds(own) - _bonds(native)).abs().mean()),
        }
    for name in x.keys() & {"shuffled", "swapped"}:
        figures[f"{name}_gap"] = tm - _tm(x[name], native)
    if "drift" in x:
        figures["drift_angstrom"] = _rmsd(x["drift"], native)
    return figures


def _tm(x: Tensor, native: Tensor) -> float:
    return tm_score(x, native) if x.isfinite().all() else 0.0


def _rmsd(x: Tensor, native: Tensor) -> float:
    return float(rmsd(x.double(), native.double())) if x.isfinite().all() else np.inf


def _bonds(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x[1:] - x[:-1], dim=-1)


def _padded(arrays: Sequence[np.ndarray]) -> Tensor:
    return pad_sequence([torch.from_numpy(array).float() for array in arrays], batch_first=True)


def _mean(values: np.ndarray) -> float:
    """Mean of the known values."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan

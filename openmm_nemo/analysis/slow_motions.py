"""The slowest motions of a chain, by time-lagged independent component analysis (TICA)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from openmm_nemo.errors import InputError
from openmm_nemo.geometry.internal import bond_angles
from openmm_nemo.optional import load_tica

N_COMPONENTS = 2

MIN_RANGE = 1e-3
"""Range of cosines and sines below which nothing moves; positions have 32 bits."""


class SlowMotions(NamedTuple):
    """Outcome of `slow_motions`.

    Attributes
    ----------
    components : list of ndarray, shape (F, 2)
        Slowest and second slowest component of the frames of each trajectory.
    times : ndarray, shape (2,)
        Their relaxation times, frames; NaN if one is not found, because it is faster than the lag.
    """

    components: list[np.ndarray]
    times: np.ndarray


def features(x: np.ndarray) -> np.ndarray:
    """Cosines of angles, and cosines and sines of dihedrals, of chains ``x (F, L, 3)``: shape (F, 3 L - 8)."""
    _, angles, dihedrals = bond_angles(torch.from_numpy(np.asarray(x, dtype=float)))
    return torch.cat([angles.cos(), dihedrals.cos(), dihedrals.sin()], dim=-1).numpy()


def slow_motions(trajectories: Sequence[np.ndarray], lag: int) -> SlowMotions:
    """Find the slowest motions (Perez-Hernandez et al., J. Chem. Phys. 139, 015102, 2013).

    Parameters
    ----------
    trajectories : sequence of ndarray, shape (F, L, 3)
        C-alpha positions of frames at equal intervals.
    lag : int
        Frames.

    Returns
    -------
    SlowMotions

    Raises
    ------
    InputError
        If deeptime is missing, there are fewer pairs of frames than features, or nothing moves.
    """
    tica = load_tica()
    of_frames = [features(x) for x in trajectories]
    count = sum(max(len(f) - lag, 0) for f in of_frames)
    needed = of_frames[0].shape[1]
    if count <= needed:
        raise InputError(
            f"--tica {lag} has {count} pairs of frames, and needs more than the {needed} angles and dihedrals: give a "
            "smaller lag, or simulate longer."
        )
    if max(np.ptp(np.concatenate(of_frames), axis=0)) < MIN_RANGE:
        raise InputError(
            f"--tica {lag} finds no motion, as all angles and dihedrals are constant: leave it out."
        )
    long_enough = [f for f in of_frames if len(f) > lag]
    model = tica(lagtime=lag, dim=N_COMPONENTS).fit_from_timeseries(long_enough).fetch_model()
    components = [model.transform(f) for f in of_frames]
    times = np.full(N_COMPONENTS, np.nan)
    found = model.timescales(k=N_COMPONENTS)
    times[: len(found)] = found
    return SlowMotions(components, times)

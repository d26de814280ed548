"""Which frames of a trajectory are independent samples of equilibrium."""

import numpy as np

from openmm_nemo.optional import load_pymbar


def independent_frames(*series: np.ndarray, skip: int | None = None) -> np.ndarray:
    """Frames after equilibration, as far apart as the slowest series is correlated.

    The statistical inefficiency is 1 + 2 times the correlation time in frames (Chodera et al., J. Chem. Theory Comput.
    3, 26, 2007). Equilibration ends where the largest number of independent samples of any series follows (Chodera, J.
    Chem. Theory Comput. 12, 1799, 2016), and at least with the slowest series.

    Parameters
    ----------
    *series : ndarray, shape (F,)
        Energy and other values of the frames.
    skip : int, optional
        Frames to leave out at the beginning. Default: those before equilibration.

    Returns
    -------
    ndarray of int
        Indices, ascending.
    """
    timeseries = load_pymbar().timeseries
    n = len(series[0])
    if skip is None:
        coarse = max(1, n // 50)
        starts = [timeseries.detect_equilibration(values, nskip=coarse)[0] for values in series]
        skip = max(starts)
    kept = [values[skip:] for values in series]
    inefficiencies = [
        timeseries.statistical_inefficiency(values) for values in kept if np.ptp(values) > 0
    ]
    step = max(inefficiencies, default=1.0)
    count = max(int((n - skip - 1) / step) + 1, 0)
    return skip + np.round(np.arange(count) * step).astype(int)

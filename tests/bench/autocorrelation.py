"""Integrated autocorrelation times of stationary runs, also of runs that are shorter than these times."""

from typing import NamedTuple

import numpy as np

WINDOW = 5.0
FADED = 0.1


class AutocorrelationTime(NamedTuple):
    """How many frames a run takes for one effective sample.

    Attributes
    ----------
    frames : float
        1 + 2 (rho(1) + rho(2) + ...): n frames are worth n / frames independent ones.
    complete : bool
        Whether the runs were long enough to see rho fade; else ``frames`` is mostly an extrapolation.
    """

    frames: float
    complete: bool


def autocorrelation_time(runs: np.ndarray, mean: float, variance: float) -> AutocorrelationTime:
    """Integrated autocorrelation time, summed up to a window of 5 times itself (Sokal, Monte Carlo lectures, 1996).

    Lags up to half a run are used. Where the window is longer, rho comes from `mean_square_change` instead of the
    covariance, and is summed until it falls below 0.1 or lags end; the rest is the exponential through rho(0) = 1 and
    the last lag. The logarithm of a sum of decaying exponentials, which rho of a reversible process is, is convex: this
    rest is too small, if anything, and but for its noise the time is a lower bound.

    Parameters
    ----------
    runs : ndarray, shape (runs, n)
        Stationary from the first frame on.
    mean, variance : float
        Those of the stationary distribution, from elsewhere or of all ``runs`` together if they are long enough.
    """
    lags = runs.shape[1] // 2 + 1
    covariance = _products(runs - mean)[:lags]
    times = 2 * np.cumsum(covariance / covariance[0]) - 1
    inside = np.flatnonzero(np.arange(lags) >= WINDOW * times)
    if len(inside):
        return AutocorrelationTime(max(float(times[inside[0]]), 1.0), True)
    rho = 1 - mean_square_change(runs)[:lags] / (2 * variance)
    faded = np.flatnonzero(rho < FADED)
    last = int(faded[0]) if len(faded) else lags - 1
    decay = np.clip(rho[last], FADED / 10, 1 - 1e-9) ** (1 / last)
    tail = max(rho[last], 0.0) * decay / (1 - decay)
    return AutocorrelationTime(float(2 * (rho[: last + 1].sum() + tail) - 1), len(faded) > 0)


def mean_square_change(runs: np.ndarray) -> np.ndarray:
    """<(x(s + t) - x(s))^2> at lags t = 0 ... n-1.

    It is 2 variance (1 - rho(t)), needs no mean, and is precise at lags that are short beside the autocorrelation time,
    of which a covariance says little.

    Parameters
    ----------
    runs : ndarray, shape (runs, n)

    Returns
    -------
    ndarray, shape (n,)
    """
    runs = runs - runs.mean()
    n = runs.shape[1]
    squares = np.concatenate([[0.0], np.cumsum((runs**2).mean(axis=0))])
    first, last = (
        squares[:0:-1],
        squares[-1] - squares[:-1],
    )  # sums over the first and last n - t frames
    return (first + last) / np.arange(n, 0, -1) - 2 * _products(runs)


def _products(x: np.ndarray) -> np.ndarray:
    """<x(s) x(s + t)> at lags t = 0 ... n-1."""
    n = x.shape[1]
    spectrum = np.fft.rfft(x, 2 * n, axis=1)
    sums = np.fft.irfft((np.abs(spectrum) ** 2).mean(axis=0), 2 * n)[:n]
    return sums / np.arange(n, 0, -1)

"""Autocorrelation times of an AR(1) process, x(t+1) = phi x(t) + noise: rho(t) = phi^t, whose sum is known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from tests.bench.autocorrelation import autocorrelation_time, mean_square_change


def autoregressive(phi: float, runs: int, n: int) -> np.ndarray:
    """Stationary runs with mean 5 and variance 4."""
    noise = np.random.default_rng(1).normal(size=(runs, n))
    noise[:, 1:] *= np.sqrt(1 - phi**2)
    return 5 + 2 * lfilter([1], [1, -phi], noise, axis=1)


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.98])
def test_time_of_runs_that_are_long(phi):
    time = autocorrelation_time(autoregressive(phi, 8, 50_000), 5.0, 4.0)
    assert time.complete
    assert time.frames == pytest.approx((1 + phi) / (1 - phi), rel=0.1)


def test_time_of_runs_that_are_shorter_than_it():
    time = autocorrelation_time(autoregressive(0.999, 400, 1000), 5.0, 4.0)
    assert not time.complete
    assert time.frames == pytest.approx(1999, rel=0.15)


def test_time_of_a_sum_of_two_processes_is_a_lower_bound_for_short_runs():
    slow, fast = autoregressive(0.9995, 400, 1000), autoregressive(0.9, 400, 1000)[::-1]
    time = autocorrelation_time(slow + fast, 10.0, 8.0)
    assert not time.complete
    exact = 0.5 * (1.9995 / 0.0005 + 19)
    assert 0.3 * exact < time.frames < 1.05 * exact


def test_effective_samples_tell_the_error_of_the_mean():
    runs = autoregressive(0.95, 2000, 4000)
    time = autocorrelation_time(runs, 5.0, 4.0)
    assert runs.mean(axis=1).var() == pytest.approx(4 * time.frames / 4000, rel=0.15)


def test_mean_square_change_is_that_of_its_definition():
    runs = np.random.default_rng(0).normal(size=(3, 7))
    expected = [((runs[:, t:] - runs[:, : 7 - t]) ** 2).mean() for t in range(7)]
    np.testing.assert_allclose(mean_square_change(runs), expected, atol=1e-12)

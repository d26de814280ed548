"""Independent frames of time series whose correlation is known."""

import numpy as np
import pytest
from scipy.signal import lfilter

from openmm_nemo.analysis.independence import independent_frames


def correlated(n: int, time: float, seed: int) -> np.ndarray:
    """A stationary series whose correlation decays as exp(-t / time)."""
    a = np.exp(-1 / time)
    noise = np.random.default_rng(seed).normal(size=n) * (1 - a**2) ** 0.5
    noise[0] /= (1 - a**2) ** 0.5
    return lfilter([1], [1, -a], noise)


@pytest.mark.parametrize("time", [0.1, 5, 20])
def test_frames_are_apart_by_the_statistical_inefficiency(time):
    found = independent_frames(correlated(20000, time, 1), skip=0)
    expected = (1 + np.exp(-1 / time)) / (1 - np.exp(-1 / time))
    assert np.diff(found).mean() == pytest.approx(expected, rel=0.25)
    assert found[0] == 0
    assert found[-1] < 20000


def test_the_slowest_series_counts():
    fast, slow = correlated(5000, 1, 1), correlated(5000, 20, 2)
    alone = independent_frames(slow, skip=0)
    np.testing.assert_array_equal(independent_frames(fast, slow, skip=0), alone)
    assert len(independent_frames(fast, skip=0)) > 5 * len(alone)


def test_what_comes_before_equilibration_is_left_out():
    series = correlated(2000, 1, 3)
    series[:400] += np.linspace(20, 0, 400)
    found = independent_frames(series)
    assert 300 <= found[0] <= 600
    at_equilibrium = correlated(2000, 0.1, 5)
    for other in (np.zeros(2000), at_equilibrium):
        np.testing.assert_array_equal(independent_frames(other, series), found)
    assert independent_frames(at_equilibrium)[0] < 100


def test_frames_to_skip_are_skipped():
    found = independent_frames(correlated(500, 1, 4), skip=123)
    assert found[0] == 123


def test_series_without_variance_or_of_one_frame():
    np.testing.assert_array_equal(independent_frames(np.ones(5)), np.arange(5))
    np.testing.assert_array_equal(independent_frames(np.ones(1)), [0])
    np.testing.assert_array_equal(independent_frames(np.arange(5.0), skip=4), [4])

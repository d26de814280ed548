"""Temperatures of replica exchange: what their spacing is worth for energies of known distribution."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import betainc

from openmm_nemo.dynamics.ladder import distance_of, geometric_ladder, spaced_ladder


def test_geometric_ladder():
    np.testing.assert_allclose(geometric_ladder(200, 1600, 4), [200, 400, 800, 1600])


@pytest.mark.parametrize("acceptance", [0.1, 0.5, 0.9])
def test_acceptance_at_a_distance(acceptance):
    """Normal energies of deviation s, whose means follow from it: the integral of min(1, A)."""
    beta, other, s = 1.0, 0.8, distance_of(acceptance) / 0.2
    assert math.erfc(0.2 * s / 2) == pytest.approx(acceptance, rel=1e-9)
    # U - U' at 1/kT = beta and other; the mean of U falls by s^2 per unit of 1/kT.
    difference = stats.norm(-(beta - other) * s**2, math.sqrt(2) * s)

    def weighted(d):
        return difference.pdf(d) * min(1, math.exp((beta - other) * d))

    ends = difference.mean() + 12 * difference.std() * np.array([-1, 1])
    found, _ = integrate.quad(weighted, *ends, points=[0], limit=400)
    assert found == pytest.approx(acceptance, rel=1e-6)


@pytest.mark.parametrize("acceptance", [0.2, 0.5])
@pytest.mark.parametrize("freedom", [60, 600])
def test_ladder_of_harmonic_energies(freedom, acceptance):
    """Geometric, and with the acceptance of the incomplete beta law as close as whole numbers of replicas allow."""
    trial = geometric_ladder(300, 900, 5)
    ladder = spaced_ladder(trial, np.full(5, math.sqrt(freedom / 2)), acceptance)
    np.testing.assert_allclose(ladder, geometric_ladder(300, 900, len(ladder)), rtol=1e-9)

    def law(n):
        ratio = 3 ** (-1 / (n - 1))
        return 2 * betainc(freedom / 2, freedom / 2, ratio / (1 + ratio))

    assert law(len(ladder)) > acceptance - 0.01
    assert law(len(ladder) - 1) < acceptance + 0.01


def test_neighbours_are_equally_far_where_the_heat_capacity_is_not_constant():
    trial = geometric_ladder(300, 500, 9)
    deviations = 5 + 20 * np.exp(-(((trial - 380) / 30) ** 2))
    ladder = spaced_ladder(trial, deviations, 0.4)

    def density(log_t):
        return np.interp(log_t, np.log(trial), deviations)

    distances = [
        integrate.quad(density, *np.log(pair), points=np.log(trial), limit=200)[0]
        for pair in pairwise(ladder)
    ]
    np.testing.assert_allclose(distances, np.mean(distances), rtol=2e-3)
    assert np.mean(distances) <= distance_of(0.4)
    assert np.mean(distances) * len(distances) / (len(distances) - 1) > distance_of(0.4)
    assert ladder[0] == 300
    assert ladder[-1] == 500
    # Closer together at the peak.
    assert np.diff(ladder).argmin() == np.abs((ladder[1:] + ladder[:-1]) / 2 - 380).argmin()


def test_two_temperatures_are_enough_for_energies_that_do_not_vary():
    assert spaced_ladder(np.array([300.0, 400.0]), np.zeros(2), 0.5).tolist() == [300, 400]

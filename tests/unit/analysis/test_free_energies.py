"""MBAR's free energies of a double well, against integrals, from exact samples."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from openmm_nemo.analysis.free_energies import ReweightedSamples
from openmm_nemo.engine.units import GAS_CONSTANT

TEMPERATURES = (250.0, 320.0, 400.0)
GRID = np.linspace(-2.5, 2.5, 20001)
EDGES = np.linspace(-1.5, 1.5, 13)


def double_well(x: np.ndarray) -> np.ndarray:
    """An uneven double well with a barrier of 8 kJ/mol: 3 kT."""
    return 8 * (x**2 - 1) ** 2 + 1.5 * x


def weights(temperature: float) -> np.ndarray:
    """Boltzmann's factors on the grid."""
    return np.exp(-double_well(GRID) / (GAS_CONSTANT * temperature))


def integral(values: np.ndarray) -> float:
    return float(np.trapezoid(values, GRID))


def sample(temperature: float, n: int, random: np.random.Generator) -> np.ndarray:
    """Exact samples, by inversion of the distribution function."""
    cumulative = np.cumsum(weights(temperature))
    return np.interp(random.uniform(0, cumulative[-1], n), cumulative, GRID)


def samples(seed: int, n: int) -> tuple[np.ndarray, ReweightedSamples]:
    random = np.random.default_rng(seed)
    x = [sample(t, n, random) for t in TEMPERATURES]
    return np.concatenate(x), ReweightedSamples([double_well(y) for y in x], TEMPERATURES)


def profile(temperature: float) -> np.ndarray:
    """Free energy of the bins, kT, less the lowest."""
    w = weights(temperature)
    inside = [w[(a <= GRID) & (b > GRID)].sum() for a, b in pairwise(EDGES)]
    found = -np.log(inside)
    return found - found.min()


def test_averages_are_the_integrals():
    """Also at temperatures between and beyond those that were sampled."""
    temperatures = np.array([250.0, 285.0, 360.0, 420.0])
    energy = double_well(GRID)
    z = [integral(weights(t)) for t in temperatures]
    mean = [integral(energy * weights(t)) / z0 for t, z0 in zip(temperatures, z, strict=True)]
    square = [integral(energy**2 * weights(t)) / z0 for t, z0 in zip(temperatures, z, strict=True)]
    capacity = (square - np.square(mean)) / (GAS_CONSTANT * temperatures**2)
    deviations = []
    for seed in range(12):
        _, reweighted = samples(seed, 1500)
        t = reweighted.thermodynamics(temperatures)
        np.testing.assert_allclose(t.free_energy, -np.log(np.array(z) / z[0]), atol=0.03)
        deviations += [*((t.energy - mean) / t.energy_error)]
        deviations += [*((t.heat_capacity - capacity) / t.heat_capacity_error)]
        deviations += [
            *((t.free_energy + np.log(np.array(z) / z[0]))[1:] / t.free_energy_error[1:])
        ]
    # The errors are those that are stated.
    assert np.std(deviations) == pytest.approx(1, abs=0.3)
    assert abs(np.mean(deviations)) < 0.4


def test_profile_is_the_double_well_with_its_errors():
    deviations = []
    for seed in range(12):
        x, reweighted = samples(seed, 1500)
        inside = (x > EDGES[0]) & (x < EDGES[-1])
        assert inside.mean() > 0.99
        for t in (250.0, 300.0, 400.0):
            value, error = reweighted.profile(np.clip(x, EDGES[0], EDGES[-1]), EDGES, t)
            expected = profile(t)
            inner = slice(1, -1)  # those at the ends have the tails, too
            top = value[inner].argmin() + 1
            difference = value - value[top] - (expected - expected[top])
            kept = [k for k in range(1, len(value) - 1) if k != top]
            deviations += (difference[kept] / error[kept]).tolist()
            assert np.abs(difference[kept]).max() < 0.6
    assert np.std(deviations) == pytest.approx(1, abs=0.2)


def test_bins_that_only_another_temperature_reaches_are_unknown():
    energy = np.random.default_rng(0).normal(size=(2, 300))
    energy[1, :3] = 1000
    reweighted = ReweightedSamples(list(energy), (200, 2000))
    edges = np.array([-5, 0, 5, 2000])
    value, error = reweighted.profile(energy.ravel(), edges, 200)
    np.testing.assert_array_equal(np.isfinite(value), [True, True, False])
    np.testing.assert_array_equal(np.isfinite(error), [True, True, False])


def test_density_does_not_depend_on_the_width_of_bins():
    x, reweighted = samples(1, 3000)
    wide, _ = reweighted.profile(np.clip(x, -1.5, 1.5), EDGES, 300)
    merged = np.delete(EDGES, 5)  # bins 4 and 5, on the slope, become one
    value, _ = reweighted.profile(np.clip(x, -1.5, 1.5), merged, 300)
    np.testing.assert_allclose(np.delete(value, 4), np.delete(wide, [4, 5]), atol=1e-9)
    assert min(wide[4:6]) < value[4] < max(wide[4:6])


def test_empty_bins_are_unknown_and_the_deepest_is_zero_without_error():
    x, reweighted = samples(0, 200)
    edges = np.array([-1.6, -1.5, -0.5, 0.5, 1.6, 7, 8])
    value, error = reweighted.profile(np.clip(x, -1.6, 1.6), edges, 320)
    assert np.isnan(value[-2:]).all()
    assert np.isnan(error[-2:]).all()
    known = value[np.isfinite(value)]
    assert known.min() == 0
    assert error[np.nanargmin(value)] == pytest.approx(0, abs=1e-6)


def test_overlap_is_half_of_equal_and_none_of_distant_samples():
    energy = np.random.default_rng(0).normal(size=500)
    (same,) = ReweightedSamples([energy, energy[::-1]], (300, 300 + 1e-9)).overlap()
    assert same == pytest.approx(0.5, abs=1e-6)
    (apart,) = ReweightedSamples([energy, energy + 500], (100, 900)).overlap()
    assert apart < 1e-6


def test_covariance_is_that_of_repeated_sampling():
    found, stated = [], []
    for seed in range(60):
        x, reweighted = samples(seed, 150)
        mean, covariance = reweighted.means(np.stack([x, x**2, (x > 0) * 1.0]), 300)
        found.append(mean)
        stated.append(covariance)
    expected = np.cov(np.array(found).T)
    scale = np.sqrt(np.outer(expected.diagonal(), expected.diagonal()))
    np.testing.assert_allclose(np.mean(stated, axis=0) / scale, expected / scale, atol=0.4)
    w = weights(300)
    exact = [integral(f * w) / integral(w) for f in (GRID, GRID**2, (GRID > 0) * 1.0)]
    z = (np.mean(found, axis=0) - exact) / np.sqrt(expected.diagonal() / len(found))
    assert 2 * stats.norm.sf(np.abs(z).max()) > 1e-3

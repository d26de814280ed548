"""The check of an ensemble, on exact samples: those that are right pass, those that are wrong are found."""

import numpy as np
import pytest
from scipy import optimize, stats

from openmm_nemo.analysis.ensemble_check import MAX_DEVIATION, check_ensemble
from openmm_nemo.engine.units import GAS_CONSTANT
from openmm_nemo.errors import InputError
from tests.helpers import raises

LOW, HIGH = 290.0, 310.0
N_OSCILLATORS = 60


def harmonic(temperature: float, n: int, random: np.random.Generator) -> np.ndarray:
    """Energies of 60 harmonic oscillators, which have a Gamma distribution, kJ/mol."""
    return random.gamma(N_OSCILLATORS / 2, GAS_CONSTANT * temperature, n)


def test_deviations_of_exact_samples_are_normal():
    """The rate of false alarms is that of a normal distribution beyond 3: 0.27%; 400 checks have 1.1 of them."""
    random = np.random.default_rng(1)
    checks = [
        check_ensemble(harmonic(LOW, 150, random), harmonic(HIGH, 100, random), (LOW, HIGH))
        for _ in range(400)
    ]
    deviations = np.array([check.deviation for check in checks])
    assert stats.kstest(deviations, "norm").pvalue > 0.01
    assert sum(not check.consistent for check in checks) <= 5  # more have a probability of 1e-3


@pytest.mark.parametrize("wrong", [0.75, 1.25])
def test_samples_at_a_wrong_temperature_are_found(wrong):
    """Both sampled at one temperature too high, as by a thermostat that is off, and only one of them."""
    random = np.random.default_rng(2)
    low = harmonic(LOW, 8000, random)
    only = check_ensemble(low, harmonic(LOW + wrong * (HIGH - LOW), 8000, random), (LOW, HIGH))
    assert not only.consistent
    assert (only.deviation > 0) == (wrong > 1)
    both = check_ensemble(
        harmonic(LOW / wrong**2, 8000, random), harmonic(HIGH / wrong**2, 8000, random), (LOW, HIGH)
    )
    assert not both.consistent


def test_line_is_of_the_greatest_likelihood():
    random = np.random.default_rng(3)
    low, high = harmonic(LOW, 300, random), harmonic(HIGH, 200, random)
    check = check_ensemble(low, high, (LOW, HIGH))
    shift = np.log(len(high) / len(low))

    def loss(line):
        return (
            np.logaddexp(0, shift + line[0] + line[1] * low).sum()
            + np.logaddexp(0, -shift - line[0] - line[1] * high).sum()
        )

    found = optimize.minimize(loss, [check.offset + 1, check.slope * 1.1], method="Nelder-Mead",
                              options={"xatol": 1e-9, "fatol": 1e-9, "maxiter": 4000})  # fmt: skip
    np.testing.assert_allclose([check.offset, check.slope], found.x, rtol=1e-4)
    assert check.expected == pytest.approx((1 / LOW - 1 / HIGH) / 0.00831446261815324, rel=1e-6)
    # Where both energies are equally likely: Z_high / Z_low = (HIGH / LOW)^(n/2).
    crossing = N_OSCILLATORS / 2 * np.log(HIGH / LOW) / check.expected
    assert -check.offset / check.slope == pytest.approx(crossing, rel=0.02)


def test_error_bar_is_the_spread_of_the_slope():
    random = np.random.default_rng(4)
    checks = [
        check_ensemble(harmonic(LOW, 400, random), harmonic(HIGH, 200, random), (LOW, HIGH))
        for _ in range(200)
    ]
    spread = np.std([check.slope for check in checks])
    assert np.mean([check.error for check in checks]) == pytest.approx(spread, rel=0.15)


def test_energies_that_do_not_overlap_are_refused():
    with raises(InputError, "overlap", "closer"):
        check_ensemble(np.linspace(0, 1, 60), np.linspace(2, 3, 60), (LOW, HIGH))
    with raises(InputError, "overlap"):
        check_ensemble(np.zeros(60), np.zeros(60), (LOW, HIGH))


def test_limit_is_the_one_that_is_documented():
    assert MAX_DEVIATION == 3
    assert 2 * stats.norm.sf(MAX_DEVIATION) == pytest.approx(0.0027, rel=0.01)

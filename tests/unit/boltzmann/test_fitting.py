"""Parts of the training whose values are known."""

import math

import numpy as np
import pytest
import torch

from openmm_nemo.boltzmann import fitting
from openmm_nemo.boltzmann.energies import EnergyPool
from openmm_nemo.boltzmann.fitting import (
    CLASH,
    Fit,
    FitSettings,
    effective_fraction,
    regularised,
)
from openmm_nemo.boltzmann.flow import MoleculeFlow
from openmm_nemo.boltzmann.molecule import choose_coordinates
from openmm_nemo.errors import InputError
from tests.helpers import generator, raises
from tests.unit.boltzmann.molecules import beads, minimum


def test_energies_count_logarithmically_from_a_clash_on():
    u = torch.tensor([-5.0, CLASH, CLASH + 1, 1e12, math.inf], dtype=torch.float64)
    expected = [-5, CLASH, CLASH + math.log(2), CLASH + math.log(1e12), math.inf]
    np.testing.assert_allclose(regularised(u), expected, rtol=1e-9)


def test_the_gradient_of_a_clash_is_small_and_finite():
    u = torch.tensor([3.0, CLASH + 9, 1e12], dtype=torch.float64, requires_grad=True)
    regularised(u).sum().backward()
    np.testing.assert_allclose(u.grad, [1, 0.1, 1e-12], rtol=1e-6)


@pytest.mark.parametrize(
    ("weights", "fraction"),
    [([1, 1, 1, 1], 1.0), ([1, 0, 0, 0], 0.25), ([3, 1], 16 / 20), ([0, 0], 0.0)],
)
def test_the_effective_fraction_is_that_of_kish(weights, fraction):
    log_weights = torch.log(torch.tensor(weights, dtype=torch.float64)) - 700
    assert effective_fraction(log_weights) == pytest.approx(fraction)


def _fit(settings: FitSettings, seed: int = 1) -> Fit:
    system, topology, x = beads()
    pool = EnergyPool(system, workers=1)
    torch.manual_seed(0)
    x = minimum(system, x)
    flow = MoleculeFlow(choose_coordinates(topology, x, pool, 300.0))
    return Fit(flow, system, pool, 300.0, 0.0, settings, seed)


SMALL = FitSettings(
    hot=900, hot_updates=20, draws=512, buffer=256, updates=10, batch=64, last_stages=2, moves=5
)


def test_training_goes_down_to_the_final_temperature_and_stays_there():
    stages = _fit(SMALL).run()
    temperatures = [stage.temperature for stage in stages]
    assert temperatures[0] == 900
    assert temperatures[-1] == 300
    assert temperatures.count(300) == SMALL.last_stages - 1
    steps = np.divide(temperatures[1:], temperatures[:-1])
    assert (steps <= 1).all()
    assert (steps > SMALL.coldest - 1e-9).all()
    evaluations = [stage.evaluations for stage in stages]
    assert evaluations == sorted(evaluations)


def test_a_falling_effective_sample_size_slows_the_annealing():
    """The flow of another temperature loses it sooner, the more must be left."""

    def first_temperature(patience: float) -> float:
        fit = _fit(FitSettings(hot=900, draws=2048, buffer=64, patience=patience))
        fit.flow.stiff.widen(
            math.sqrt(900 / 300)
        )  # right at 900 K, but not for the wells at lower ones
        fit._next_stage()
        return fit.temperature

    patient, hasty = first_temperature(0.97), first_temperature(0.1)
    assert hasty == pytest.approx(0.7 * 900)
    assert hasty < patient <= 900


def test_local_moves_keep_what_they_should():
    """Springs have their fluctuations at any temperature, and the same seed gives the same."""
    x = torch.from_numpy(10 * beads()[2]).expand(400, 4, 3).clone()
    first, second = (_fit(SMALL).dynamics.move(x, 600.0, 400) for _ in range(2))
    assert (first == second).all()
    bonds = (first[:, 1:] - first[:, :-1]).norm(dim=-1)
    expected = math.sqrt(2 * 100 / 20_000)
    # 400 samples: a standard error of 3.5 percent; false alarm below 1 in 100,000.
    assert float(bonds[:, 1].std()) == pytest.approx(expected, rel=0.16)


def test_structures_are_chosen_as_often_as_their_weights_say():
    """At most one copy more or fewer, with a mean that is right."""
    fit = _fit(FitSettings(buffer=100))
    probabilities = torch.tensor([0.5, 0.004, 0.396, 0.1], dtype=torch.float64)
    counts = np.array(
        [np.bincount(fit._chosen(probabilities), minlength=4) for _ in range(500)], dtype=float
    )
    assert (np.abs(counts - 100 * probabilities.numpy()) <= 1 + 1e-9).all()
    # Five standard errors of a mean of numbers that are 0 or 1 copies apart.
    np.testing.assert_allclose(counts.mean(0), 100 * probabilities, atol=5 * 0.5 / 500**0.5)


def test_structures_with_rare_torsions_are_chosen_more_often(monkeypatch):
    """Their density is the power of it that is documented, so that the reverse divergence does not drain them."""

    def mean_log_density(rare: float) -> float:
        monkeypatch.setattr(fitting, "RARE", rare)
        fit = _fit(FitSettings(hot=300, draws=8192, buffer=4096, moves=0))
        with torch.no_grad():  # a density with hills and valleys
            for weight in fit.flow.torsions.parameters():
                weight.add_(0.4 * torch.randn(weight.shape, generator=generator(2)))
        d, _ = fit._next_stage()
        with torch.no_grad():
            return float(fit.flow.torsions.log_prob(d).mean())

    flat, half, full = (mean_log_density(rare) for rare in (0.0, 0.5, 1.0))
    assert flat > half + 0.05
    assert half > full + 0.05


def test_clashes_do_not_pay_for_width(monkeypatch):
    """Where all structures clash, stiff coordinates are as wide as in the harmonic approximation: 1 at 300 K."""

    def loss(width: float) -> float:
        fit = _fit(FitSettings(hot=300))
        monkeypatch.setattr(fit, "_energies", lambda x: torch.full(x.shape[:1], 1e6).double())
        fit.flow.stiff.widen(width)
        with torch.no_grad():
            return float(fit._reverse(4096))

    losses = [loss(width) for width in (0.3, 1.0, 3.0, 10.0)]
    assert min(losses) == losses[1]
    assert losses[3] > losses[2]


def test_a_flow_that_has_learned_nothing_is_refused():
    fit = _fit(FitSettings(hot=300, draws=64))
    fit.flow.stiff.widen(100.0)
    with raises(InputError, "300 K", "64", "hot_updates"):
        fit._next_stage()

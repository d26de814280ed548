"""Roll-outs: what they return, what each argument means, and where their numbers come from."""

import importlib

import pytest
import torch

from openmm_nemo.dynamics import (
    INTEGRATORS,
    StepOptions,
    StepParameters,
    energy_and_gradient,
    langevin_noise,
    rollout,
)
from tests.helpers import random_chain, uniform
from tests.tolerances import TOLERANCES, assert_close
from tests.unit.dynamics.energies import chain_energy

EVERY_INTEGRATOR = pytest.mark.parametrize("integrator", INTEGRATORS)
N_CHAINS, N_BEADS = 3, 6


def make_start(dtype=torch.float64):
    """Positions and parameters of chains that differ."""
    parameters = StepParameters(
        uniform(0.005, 0.02, N_CHAINS, seed=1),
        uniform(0.002, 0.01, N_CHAINS, seed=2),
        uniform(0.5, 2, N_CHAINS, N_BEADS, seed=3),
        uniform(0.5, 2, N_CHAINS, N_BEADS, 3, seed=4),
        torch.ones(N_CHAINS, N_BEADS, dtype=torch.float64),
    )
    x = random_chain(N_CHAINS, N_BEADS).to(dtype)
    return x, StepParameters(*(value.to(dtype) for value in parameters))


def member(parameters, k):
    return StepParameters(*(value[k : k + 1] for value in parameters))


def test_energy_and_gradient_are_those_of_the_function():
    x = random_chain(2, 5)
    u, gradient = energy_and_gradient(lambda x: (x**3).sum((-1, -2)), x)
    assert_close(u, (x**3).sum((-1, -2)), "rounding")
    assert_close(gradient, 3 * x**2, "rounding")
    assert not u.requires_grad
    assert not gradient.requires_grad
    assert not x.requires_grad


def test_energy_and_gradient_can_be_differentiated_again():
    x = random_chain(2, 5).requires_grad_()
    u, gradient = energy_and_gradient(lambda x: (x**3).sum((-1, -2)), x, create_graph=True)
    assert_close(torch.autograd.grad(u.sum(), x, retain_graph=True)[0], 3 * x**2, "rounding")
    assert_close(torch.autograd.grad(gradient.sum(), x)[0], 6 * x, "rounding")


@EVERY_INTEGRATOR
@pytest.mark.parametrize("options", [StepOptions(), StepOptions(0.2, False, True)])
def test_rollout_is_a_loop_of_steps(integrator, options):
    x, parameters = make_start()
    run = rollout(
        chain_energy,
        x,
        parameters,
        5,
        seed=40,
        first_step=7,
        integrator=integrator,
        options=options,
    )
    seeds = torch.arange(40, 40 + N_CHAINS)
    noise = langevin_noise(seeds, torch.zeros_like(seeds), 7, 5, N_BEADS)
    assert torch.equal(run.x[0], x)
    for t in range(5):
        u, gradient = energy_and_gradient(chain_energy, run.x[t])
        result = INTEGRATORS[integrator](run.x[t], gradient, noise[t], parameters, options)
        assert torch.equal(run.x[t + 1], result.x)
        assert torch.equal(run.energy[t], u)
        assert torch.equal(run.clipped[t], result.clipped)
        assert torch.equal(run.largest_displacement[t], result.largest_displacement)
    assert len(run.x) == 6
    assert run.energy.shape == run.clipped.shape == run.largest_displacement.shape == (5, N_CHAINS)


def test_defaults_are_the_mixed_integrator_and_the_options_of_the_paper():
    x, parameters = make_start()
    named = rollout(
        chain_energy, x, parameters, 3, seed=0, integrator="mixed", options=StepOptions()
    )
    assert torch.equal(rollout(chain_energy, x, parameters, 3).x, named.x)


@EVERY_INTEGRATOR
def test_member_of_a_batch_moves_as_it_would_alone(integrator):
    x, parameters = make_start()
    batch = rollout(chain_energy, x, parameters, 20, seed=5, integrator=integrator)
    for k in range(N_CHAINS):
        alone = rollout(
            chain_energy,
            x[k : k + 1],
            member(parameters, k),
            20,
            seed=5 + k,
            integrator=integrator,
        )
        assert_close(batch.x[:, k], alone.x[:, 0], "round_trip")
        assert_close(batch.energy[:, k], alone.energy[:, 0], "round_trip")


@EVERY_INTEGRATOR
def test_two_runs_in_a_row_are_one_run(integrator):
    # 80 and 50 steps: neither ends where a block of noise does.
    x, parameters = make_start()
    whole = rollout(chain_energy, x, parameters, 130, seed=9, integrator=integrator)
    first = rollout(chain_energy, x, parameters, 80, seed=9, integrator=integrator)
    second = rollout(
        chain_energy, first.x[-1], parameters, 50, seed=9, first_step=80, integrator=integrator
    )
    assert torch.equal(whole.x, torch.cat([first.x, second.x[1:]]))
    assert torch.equal(whole.energy, torch.cat([first.energy, second.energy]))


def test_size_of_the_blocks_of_noise_does_not_matter(monkeypatch):
    x, parameters = make_start()
    expected = rollout(chain_energy, x, parameters, 70)
    # The package exports a function of the same name as this module.
    module = importlib.import_module("openmm_nemo.dynamics.noise")
    monkeypatch.setattr(module, "NOISE_BLOCK", 7)
    assert torch.equal(rollout(chain_energy, x, parameters, 70).x, expected.x)


def test_seeds_give_different_runs_and_the_same_seed_the_same():
    x, parameters = make_start()
    runs = [rollout(chain_energy, x, parameters, 5, seed=seed).x for seed in (3, 3, 2**40 + 3)]
    assert torch.equal(runs[0], runs[1])
    assert (runs[0] - runs[2])[1:].abs().amax((1, 2, 3)).min() > 0.01


@EVERY_INTEGRATOR
@pytest.mark.parametrize("corrected", [False, True])
def test_temperature_divides_the_force_and_nothing_else(integrator, corrected):
    x, parameters = make_start()
    options = StepOptions(measure_correction=corrected)
    how = {"seed": 3, "integrator": integrator, "options": options}
    hot = rollout(chain_energy, x, parameters, 10, temperature=450, **how)
    weak = rollout(lambda x: chain_energy(x) / 1.5, x, parameters, 10, **how)
    assert_close(hot.x, weak.x, "round_trip")
    assert_close(hot.energy, 1.5 * weak.energy, "round_trip")


@pytest.mark.boltzmann
def test_temperature_is_that_of_the_samples():
    # Two beads on a spring, many times over: <|r|^2> = 3 T / (300 k), within 4 standard errors of 4000 samples. The
    # discretisation adds 1.3%, as much as one.
    n, stiffness, step = 4000, 2.0, 0.0125
    one = torch.ones(n, 2, dtype=torch.float64)
    parameters = StepParameters(
        step * one[:, 0], 0 * one[:, 0], one, one[..., None] * one[0, 0], one
    )
    x = torch.zeros(n, 2, 3, dtype=torch.float64)

    def energy(x):
        return 0.5 * stiffness * (x[:, 1] - x[:, 0]).square().sum(-1)

    options = StepOptions(detrend=False)
    run = rollout(energy, x, parameters, 150, temperature=600, options=options)
    squared = (run.x[-1, :, 1] - run.x[-1, :, 0]).square().sum(-1)
    expected = 3 * 2 / stiffness
    error = expected * (2 / 3 / n) ** 0.5
    assert abs(squared.mean() - expected) < 4 * error


def test_graph_is_kept_only_on_demand():
    x, parameters = make_start()
    leaf = parameters.internal_preconditioner.requires_grad_()
    assert not rollout(chain_energy, x, parameters, 2).x.requires_grad
    run = rollout(chain_energy, x, parameters, 2, differentiable=True)
    assert run.x.requires_grad
    assert run.energy.requires_grad
    assert torch.equal(run.x, rollout(chain_energy, x, parameters, 2).x)
    (slope,) = torch.autograd.grad(run.x[-1, ..., 0].square().sum(), leaf)
    assert slope.abs().max() > 0


def test_no_grad_around_it_does_not_stop_the_forces():
    x, parameters = make_start()
    expected = rollout(chain_energy, x, parameters, 3).x
    with torch.no_grad():
        assert torch.equal(rollout(chain_energy, x, parameters, 3).x, expected)


@EVERY_INTEGRATOR
def test_float32_follows_float64(integrator):
    # The same noise: trajectories part only by rounding.
    exact = rollout(chain_energy, *make_start(), 50, integrator=integrator).x
    rounded = rollout(chain_energy, *make_start(torch.float32), 50, integrator=integrator).x
    assert rounded.dtype == torch.float32
    error = (rounded.double() - exact).abs().max() / exact.abs().max()
    assert error < TOLERANCES["float32"]["trajectory"]
    assert (exact[-1] - exact[0]).abs().max() > 1


def test_initial_positions_are_not_changed():
    x, parameters = make_start()
    before = x.clone()
    rollout(chain_energy, x, parameters, 3)
    assert torch.equal(x, before)
    assert not x.requires_grad


def test_noise_of_two_chains_is_not_that_of_one():
    x, parameters = make_start()
    x = x[:1].expand(N_CHAINS, -1, -1)
    same = StepParameters(*(value[:1].expand_as(value) for value in parameters))
    moved = rollout(chain_energy, x, same, 1).x[-1]
    assert (moved[0] - moved[1]).abs().max() > 0.01

"""Annealing schedules: their factors, and roll-outs that follow them."""

import pytest
import torch

from openmm_nemo.dynamics import (
    Schedule,
    StepOptions,
    StepParameters,
    energy_and_gradient,
    rollout,
)
from openmm_nemo.dynamics.backpropagation import trainable_rollout
from tests.tolerances import assert_close
from tests.unit.dynamics.energies import chain_energy
from tests.unit.dynamics.test_rollout import make_start


def test_factors_fall_geometrically_block_by_block():
    schedule = Schedule(steps=30, hottest=4.0, coldest=0.25, block=10)
    factors = [schedule.factor(step) for step in range(45)]
    assert factors == pytest.approx([4.0] * 10 + [1.0] * 10 + [0.25] * 25)


def test_the_last_block_may_be_shorter_and_has_the_last_factor():
    schedule = Schedule(steps=5, hottest=8.0, coldest=1.0, block=2)
    assert [schedule.factor(step) for step in range(6)] == pytest.approx(
        [8, 8, 8**0.5, 8**0.5, 1, 1]
    )


def test_a_schedule_of_one_block_stays_at_its_first_factor():
    assert [Schedule(4, 2.0, 0.1).factor(step) for step in (0, 3)] == [2.0, 2.0]


def test_a_schedule_is_constant_if_all_its_factors_are_one():
    assert Schedule(30, 1.0, 1.0).is_constant
    assert not any(Schedule(30, *ends).is_constant for ends in ((2, 1), (1, 0.5), (2, 2)))


SCHEDULE = Schedule(steps=6, hottest=2.0, coldest=0.5, block=2)


def test_a_roll_out_is_one_of_blocks_with_scaled_steps_and_temperature():
    x, parameters = make_start()
    found = rollout(chain_energy, x, parameters, 8, seed=4, temperature=350, schedule=SCHEDULE)
    states = [x]
    for first, n, factor in ((0, 2, 2.0), (2, 2, 1.0), (4, 4, 0.5)):
        block = parameters._replace(
            cartesian_step=factor * parameters.cartesian_step,
            internal_step=factor * parameters.internal_step,
        )
        run = rollout(
            chain_energy,
            states[-1],
            block,
            n,
            seed=4,
            first_step=first,
            temperature=350 * factor,
        )
        states += list(run.x[1:])
    assert_close(found.x, torch.stack(states), "round_trip")
    plain = rollout(chain_energy, x, parameters, 8, seed=4, temperature=350)
    assert (found.x[-1] - plain.x[-1]).abs().max() > 0.01


def test_the_drift_is_the_same_at_all_factors():
    """Where steps are next to nothing there is no noise, but the drift stays: -(eps / 2) C grad U."""
    x, parameters = make_start()
    still = parameters._replace(internal_step=0 * parameters.internal_step)
    cold = Schedule(1, 1e-22, 1e-22)
    options = StepOptions(detrend=False)
    found = rollout(chain_energy, x, still, 1, schedule=cold, options=options).x[1] - x
    _, gradient = energy_and_gradient(chain_energy, x)
    step = parameters.cartesian_step.view(-1, 1, 1)
    drift = -0.5 * step * parameters.cartesian_preconditioner.unsqueeze(-1) * gradient
    assert drift.abs().max() > 1e-3
    assert_close(found, drift, "finite_difference")


def test_factors_of_one_change_not_a_bit():
    x, parameters = make_start()
    expected = rollout(chain_energy, x, parameters, 12, seed=2)
    found = rollout(chain_energy, x, parameters, 12, seed=2, schedule=Schedule(12, 1.0, 1.0, 3))
    assert torch.equal(found.x, expected.x)
    trained = trainable_rollout(
        lambda x: chain_energy(x), [], [], x, parameters, 12, seed=2, schedule=Schedule(12, 1, 1)
    )
    assert torch.equal(
        trained, trainable_rollout(lambda x: chain_energy(x), [], [], x, parameters, 12, seed=2)
    )


def test_a_continued_roll_out_continues_its_schedule():
    x, parameters = make_start()
    whole = rollout(chain_energy, x, parameters, 8, seed=4, schedule=SCHEDULE)
    first = rollout(chain_energy, x, parameters, 3, seed=4, schedule=SCHEDULE)
    second = rollout(
        chain_energy, first.x[-1], parameters, 5, seed=4, first_step=3, schedule=SCHEDULE
    )
    assert torch.equal(whole.x, torch.cat([first.x, second.x[1:]]))


def test_the_roll_out_for_training_follows_it_with_its_gradients():
    x, parameters = make_start()
    how = {"seed": 4, "temperature": 350, "schedule": SCHEDULE}
    leaves = [values.clone().requires_grad_() for values in (x, *parameters[:4])]
    stiffness = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    steps = StepParameters(*leaves[1:], parameters.mask)
    found = trainable_rollout(chain_energy, [stiffness], [], leaves[0], steps, 8, **how)
    run = rollout(
        lambda x: chain_energy(x, stiffness), leaves[0], steps, 8, differentiable=True, **how
    )
    assert torch.equal(found, run.x)
    loss = [states[-1].square().sum() for states in (found, run.x)]
    for one, other in zip(
        *(torch.autograd.grad(value, [*leaves, stiffness]) for value in loss), strict=True
    ):
        assert_close(one, other, "autograd")

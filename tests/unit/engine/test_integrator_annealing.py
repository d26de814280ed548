"""Annealed runs in OpenMM: those of the torch simulator with the same schedule, and constant without one."""

import math

import numpy as np
import openmm as mm
import pytest
import torch

from openmm_nemo import NemoLangevinIntegrator
from openmm_nemo.dynamics import Schedule
from tests.helpers import raises
from tests.tolerances import PLATFORM_TRAJECTORY, assert_close
from tests.unit.engine.platforms import one_precision, platform_context
from tests.unit.engine.toys import make_context, random_walk, run, toy_system
from tests.unit.models.chains import make_model

pytestmark = pytest.mark.usefixtures("implementation")

N = 13
OPTIONS = {
    "temperature": 350,
    "cartesian_step": 2e-5,
    "internal_step": 4e-4,
    "chains": [[2, 3, 5, 7, 11], [4, 6, 8, 10]],  # and particles in no chain
    "seed": 8,
}


def toy_context(integrator: mm.Integrator, name: str = "Reference") -> mm.Context:
    system = toy_system(N, OPTIONS["chains"], (0, 12))
    return make_context(system, integrator, random_walk(N), name)


@pytest.fixture(scope="module")
def fold():
    """A protein whose model anneals and has preconditioners that depend on the lever arm."""
    model = make_model("fold")
    assert model.config.lever_aware
    return model.condition("NLYIQWLKDG")


@one_precision
def test_a_model_that_anneals_moves_as_in_the_torch_simulator(fold, name):
    schedule = fold.schedule(25)
    assert (schedule.hottest, schedule.coldest) == (2.0, 0.1)
    start = fold.initial_state(seed=4)
    rollout = fold.copies(1).rollout(33, start[None], seed=4, temperature=330, schedule=schedule)
    constant = fold.copies(1).rollout(33, start[None], seed=4, temperature=330)
    assert (rollout.x - constant.x).abs().max() > 1
    integrator = fold.create_integrator(330, 4, schedule)
    context = platform_context(
        fold.create_system("python"), integrator, fold.initial_positions(4), name
    )
    found, expected = run(context, 33), rollout.x[:, 0].numpy() / 10
    assert np.abs(found - expected).max() < PLATFORM_TRAJECTORY[name]
    assert integrator.getNumClippedSteps() == rollout.clipped.sum()


SCHEDULES = {
    "last block shorter": Schedule(11, 3.0, 0.2, block=3),
    "one block": Schedule(4, 2.0, 0.1),
    "each step": Schedule(6, 0.5, 1.5, block=1),
    "the same factor": Schedule(5, 2.0, 2.0),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_each_step_is_one_at_its_factor_of_temperature_and_step_sizes(kind, platform_name):
    """Also for particles in no chain, and after the last step of the schedule."""
    schedule = SCHEDULES[kind]
    annealed = NemoLangevinIntegrator(**OPTIONS, schedule=schedule)
    by_hand = NemoLangevinIntegrator(**OPTIONS)
    contexts = [toy_context(i, platform_name) for i in (annealed, by_hand)]
    for step in range(14):
        factor = schedule.factor(step)
        by_hand.setTemperature(350 * factor)
        by_hand.setCartesianStep(2e-5 * factor)
        by_hand.setInternalStep(4e-4 * factor)
        found, expected = (torch.tensor(run(context, 1)[1]) for context in contexts)
        assert_close(found, expected, "trajectory")
    plain = run(toy_context(NemoLangevinIntegrator(**OPTIONS), platform_name), 14)[-1]
    assert np.abs(plain - expected.numpy()).max() > 0.01
    assert annealed.getTemperature()._value == 350
    assert annealed.getCartesianStep()._value == 2e-5
    assert annealed.getInternalStep() == 4e-4


def test_without_a_schedule_or_with_factors_of_one_not_a_bit_changes(fold, platform_name):
    integrator = NemoLangevinIntegrator(**OPTIONS)
    ones = NemoLangevinIntegrator(**OPTIONS, schedule=Schedule(9, 1.0, 1.0, 2))
    assert integrator.getSchedule() is ones.getSchedule() is None
    xml = mm.XmlSerializer.serialize(integrator)
    assert mm.XmlSerializer.serialize(ones) == xml
    assert "chedule" not in xml  # so that earlier versions read it
    np.testing.assert_array_equal(
        *(run(toy_context(i, platform_name), 14) for i in (integrator, ones))
    )
    assert fold.create_integrator(seed=1).getSchedule() is None


def test_a_schedule_can_be_set_and_removed_during_a_run():
    integrator = NemoLangevinIntegrator(**OPTIONS)
    context = toy_context(integrator)
    for schedule in (None, Schedule(20, 2.0, 0.5, block=4), Schedule(6, 5.0, 0.5), None):
        integrator.setSchedule(schedule)
        assert integrator.getSchedule() == schedule
        other = toy_context(NemoLangevinIntegrator(**OPTIONS, schedule=schedule))
        other.loadCheckpoint(context.createCheckpoint())
        np.testing.assert_array_equal(run(context, 3), run(other, 3))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 2.5),
        ("steps", math.inf),
        ("hottest", -1.0),
        ("hottest", math.nan),
        ("coldest", 0.0),
        ("coldest", math.inf),
        ("block", 0),
        ("block", 1.5),
    ],
)
def test_a_schedule_out_of_range_is_refused_and_changes_nothing(name, value):
    before = Schedule(20, 2.0, 0.5, 4)
    integrator = NemoLangevinIntegrator(**OPTIONS, schedule=before)
    with raises(ValueError, name, value, "must be"):
        integrator.setSchedule(before._replace(**{name: value}))
    assert integrator.getSchedule() == before


def test_a_checkpoint_keeps_the_number_of_steps_and_not_the_schedule():
    schedule = SCHEDULES["last block shorter"]
    whole = toy_context(NemoLangevinIntegrator(**OPTIONS, schedule=schedule))
    run(whole, 5)
    checkpoint = whole.createCheckpoint()
    end = run(whole, 4)[-1]
    for chosen in (schedule, Schedule(20, 4.0, 0.1, 2), None):
        again = NemoLangevinIntegrator(**OPTIONS, schedule=chosen)
        context = toy_context(again)
        context.loadCheckpoint(checkpoint)
        assert again.getSchedule() == chosen
        assert np.array_equal(run(context, 4)[-1], end) == (chosen == schedule)

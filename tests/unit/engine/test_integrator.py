"""Arguments, getters, setters, seeds and counters of `NemoLangevinIntegrator`, and its life in a Simulation."""

import gc
import inspect
import math
import weakref

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit

from openmm_nemo import NemoLangevinIntegrator
from tests.helpers import platform
from tests.unit.engine.toys import (
    bead_topology,
    make_context,
    positions_of,
    random_walk,
    run,
    toy_system,
)

pytestmark = pytest.mark.usefixtures("implementation")

N = 8
STEPS = {"cartesian_step": 2e-5, "internal_step": 4e-4}


def toy_context(integrator: mm.Integrator, name: str = "Reference") -> mm.Context:
    return make_context(toy_system(N, [range(N)], (0, 7)), integrator, random_walk(N), name)


def parameters(integrator: NemoLangevinIntegrator) -> list:
    return [
        integrator.getTemperature().value_in_unit(unit.kelvin),
        integrator.getCartesianStep().value_in_unit(unit.nanometer**2),
        integrator.getInternalStep(),
        integrator.getMaxDisplacement().value_in_unit(unit.nanometer),
    ]


def test_numbers_are_in_kelvin_and_nm():
    integrator = NemoLangevinIntegrator(310, 2e-4, 3e-3, max_displacement=0.15)
    assert parameters(integrator) == [310, 2e-4, 3e-3, 0.15]


def test_quantities_may_be_in_any_unit():
    integrator = NemoLangevinIntegrator(
        310 * unit.kelvin,
        0.02 * unit.angstrom**2,
        3e-3 * unit.dimensionless,
        max_displacement=150 * unit.picometer,
    )
    assert parameters(integrator) == pytest.approx([310, 2e-4, 3e-3, 0.15], rel=1e-12)
    integrator.setTemperature(280 * unit.kelvin)
    integrator.setCartesianStep(5 * unit.angstrom**2)
    integrator.setMaxDisplacement(1 * unit.angstrom)
    integrator.setInternalStep(0.5 * unit.dimensionless)
    assert parameters(integrator) == pytest.approx([280, 0.05, 0.5, 0.1], rel=1e-12)


def test_quantities_of_the_wrong_kind_are_refused():
    with pytest.raises(TypeError):
        NemoLangevinIntegrator(300 * unit.kelvin, 0.1 * unit.nanometer, 1e-3)


def test_defaults_are_those_of_the_docstring(platform_name):
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(NemoLangevinIntegrator).parameters.items()
        if parameter.default is not parameter.empty
    }
    assert defaults == {
        "cartesian_preconditioner": None,
        "internal_preconditioner": None,
        "max_displacement": 0.2,
        "detrend": True,
        "measure_correction": False,
        "seed": None,
        "chains": None,
        "metropolis": False,
        "schedule": None,
        "replicas": 1,
        "temperatures": None,
    }
    explicit = NemoLangevinIntegrator(
        300,
        2e-5,
        4e-4,
        cartesian_preconditioner=np.ones(N),
        internal_preconditioner=np.ones((N, 3)),
        max_displacement=0.2,
        detrend=True,
        measure_correction=False,
        seed=5,
        chains=[list(range(N))],
        replicas=1,
        temperatures=[300],
    )
    implicit = NemoLangevinIntegrator(300, 2e-5, 4e-4, seed=5)
    frames = [run(toy_context(i, platform_name), 5) for i in (explicit, implicit)]
    np.testing.assert_array_equal(*frames)


def test_getters_give_what_was_set():
    integrator = NemoLangevinIntegrator(
        300, 0, 0, detrend=False, measure_correction=True, seed=2**31 - 1, chains=[[3, 1], [2]]
    )
    assert parameters(integrator) == [300, 0, 0, 0.2]
    assert not integrator.getDetrend()
    assert integrator.getMeasureCorrection()
    assert integrator.getRandomNumberSeed() == 2**31 - 1
    assert integrator.getChains() == [[3, 1], [2]]
    assert NemoLangevinIntegrator(300, 0, 0).getChains() is None
    integrator.setMaxDisplacement(math.inf)
    assert integrator.getMaxDisplacement()._value == math.inf


@pytest.mark.parametrize("seed", [None, 0])
def test_random_seed_can_be_read_and_repeats_the_run(seed):
    random = NemoLangevinIntegrator(300, **STEPS, seed=seed)
    chosen = random.getRandomNumberSeed()
    assert 0 < chosen < 2**31
    assert NemoLangevinIntegrator(300, **STEPS, seed=seed).getRandomNumberSeed() != chosen
    again = NemoLangevinIntegrator(300, **STEPS, seed=chosen)
    np.testing.assert_array_equal(run(toy_context(random), 5), run(toy_context(again), 5))


@pytest.mark.parametrize("name", ["cartesian_step", "internal_step"])
def test_another_seed_gives_another_trajectory(name, platform_name):
    steps = {"cartesian_step": 0.0, "internal_step": 0.0, name: STEPS[name]}
    ends = []
    for seed in (1, 2, 1, 2**31 - 1):
        context = toy_context(NemoLangevinIntegrator(300, seed=seed, **steps), platform_name)
        ends.append(run(context, 3)[-1])
    np.testing.assert_array_equal(ends[0], ends[2])
    assert np.abs(ends[0] - ends[1]).max() > 1e-3
    assert np.abs(ends[0] - ends[3]).max() > 1e-3


def test_seed_can_be_set_before_and_during_a_run():
    first = NemoLangevinIntegrator(300, seed=1, **STEPS)
    first.setRandomNumberSeed(7)
    second = NemoLangevinIntegrator(300, seed=7, **STEPS)
    contexts = [toy_context(first), toy_context(second)]
    np.testing.assert_array_equal(*(run(context, 3) for context in contexts))
    first.setRandomNumberSeed(9)
    first.step(3)
    second.step(3)
    assert np.abs(positions_of(contexts[0]) - positions_of(contexts[1])).max() > 1e-3


def test_steps_in_one_call_are_steps_in_many(platform_name):
    first = toy_context(NemoLangevinIntegrator(300, seed=3, **STEPS), platform_name)
    second = toy_context(NemoLangevinIntegrator(300, seed=3, **STEPS), platform_name)
    first.getIntegrator().step(70)
    for n in (1, 0, 63, 6):
        second.getIntegrator().step(n)
    np.testing.assert_array_equal(positions_of(first), positions_of(second))


def test_steps_and_time_advance():
    integrator = NemoLangevinIntegrator(300, seed=3, **STEPS)
    context = toy_context(integrator)
    assert (integrator.getNumSteps(), context.getStepCount()) == (0, 0)
    integrator.step(7)
    integrator.step(4)
    assert (integrator.getNumSteps(), context.getStepCount()) == (11, 11)
    assert context.getTime() == 11 * unit.picosecond
    assert integrator.getNumClippedSteps() == 0
    assert integrator.getLargestDisplacement().unit == unit.nanometer


def test_velocities_are_zero(platform_name):
    context = toy_context(NemoLangevinIntegrator(300, seed=3, **STEPS), platform_name)
    context.getIntegrator().step(3)
    velocities = context.getState(velocities=True).getVelocities(asNumpy=True)._value
    assert np.abs(velocities).max() == 0


def test_two_contexts_at_once_do_not_mix_up(platform_name):
    alone = [
        run(toy_context(NemoLangevinIntegrator(300, seed=seed, **STEPS), platform_name), 10)
        for seed in (1, 2)
    ]
    contexts = [
        toy_context(NemoLangevinIntegrator(300, seed=seed, **STEPS), platform_name)
        for seed in (1, 2)
    ]
    for step in range(1, 11):
        for context, frames in zip(contexts, alone, strict=True):
            context.getIntegrator().step(1)
            np.testing.assert_array_equal(positions_of(context), frames[step])


def test_an_integrator_and_its_context_are_freed_without_the_garbage_collector():
    gc.disable()
    try:
        integrator = NemoLangevinIntegrator(300, seed=3, **STEPS)
        context = toy_context(integrator)
        integrator.step(2)
        references = weakref.ref(integrator), weakref.ref(context)
        del context
        assert references[1]() is None
        del integrator
        assert references[0]() is None
    finally:
        gc.enable()


def test_hundreds_of_contexts_come_and_go(protein, backend):
    x0, system = protein.initial_positions(), protein.create_system(backend)
    alive = weakref.WeakSet()
    end = None
    for cycle in range(200):
        integrator = protein.create_integrator(seed=6)
        context = make_context(system, integrator, x0)
        alive.add(context)
        if cycle % 10 == 0:
            integrator.step(1)
            x = positions_of(context)
            assert end is None or np.abs(x - end).max() < 1e-12
            end = x
        assert len(alive) <= 2  # this one and, until the name is bound again, the one before


def test_simulation_runs_with_reporters(tmp_path, platform_name):
    simulation = app.Simulation(
        bead_topology(N),
        toy_system(N, [range(N)], (0, 7)),
        NemoLangevinIntegrator(300, seed=3, **STEPS),
        platform(platform_name),
    )
    simulation.context.setPositions(random_walk(N))
    table = tmp_path / "state.csv"
    simulation.reporters.append(
        app.StateDataReporter(str(table), 5, step=True, time=True, potentialEnergy=True)
    )
    simulation.reporters.append(app.DCDReporter(str(tmp_path / "x.dcd"), 5))
    simulation.step(23)
    assert simulation.currentStep == 23
    lines = table.read_text().splitlines()[1:]
    assert [line.split(",")[:2] for line in lines] == [
        [str(step), f"{float(step)}"] for step in (5, 10, 15, 20)
    ]
    expected = run(toy_context(NemoLangevinIntegrator(300, seed=3, **STEPS), platform_name), 23)
    np.testing.assert_array_equal(positions_of(simulation.context), expected[-1])


def test_minimizer_of_a_simulation_works(protein, backend, platform_name):
    simulation = app.Simulation(
        protein.topology,
        protein.create_system(backend),
        protein.create_integrator(seed=3),
        platform(platform_name),
    )
    simulation.context.setPositions(protein.initial_positions())

    def energy() -> float:
        return simulation.context.getState(energy=True).getPotentialEnergy()._value

    before = energy()
    simulation.minimizeEnergy(maxIterations=50)
    assert energy() < before - 1
    simulation.step(2)
    assert simulation.currentStep == 2

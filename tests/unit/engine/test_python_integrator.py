"""What is true only of the integrator that is driven from Python."""

import math

import numpy as np
import openmm as mm

import openmm_nemo.engine.integrator.python
from openmm_nemo.engine.integrator import PythonIntegrator
from tests.helpers import raises
from tests.unit.engine.toys import make_context, positions_of, random_walk, toy_system

N = 6
STEPS = {"cartesian_step": 2e-5, "internal_step": 4e-4}


def test_metropolis_is_refused_with_the_reason():
    with raises(ValueError, "metropolis=True", "compiled integrator"):
        PythonIntegrator(300, **STEPS, metropolis=True)


def test_metropolis_is_refused_with_the_reason_why_there_is_no_compiled_one(monkeypatch):
    monkeypatch.setattr(openmm_nemo.engine.integrator.python, "plugin_problem", lambda: "it rains")
    with raises(ValueError, "it rains"):
        PythonIntegrator(300, **STEPS, metropolis=True)


def test_use_in_a_compound_integrator_is_loud(platform_name):
    compound = mm.CompoundIntegrator()
    part = PythonIntegrator(300, seed=3, **STEPS)
    compound.addIntegrator(part)
    compound.addIntegrator(mm.VerletIntegrator(0.001))
    context = make_context(toy_system(N, [], (0, 5)), compound, random_walk(N), platform_name)
    with raises(mm.OpenMMException, "bound", "context"):
        part.step(1)
    compound.setCurrentIntegrator(0)
    compound.step(1)
    assert not np.isfinite(positions_of(context)).any()


def test_run_as_a_plain_custom_integrator_is_loud(platform_name):
    integrator = PythonIntegrator(300, seed=3, **STEPS)
    context = make_context(toy_system(N, [], (0, 5)), integrator, random_walk(N), platform_name)
    mm.CustomIntegrator.step(context.getIntegrator(), 1)
    assert not np.isfinite(positions_of(context)).any()


def _no_energy(state: mm.State) -> tuple[float, np.ndarray]:
    return math.nan, np.zeros_like(state.getPositions(asNumpy=True)._value)


def test_energy_that_is_not_finite_stops_the_run_though_its_forces_are(platform_name):
    system = toy_system(N, [range(N)], (0, 5))
    system.addForce(mm.PythonForce(_no_energy))
    integrator = PythonIntegrator(300, seed=3, **STEPS)
    context = make_context(system, integrator, random_walk(N), platform_name)
    with raises(mm.OpenMMException, "energy", "finite", "step 0"):
        integrator.step(1)
    np.testing.assert_array_equal(positions_of(context), random_walk(N))

"""What `NemoLangevinIntegrator` refuses, and what it leaves behind when forces are not finite."""

import math

import numpy as np
import openmm as mm
import pytest

from openmm_nemo import NemoLangevinIntegrator
from openmm_nemo.engine.integrator import CompiledIntegrator, PythonIntegrator
from tests.unit.engine.toys import make_context, positions_of, random_walk, toy_system

pytestmark = pytest.mark.usefixtures("implementation")

N = 6
STEPS = {"cartesian_step": 2e-5, "internal_step": 4e-4}


def toy(**options) -> NemoLangevinIntegrator:
    return NemoLangevinIntegrator(**({"temperature": 300, "seed": 3} | STEPS | options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "temperature is 0"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"cartesian_step": -1e-9}, "cartesian_step is -1e-09"),
        ({"cartesian_step": math.inf}, "cartesian_step is inf"),
        ({"internal_step": -1e-9}, "internal_step is -1e-09"),
        ({"internal_step": math.nan}, "internal_step is nan"),
        ({"max_displacement": 0}, "max_displacement is 0"),
        ({"max_displacement": -0.1}, "max_displacement is -0.1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**31}, "seed is 2147483648"),
        ({"cartesian_preconditioner": np.ones((N, 1))}, r"cartesian_preconditioner has shape"),
        ({"cartesian_preconditioner": [1, -1]}, "cartesian_preconditioner must be finite"),
        ({"cartesian_preconditioner": [1, math.inf]}, "cartesian_preconditioner must be finite"),
        ({"internal_preconditioner": np.ones(3 * N)}, r"internal_preconditioner has shape"),
        ({"internal_preconditioner": np.ones((N, 4))}, r"internal_preconditioner has shape"),
        ({"internal_preconditioner": -np.ones((N, 3))}, "internal_preconditioner must be finite"),
        ({"chains": []}, "chains is empty"),
        ({"chains": [[0, 1], []]}, "empty chain"),
        ({"chains": [[0, 1], [2, 1]]}, "particle 1 twice"),
        ({"chains": [[0, 1, 0]]}, "particle 0 twice"),
        ({"chains": [[0, -1]]}, "particle index -1"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        toy(**options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("setTemperature", 0),
        ("setCartesianStep", -1),
        ("setInternalStep", -1),
        ("setMaxDisplacement", 0),
        ("setRandomNumberSeed", -1),
    ],
)
def test_setters_refuse_wrong_values_and_keep_the_old_one(name, value):
    integrator = toy()
    getter = getattr(integrator, name.replace("set", "get"))
    before = getter()
    with pytest.raises(ValueError, match="must be"):
        getattr(integrator, name)(value)
    assert getter() == before


def with_constraint(system):
    system.addConstraint(0, 1, 0.38)


def with_frozen_bead(system):
    system.setParticleMass(2, 0)


def unchanged(system):
    pass


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (with_constraint, {}, "1 constraints"),
        (with_frozen_bead, {}, "Particle 2 of chain 0 has mass 0"),
        (with_frozen_bead, {"chains": [[0, 1], [5, 2]]}, "Particle 2 of chain 1 has mass 0"),
        (unchanged, {"chains": [[0, 1], [6]]}, "Chain 1 has particle 6.*has 6 particles"),
        (unchanged, {"cartesian_preconditioner": np.ones(5)}, "for 5 particles.*has 6"),
        (unchanged, {"internal_preconditioner": np.ones((7, 3))}, "for 7 particles.*has 6"),
    ],
)
def test_what_the_system_makes_impossible_is_refused(implementation, change, options, message):
    """By the context; by the Python implementation, which does not know its context before, at the first step."""
    system = toy_system(N, [range(N)], (0, 5))
    change(system)
    integrator = toy(**options)
    refusal = pytest.raises(mm.OpenMMException, match=message)
    if implementation is CompiledIntegrator:
        with refusal:
            make_context(system, integrator, random_walk(N))
        return
    context = make_context(system, integrator, random_walk(N))
    with refusal:
        integrator.step(1)
    np.testing.assert_array_equal(positions_of(context), random_walk(N))
    assert integrator.getNumSteps() == context.getStepCount() == 0


@pytest.mark.parametrize("bound_before", [False, True])
def test_stepping_without_a_context_is_refused(bound_before):
    integrator = toy()
    if bound_before:
        context = make_context(toy_system(N, [], (0, 5)), integrator, random_walk(N))
        integrator.step(1)
        del context
    with pytest.raises(mm.OpenMMException, match="not bound to a context"):
        integrator.step(1)


@pytest.mark.parametrize("bad", ["sqrt(100+x-1000*broken)", "x/(1-broken)"], ids=["nan", "inf"])
def test_forces_that_are_not_finite_stop_the_run_at_the_last_good_step(platform_name, bad):
    system = toy_system(N, [range(N)], (0, 5))
    poison = mm.CustomExternalForce(f"1e-6*{bad}")
    poison.addGlobalParameter("broken", 0)
    poison.addParticle(4)
    system.addForce(poison)
    integrator = toy()
    context = make_context(system, integrator, random_walk(N), platform_name)
    integrator.step(4)
    good = positions_of(context)
    context.setParameter("broken", 1)
    with pytest.raises(mm.OpenMMException, match="not finite at step 4"):
        integrator.step(3)
    np.testing.assert_array_equal(positions_of(context), good)
    assert integrator.getNumSteps() == context.getStepCount() == 4
    context.setParameter("broken", 0)
    integrator.step(3)
    assert integrator.getNumSteps() == 7


@pytest.mark.parametrize("backend_name", ["python"])
def test_positions_that_break_the_network_stop_the_run(protein, platform_name, backend_name):
    integrator = protein.create_integrator(seed=1)
    x = protein.initial_positions()._value.copy()
    x[3] = 1e300
    context = make_context(protein.create_system(backend_name), integrator, x, platform_name)
    with pytest.raises(mm.OpenMMException, match="not finite at step 0"):
        integrator.step(1)
    np.testing.assert_array_equal(positions_of(context), x)


def test_overflow_in_a_step_does_not_reach_the_positions(platform_name):
    system = toy_system(N, [range(N)], (0, 5))
    push = mm.CustomExternalForce("1e200*x")
    push.addParticle(5)
    system.addForce(push)
    integrator = toy(max_displacement=math.inf)
    context = make_context(system, integrator, random_walk(N), platform_name)
    with pytest.raises(mm.OpenMMException, match="not finite"):
        integrator.step(20)
    assert np.isfinite(positions_of(context)).all()
    assert integrator.getNumSteps() == context.getStepCount()


def test_xml_of_another_integrator_is_refused(implementation):
    (unlike,) = {CompiledIntegrator, PythonIntegrator} - {implementation}
    for other in (
        mm.VerletIntegrator(0.001),
        mm.CustomIntegrator(0.001),
        mm.LangevinMiddleIntegrator(300, 1, 0.001),
        unlike(300, **STEPS),
    ):
        with pytest.raises(mm.OpenMMException, match=r"not a (NEMO integ|NemoLangevinInteg)rator"):
            NemoLangevinIntegrator.from_xml(mm.XmlSerializer.serialize(other))


@pytest.mark.parametrize("change", [with_constraint, with_frozen_bead])
def test_what_a_reinitialized_context_makes_impossible_is_refused(implementation, change):
    system = toy_system(N, [range(N)], (0, 5))
    integrator = toy()
    context = make_context(system, integrator, random_walk(N))
    integrator.step(2)
    change(system)
    refusal = pytest.raises(mm.OpenMMException, match=r"constraints|mass 0")
    if implementation is CompiledIntegrator:
        with refusal:
            context.reinitialize(preserveState=True)
        return
    context.reinitialize(preserveState=True)
    with refusal:
        integrator.step(1)

"""What the compiled integrator refuses on every platform, and what it leaves behind when something goes wrong."""

import re

import numpy as np
import openmm as mm
import pytest

from openmm_nemo.engine.integrator import CompiledIntegrator
from tests.unit.engine.platforms import each_platform, one_precision
from tests.unit.engine.toys import make_context, positions_of, random_walk, run, toy_system

pytestmark = pytest.mark.usefixtures("plugin")

N = 8
CHAINS = [[0, 1, 2, 3], [6, 5]]
STEPS = {"cartesian_step": 2e-5, "internal_step": 4e-4}


def nemo(**options) -> CompiledIntegrator:
    return CompiledIntegrator(
        **({"temperature": 300, "seed": 3, "chains": CHAINS} | STEPS | options)
    )


def nemo_system() -> mm.System:
    return toy_system(N, CHAINS, (0, N - 1))


def counters(context: mm.Context) -> tuple:
    """Everything that counts steps."""
    integrator = context.getIntegrator()
    return (integrator.getNumSteps(), context.getStepCount(), context.getTime()._value)


# Refusals


def with_constraint(system: mm.System) -> None:
    system.addConstraint(0, 4, 0.38)


def with_frozen_bead(system: mm.System) -> None:
    system.setParticleMass(5, 0)


def with_too_many_particles(system: mm.System) -> None:
    system.addParticle(1.0)


@one_precision
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_constraint, "1 constraints"),
        (with_frozen_bead, "Particle 5 of chain 1 has mass 0"),
        (with_too_many_particles, "cartesian_preconditioner is for 8 particles.*has 9"),
    ],
)
def test_an_integrator_that_a_context_refused_can_be_used_in_another_one(name, change, message):
    integrator = nemo(cartesian_preconditioner=np.ones(N))
    system = nemo_system()
    change(system)
    with pytest.raises(mm.OpenMMException, match=message):
        make_context(system, integrator, random_walk(system.getNumParticles()), name)
    with pytest.raises(mm.OpenMMException, match="not bound to a context"):
        integrator.step(1)
    # They may lie in memory where the refused one did.
    others = [make_context(nemo_system(), nemo(), random_walk(N)) for _ in range(5)]
    context = make_context(nemo_system(), integrator, random_walk(N), name)
    for each in (integrator, others[0].getIntegrator()):
        each.step(3)
    if name != "OpenCL mixed":
        np.testing.assert_array_equal(positions_of(context), positions_of(others[0]))
    assert counters(context) == (3, 3, 3)


@one_precision
def test_a_particle_that_the_system_has_not_is_refused(name):
    integrator = nemo(chains=[[0, 1], [2, 8]])
    with pytest.raises(mm.OpenMMException, match="Chain 1 has particle 8, but"):
        make_context(nemo_system(), integrator, random_walk(N), name)


@one_precision
def test_chains_that_overlap_in_xml_are_refused_by_the_context(name):
    xml = mm.XmlSerializer.serialize(nemo())
    for particle, message in (
        ("3", "Particle 3 is in the chains twice"),
        ("-4", "Chain 1 has particle -4"),
    ):
        broken = CompiledIntegrator.from_xml(
            re.sub('particle="6"', f'particle="{particle}"', xml, count=1)
        )
        with pytest.raises(mm.OpenMMException, match=message):
            make_context(nemo_system(), broken, random_walk(N), name)


@pytest.mark.parametrize("broken", ["version", "temperature", "Chains"])
def test_xml_of_another_version_or_without_a_part_is_refused(broken):
    xml = mm.XmlSerializer.serialize(nemo())
    xml = xml.replace('version="1"', 'version="2"') if broken == "version" else xml
    with pytest.raises(mm.OpenMMException):
        CompiledIntegrator.from_xml(xml.replace(broken, "x" + broken))


@one_precision
def test_one_context_at_a_time(name):
    integrator = nemo()
    context = make_context(nemo_system(), integrator, random_walk(N), name)
    with pytest.raises(mm.OpenMMException, match="already bound"):
        make_context(nemo_system(), integrator, random_walk(N), name)
    integrator.step(3)
    expected = run(make_context(nemo_system(), nemo(), random_walk(N), name), 3)[-1]
    np.testing.assert_array_equal(positions_of(context), expected)


@one_precision
def test_an_integrator_that_a_reinitialized_context_refused_may_be_deleted_first(name):
    for _ in range(20):
        system, integrator = nemo_system(), nemo()
        context = make_context(system, integrator, random_walk(N), name)
        integrator.step(1)
        with_constraint(system)
        with pytest.raises(mm.OpenMMException, match="constraints"):
            context.reinitialize(preserveState=True)
        with pytest.raises(mm.OpenMMException, match="not bound to a context"):
            integrator.step(1)
        context._integrator = None
        integrator.this = None
        # Where the integrator was in memory is something else when the context ends.
        others = [np.full(size, 7) for size in range(8, 200) for _ in range(5)]
        del context, others


# Forces that are not finite

BROKEN = {
    "infinite": "fence*x/(1 - broken*fence); fence=step(r2 - 0.0016)",
    "not a number": "1e-6*sqrt(0.0016 - broken*r2)",
}


def fenced_system(kind: str) -> mm.System:
    """The force on particle 2 is not finite where it is further than 0.04 nm from its place."""
    system = nemo_system()
    fence = mm.CustomExternalForce(f"{BROKEN[kind]}; r2=(x-x0)^2 + (y-y0)^2 + (z-z0)^2")
    fence.addGlobalParameter("broken", 1)
    for axis in "xyz":
        fence.addPerParticleParameter(f"{axis}0")
    fence.addParticle(2, random_walk(N)[2])
    system.addForce(fence)
    return system


def step_by_step(context: mm.Context, frames: list[np.ndarray]) -> None:
    """100 steps, with the positions before each of them."""
    for _ in range(100):
        frames.append(positions_of(context))
        context.getIntegrator().step(1)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Reference", "infinite"),
        ("Reference", "not a number"),
        ("CPU", "infinite"),
        ("CPU", "not a number"),
        # To OpenCL, which adds forces as integers, something that is not a number may be any.
        ("OpenCL single", "infinite"),
        ("OpenCL mixed", "infinite"),
        ("OpenCL double", "infinite"),
    ],
)
def test_forces_that_are_not_finite_stop_the_run_at_the_last_good_step(name, kind):
    def new_context() -> mm.Context:
        return make_context(fenced_system(kind), nemo(), random_walk(N), name)

    slow, frames = new_context(), []
    with pytest.raises(mm.OpenMMException, match="forces are not finite"):
        step_by_step(slow, frames)
    last, good = frames[-1], len(frames) - 1
    assert 5 < good < 99
    np.testing.assert_array_equal(positions_of(slow), last)
    assert counters(slow) == (good, good, good)

    for begun in (0, good - 2):
        fast = new_context()
        fast.getIntegrator().step(begun)
        with pytest.raises(mm.OpenMMException, match=f"forces are not finite at step {good}"):
            fast.getIntegrator().step(good + 50)
        np.testing.assert_array_equal(positions_of(fast), last)
        assert counters(fast) == (good, good, good)
        # It can go on from there.
        fast.setParameter("broken", 0)
        fast.getIntegrator().step(3)
        assert counters(fast) == (good + 3,) * 3
        assert np.abs(positions_of(fast) - last).max() > 1e-3


# Exceptions of others


@each_platform
def test_an_exception_in_a_python_force_passes_through_and_the_run_can_go_on(name):
    calls = {"until": 6, "now": 0}

    def energy(state: mm.State) -> tuple[float, np.ndarray]:
        calls["now"] += 1
        if calls["now"] == calls["until"]:
            raise ValueError("the sixth call")
        return 0.0, np.zeros((N, 3))

    system = nemo_system()
    system.addForce(mm.PythonForce(energy))
    context = make_context(system, nemo(), random_walk(N), name)
    integrator = context.getIntegrator()
    with pytest.raises(mm.OpenMMException, match="the sixth call"):
        integrator.step(20)
    done = integrator.getNumSteps()
    assert counters(context) == (done, done, done)
    assert 0 < done < 6
    integrator.step(4)
    assert counters(context) == (done + 4,) * 3
    expected = make_context(nemo_system(), nemo(), random_walk(N), name)
    expected.getIntegrator().step(done + 4)
    np.testing.assert_array_equal(positions_of(context), positions_of(expected))


class Failing:
    """Energy of a PythonForce that fails once, at a call that can be chosen."""

    def __init__(self):
        self.calls_left = np.inf

    def __call__(self, state: mm.State) -> tuple[float, np.ndarray]:
        self.calls_left -= 1
        if self.calls_left == 0:
            raise ValueError("not now")
        return 0.0, np.zeros((N, 3))


@one_precision
@pytest.mark.parametrize("metropolis", [False, True])
def test_an_exception_leaves_counters_as_of_the_steps_that_were_taken(name, metropolis):
    failing, system = Failing(), nemo_system()
    system.addForce(mm.PythonForce(failing))
    integrator = nemo(metropolis=metropolis, max_displacement=1e-4)
    context = make_context(system, integrator, random_walk(N), name)
    integrator.step(4)
    rates, clipped = integrator.getAcceptanceRates(), integrator.getNumClippedSteps()
    assert clipped == (0 if metropolis else 4)
    x, checkpoint = positions_of(context), context.createCheckpoint()
    # The second evaluation of a step: with metropolis, that of the internal sub-step.
    failing.calls_left = 2
    with pytest.raises(mm.OpenMMException, match="not now"):
        integrator.step(5)
    taken = 4 if metropolis else 5
    assert counters(context) == (taken,) * 3
    assert integrator.getNumClippedSteps() == (0 if metropolis else 5)
    if metropolis:
        assert integrator.getAcceptanceRates() == rates
        np.testing.assert_array_equal(positions_of(context), x)
    context.loadCheckpoint(checkpoint)
    integrator.step(1)
    assert counters(context) == (5, 5, 5)
    assert integrator.getNumClippedSteps() == (0 if metropolis else 5)


@one_precision
def test_no_steps_change_nothing(name):
    integrator = nemo()
    context = make_context(nemo_system(), integrator, random_walk(N), name)
    integrator.step(3)
    checkpoint, largest = context.createCheckpoint(), integrator.getLargestDisplacement()
    integrator.step(2)
    context.loadCheckpoint(checkpoint)
    integrator.step(0)
    assert integrator.getLargestDisplacement() == largest
    assert counters(context) == (3, 3, 3)


@one_precision
def test_the_rotation_of_a_periodic_system_is_not_taken_out(name):
    system = nemo_system()
    repulsion = mm.CustomNonbondedForce("1-r")
    repulsion.setNonbondedMethod(mm.CustomNonbondedForce.CutoffPeriodic)
    repulsion.setCutoffDistance(0.5)
    for _ in range(N):
        repulsion.addParticle([])
    system.addForce(repulsion)
    with pytest.raises(mm.OpenMMException, match="periodic box: use detrend=True"):
        make_context(system, nemo(detrend="system"), random_walk(N), name)


def test_an_empty_chain_in_xml_is_refused_by_the_context():
    xml = mm.XmlSerializer.serialize(nemo()).replace("<Chains>", "<Chains><Chain/>")
    with pytest.raises(mm.OpenMMException, match="Chain 0 is empty"):
        make_context(nemo_system(), CompiledIntegrator.from_xml(xml), random_walk(N))


def test_the_state_of_another_integrator_is_refused():
    other = make_context(nemo_system(), mm.LangevinIntegrator(300, 1, 0.001), random_walk(N))
    state = other.getState(positions=True, integratorParameters=True)
    context = make_context(nemo_system(), nemo(), random_walk(N))
    with pytest.raises(mm.OpenMMException, match="state is from another integrator"):
        context.setState(state)


def test_an_integrator_that_a_device_refused_can_be_used_in_another_context():
    integrator = nemo()
    devices = {"DeviceIndex": "0,0"}
    with pytest.raises(mm.OpenMMException):
        mm.Context(nemo_system(), integrator, mm.Platform.getPlatformByName("OpenCL"), devices)
    others = [make_context(nemo_system(), nemo(), random_walk(N)) for _ in range(5)]
    others.append(make_context(nemo_system(), integrator, random_walk(N)))
    integrator.step(1)
    assert integrator.getNumSteps() == 1

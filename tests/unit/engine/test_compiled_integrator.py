"""The compiled integrator behaves as OpenMM's own do, on every platform."""

import copy
import gc
import math
import pickle
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit

from openmm_nemo import NemoLangevinIntegrator
from openmm_nemo.engine.integrator import CompiledIntegrator, PythonIntegrator
from tests.helpers import platform
from tests.tolerances import PLATFORM_TRAJECTORY
from tests.unit.engine.platforms import each_platform, one_precision
from tests.unit.engine.toys import (
    bead_topology,
    make_context,
    positions_of,
    random_walk,
    run,
    toy_system,
)

pytestmark = pytest.mark.usefixtures("plugin")

N = 14
CHAINS = [[0, 2, 4, 6, 8], [7, 5, 3, 1]]
FIXED = 11
STEPS = {"cartesian_step": 2e-5, "internal_step": 4e-4}


def nemo(**options) -> CompiledIntegrator:
    return CompiledIntegrator(
        **({"temperature": 300, "seed": 3, "chains": CHAINS} | STEPS | options)
    )


def nemo_system() -> mm.System:
    """Two chains, four free particles and a fixed one."""
    system = toy_system(N, CHAINS, (0, N - 1))
    system.setParticleMass(FIXED, 0)
    return system


def new_context(name: str, integrator: mm.Integrator) -> mm.Context:
    return make_context(nemo_system(), integrator, random_walk(N), name)


def everything(i: CompiledIntegrator) -> dict:
    """All that its getters tell."""
    names = [n for n in dir(i) if n.startswith("get")]
    return {n: getattr(i, n)() for n in names}


def test_it_is_an_integrator_of_openmm_and_the_one_in_use():
    assert NemoLangevinIntegrator is CompiledIntegrator
    assert isinstance(nemo(), mm.Integrator)
    assert not isinstance(nemo(), mm.CustomIntegrator)
    assert {"getStepSize", "getIntegrationForceGroups", "getChains"} <= set(everything(nemo()))


# Checkpoints and states


def simulation_on(name: str, integrator: CompiledIntegrator) -> app.Simulation:
    kind, _, precision = name.partition(" ")
    properties = {"Precision": precision} if precision else {}
    simulation = app.Simulation(
        bead_topology(N), nemo_system(), integrator, platform(kind), properties
    )
    simulation.context.setPositions(random_walk(N))
    return simulation


def disturb(integrator: CompiledIntegrator) -> None:
    integrator.setTemperature(700)
    integrator.setCartesianStep(0)
    integrator.setInternalStep(1e-3)
    integrator.setMaxDisplacement(0.01)


@each_platform
@pytest.mark.parametrize("kind", ["Checkpoint", "State"])
def test_a_saved_simulation_goes_on_bit_by_bit_whatever_was_set_since(name, kind, tmp_path):
    path = str(tmp_path / "saved")
    simulation = simulation_on(name, nemo())
    simulation.step(10)
    saved = everything(simulation.integrator)
    getattr(simulation, f"save{kind}")(path)
    simulation.step(10)
    end, at_end = positions_of(simulation.context), everything(simulation.integrator)

    # A State moves the noise only forward, and keeps the seed.
    checkpoint = kind == "Checkpoint"
    others = (
        (simulation, simulation_on(name, nemo(seed=8)))
        if checkpoint
        else (simulation_on(name, nemo()),)
    )
    for again in others:
        disturb(again.integrator)
        if checkpoint:
            again.integrator.setRandomNumberSeed(99)
        again.step(3)
        getattr(again, f"load{kind}")(path)
        assert everything(again.integrator) == saved
        assert again.currentStep == 10
        assert again.context.getTime() == 10 * unit.picosecond
        again.step(10)
        np.testing.assert_array_equal(positions_of(again.context), end)
        assert everything(again.integrator) == at_end


@one_precision
@pytest.mark.parametrize("state", [False, True])
def test_a_checkpoint_reporter_writes_what_a_run_goes_on_from(name, state, tmp_path):
    path = str(tmp_path / "saved")
    first = simulation_on(name, nemo())
    first.reporters.append(app.CheckpointReporter(path, 7, writeState=state))
    first.step(17)
    second = simulation_on(name, nemo() if state else nemo(seed=8))
    (second.loadState if state else second.loadCheckpoint)(path)
    assert second.currentStep == 14
    second.step(3)
    np.testing.assert_array_equal(positions_of(second.context), positions_of(first.context))


@one_precision
def test_a_checkpoint_of_another_integrator_is_refused(name):
    other = new_context(name, mm.VerletIntegrator(0.001))
    context = new_context(name, nemo())
    with pytest.raises(mm.OpenMMException, match="another integrator"):
        context.loadCheckpoint(other.createCheckpoint())


# XML and copies

RANDOM = np.random.default_rng(4)
SETTINGS = {
    "all": {
        "temperature": 321.5,
        "cartesian_step": 2e-5 / 3,
        "internal_step": 4e-4 / 7,
        "cartesian_preconditioner": RANDOM.uniform(0, 2, size=N),
        "internal_preconditioner": RANDOM.uniform(0, 2, size=(N, 3)),
        "max_displacement": math.inf,
        "detrend": "system",
        "measure_correction": True,
        "seed": 2**31 - 1,
    },
    "one chain, clipped": {"chains": None, "max_displacement": 0.01},
    "not detrended": {"detrend": False, "max_displacement": 0.1 / 3},
    "metropolis": {"metropolis": True},
}

COPIES = {
    "XML": lambda i: CompiledIntegrator.from_xml(mm.XmlSerializer.serialize(i)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda i: pickle.loads(pickle.dumps(i)),
}


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", COPIES)
def test_copies_are_of_the_same_kind_with_all_settings_and_counters_and_move_the_same(
    settings, kind
):
    system = nemo_system()
    system.setParticleMass(FIXED, 5)
    integrator = nemo(**SETTINGS[settings])
    integrator.setIntegrationForceGroups({0, 2})
    integrator.setStepSize(0.25)
    integrator.setConstraintTolerance(1e-4)
    context = make_context(system, integrator, random_walk(N))
    integrator.step(5)
    again = COPIES[kind](integrator)
    assert type(again) is CompiledIntegrator
    assert everything(again) == everything(integrator)
    assert mm.XmlSerializer.serialize(again) == mm.XmlSerializer.serialize(integrator)
    second = make_context(system, again, positions_of(context))
    np.testing.assert_array_equal(run(second, 3), run(context, 3))
    assert everything(again) == everything(integrator)
    assert everything(integrator) != everything(nemo(**SETTINGS[settings]))


# CompoundIntegrator


@one_precision
@pytest.mark.parametrize("place", [0, 1])
def test_it_takes_turns_with_another_one_in_a_compound_integrator(name, place):
    compound = mm.CompoundIntegrator()
    part = nemo()
    for integrator in [part, mm.VerletIntegrator(0.001)][:: 1 if place == 0 else -1]:
        compound.addIntegrator(integrator)
    context = new_context(name, compound)
    alone = new_context(name, nemo())
    for _ in range(2):
        compound.setCurrentIntegrator(place)
        compound.step(5)
        alone.getIntegrator().step(5)
        np.testing.assert_array_equal(positions_of(context), positions_of(alone))
        compound.setCurrentIntegrator(1 - place)
        compound.step(3)
        assert np.abs(positions_of(context) - positions_of(alone)).max() > 1e-7
        alone.setPositions(positions_of(context))
    assert part.getNumSteps() == 10
    assert context.getStepCount() == 16


def crowd() -> tuple[mm.System, list[int], np.ndarray]:
    """A chain without bonds that leaves a periodic box, among particles that repel it and each other."""
    length, n, box, random = 12, 252, 3.0, np.random.default_rng(0)
    system = mm.System()
    system.setDefaultPeriodicBoxVectors(*(box * np.eye(3)))
    repulsion = mm.CustomNonbondedForce("4*(1 - 1.25*r)^2")
    repulsion.setNonbondedMethod(mm.CustomNonbondedForce.CutoffPeriodic)
    repulsion.setCutoffDistance(0.8)
    for _ in range(n):
        system.addParticle(50.0)
        repulsion.addParticle([])
    system.addForce(repulsion)
    order = random.permutation(n)
    x = np.empty((n, 3))
    steps = np.arange(length)
    x[order[:length]] = np.stack([2 + 0.3 * steps, 0.15 * (steps % 2), 0.1 * (steps % 3)], 1)
    grid = np.stack(np.meshgrid(*[np.arange(7)] * 3), -1).reshape(-1, 3) * (box / 7)
    away = grid[grid[:, 1] > 0.3]
    x[order[length:]] = away[random.permutation(len(away))[: n - length]]
    return system, order[:length].tolist(), x


def test_it_is_the_first_in_a_compound_integrator_of_a_system_with_a_cutoff_on_opencl():
    system, chain, x = crowd()
    for order in (slice(None), slice(None, None, -1)):
        compound = mm.CompoundIntegrator()
        for integrator in [nemo(chains=[chain]), mm.VerletIntegrator(0.001)][order]:
            compound.addIntegrator(integrator)
        if order.step is None:
            context = make_context(system, compound, x, "OpenCL mixed")
            compound.step(2)
            alone = make_context(system, nemo(chains=[chain]), x, "OpenCL mixed")
            alone.getIntegrator().step(2)
            np.testing.assert_array_equal(positions_of(context), positions_of(alone))
        else:
            with pytest.raises(mm.OpenMMException, match="must come first"):
                make_context(system, compound, x, "OpenCL mixed")


# Particles that are stored anywhere


@pytest.mark.parametrize("name", ["CPU", "OpenCL single", "OpenCL mixed", "OpenCL double"])
def test_a_chain_without_bonds_stays_in_one_piece_at_the_walls_of_a_periodic_box(name):
    """OpenCL puts molecules back into the box and particles in another order now and then, every 250 steps."""
    system, chain, x = crowd()
    random = np.random.default_rng(1)
    options = {
        "chains": [chain],
        "cartesian_preconditioner": random.uniform(0.1, 2, size=len(x)),
        "detrend": False,
    }
    ends = []
    for platform_name in ("Reference", name):
        context = make_context(system, nemo(**options), x, platform_name)
        context.getIntegrator().step(600)
        ends.append(positions_of(context))
    assert (ends[0][chain].max(0) - ends[0][chain].min(0)).max() > 1.5
    assert np.abs(ends[0] - x).max() > 0.1
    # The CPU platform computes forces between pairs in float32.
    tolerance = PLATFORM_TRAJECTORY["OpenCL mixed" if name == "CPU" else name]
    assert np.abs(ends[1] - ends[0]).max() <= tolerance


@each_platform
def test_virtual_sites_are_where_their_particles_are(name):
    system = nemo_system()
    system.addParticle(0.0)
    system.setVirtualSite(N, mm.TwoParticleAverageSite(1, 12, 0.25, 0.75))
    context = make_context(system, nemo(), random_walk(N + 1), name)
    x0 = positions_of(context)
    context.getIntegrator().step(10)
    x = positions_of(context)
    np.testing.assert_allclose(x[N], 0.25 * x[1] + 0.75 * x[12], rtol=0, atol=1e-6)
    moved = np.abs(x - x0).max(1)
    assert moved[FIXED] == 0
    assert np.delete(moved, FIXED).min() > 1e-3


# Rigid-body motion


def net_motion(x: np.ndarray, dx: np.ndarray) -> float:
    """Largest component of the sums of displacements and of their moments."""
    arm = x - x.mean(0)
    return max(np.abs(dx.sum(0)).max(), np.abs(np.cross(arm, dx).sum(0)).max())


@each_platform
@pytest.mark.parametrize("correction", [False, True])
def test_net_motion_of_the_system_is_removed_but_not_that_of_its_chains(name, correction):
    options = {"detrend": "system", "measure_correction": correction}
    x, after = run(new_context(name, nemo(**options)), 1)
    dx = after - x
    moving = [i for i in range(N) if i != FIXED]
    # Rotated back as a rigid body, what moves has an angular momentum of second order.
    rest = 1e-4 if correction else 1e-7 if "single" in name else 1e-12
    assert net_motion(x[moving], dx[moving]) < rest
    for chain in [*CHAINS, [9, 10, 12, 13]]:
        assert net_motion(x[chain], dx[chain]) > 1e-3
    assert np.abs(dx[FIXED]).max() == 0


@pytest.mark.parametrize("correction", [False, True])
def test_both_implementations_remove_the_net_motion_of_the_system_alike(correction):
    options = {"detrend": "system", "measure_correction": correction, "chains": CHAINS, "seed": 3}
    contexts = [
        new_context("Reference", kind(300, **options, **STEPS))
        for kind in (CompiledIntegrator, PythonIntegrator)
    ]
    np.testing.assert_allclose(*[run(c, 20) for c in contexts], rtol=0, atol=1e-12)


# During a run


def assert_as_on_reference(name: str, change: Callable[[mm.Context], object]) -> None:
    """The same trajectory as on Reference where something changes after 5 steps, and another one where it does not."""
    ends, counters = {}, {}
    for platform_name, changes in ((name, True), (name, False), ("Reference", True)):
        context = new_context(platform_name, nemo())
        integrator = context.getIntegrator()
        integrator.step(5)
        if changes:
            change(context)
        integrator.step(5)
        ends[platform_name, changes] = positions_of(context)
        counters[platform_name, changes] = [
            integrator.getNumSteps(),
            integrator.getNumClippedSteps(),
            integrator.getLargestDisplacement()._value,
            context.getTime()._value,
        ]
    difference = np.abs(ends[name, True] - ends["Reference", True]).max()
    assert difference <= PLATFORM_TRAJECTORY[name]
    assert counters[name, True] == pytest.approx(counters["Reference", True], rel=1e-3)
    assert np.abs(ends[name, True] - ends[name, False]).max() > 2 * PLATFORM_TRAJECTORY[name]


CHANGES = {
    "nothing but the seed": lambda c: c.getIntegrator().setRandomNumberSeed(7),
    "temperature": lambda c: c.getIntegrator().setTemperature(30),
    "Cartesian step": lambda c: c.getIntegrator().setCartesianStep(1e-4),
    "internal step": lambda c: c.getIntegrator().setInternalStep(0),
    "speed limit": lambda c: c.getIntegrator().setMaxDisplacement(0.01),
    "force groups": lambda c: c.getIntegrator().setIntegrationForceGroups({0}),
    "positions": lambda c: c.setPositions(1.05 * positions_of(c)),
}


@pytest.mark.parametrize("name", ["CPU", "OpenCL single", "OpenCL mixed", "OpenCL double"])
@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_during_a_run_takes_effect_from_the_next_step(name, what):
    assert_as_on_reference(name, CHANGES[what])


@one_precision
def test_time_advances_by_the_size_of_a_step(name):
    context = new_context(name, nemo())
    context.getIntegrator().step(5)
    assert context.getTime() == 5 * unit.picosecond
    context.getIntegrator().setStepSize(0.5)
    context.setTime(20)
    context.getIntegrator().step(3)
    assert context.getTime() == 21.5 * unit.picosecond
    context.setStepCount(2)
    context.getIntegrator().step(2)
    assert (context.getStepCount(), context.getIntegrator().getNumSteps()) == (4, 10)


@each_platform
def test_a_reinitialized_context_goes_on(name):
    context = new_context(name, nemo())
    context.getIntegrator().step(5)
    context.reinitialize(preserveState=True)
    context.getIntegrator().step(5)
    whole = new_context(name, nemo())
    whole.getIntegrator().step(10)
    np.testing.assert_array_equal(positions_of(context), positions_of(whole))
    assert everything(context.getIntegrator()) == everything(whole.getIntegrator())
    assert context.getTime() == whole.getTime()


@one_precision
def test_velocities_are_those_of_the_user_and_there_is_no_kinetic_energy(name):
    context = new_context(name, nemo())
    velocities = np.float32(np.random.default_rng(2).normal(size=(N, 3)))
    context.setVelocities(velocities)
    context.getIntegrator().step(5)
    state = context.getState(velocities=True, energy=True)
    np.testing.assert_array_equal(state.getVelocities(asNumpy=True)._value, velocities)
    assert state.getKineticEnergy()._value == 0


@one_precision
def test_acceptance_rates_are_those_of_the_proposals(name):
    plain = new_context(name, nemo())
    plain.getIntegrator().step(3)
    assert plain.getIntegrator().getAcceptanceRates() == (1, 1)
    # A Cartesian sub-step that is nearly never accepted, and an internal one that nearly always is.
    integrator = nemo(metropolis=True, cartesian_step=1e-2, internal_step=1e-7)
    context = new_context(name, integrator)
    assert integrator.getAcceptanceRates() == (1, 1)  # none proposed
    x = run(context, 20)
    cartesian, internal = integrator.getAcceptanceRates()
    assert cartesian < 0.3
    assert internal > 0.7
    assert 20 * cartesian == round(20 * cartesian)
    free = [9, 10, 12, 13]
    moved = np.abs(np.diff(x[:, free], axis=0)).max((1, 2)) > 1e-4
    assert moved.sum() == round(20 * cartesian)


# Life and death


def memory_in_mb() -> float:
    """Resident set size."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("integrator_first", [False, True])
@pytest.mark.parametrize(("name", "cycles"), [("Reference", 2000), ("OpenCL mixed", 24)])
def test_contexts_that_come_and_go_leave_nothing_behind(name, cycles, integrator_first):
    """What an integrator keeps of 2000 particles is 0.3 MB."""
    n = 2000
    system, x = toy_system(n, [], (0, n - 1)), random_walk(n)
    before = 0.0
    for cycle in range(cycles):
        if cycle == cycles // 4:
            gc.collect()
            before = memory_in_mb()
        integrator = nemo(chains=None)
        context = make_context(system, integrator, x, name)
        integrator.step(1)
        if integrator_first:
            context._integrator = None
            del integrator
            del context
        else:
            del context
            with pytest.raises(mm.OpenMMException, match="not bound to a context"):
                integrator.step(1)
            del integrator
    gc.collect()
    assert memory_in_mb() - before < 4


@pytest.mark.parametrize("detrend", [True, "system"])
def test_hundreds_of_free_particles_move_as_on_the_reference_platform(detrend):
    """GPUs deal with them in portions."""
    n, chain = 700, [5, 3, 8, 400, 399]
    x0 = np.random.default_rng(4).normal(size=(n, 3))
    x0[chain] = random_walk(len(chain))
    ends = []
    for name in ("Reference", "OpenCL double"):
        integrator = CompiledIntegrator(300, 1e-5, 1e-4, seed=3, chains=[chain], detrend=detrend)
        context = make_context(toy_system(n, [chain], (5, 3)), integrator, x0, name)
        integrator.step(10)
        ends.append(positions_of(context))
    assert np.abs(ends[0] - x0).max(1).min() > 1e-4
    np.testing.assert_allclose(ends[1], ends[0], rtol=0, atol=PLATFORM_TRAJECTORY["OpenCL double"])

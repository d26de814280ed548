"""Replicas that one integrator moves, and copies of it, draw independent noise; checkpoints replay it."""

import copy
import pickle

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit

from openmm_nemo import NemoLangevinIntegrator
from openmm_nemo.engine.integrator import PythonIntegrator
from tests.helpers import platform
from tests.unit.engine.toys import bead_topology, make_context, positions_of, random_walk

pytestmark = pytest.mark.usefixtures("implementation")

N, REPLICAS = 60, 4
TEMPERATURES = [300.0 + 3 * i for i in range(REPLICAS)]
# Without energy and internal steps, displacements are the noise.
STEPS = {"cartesian_step": 2e-5, "internal_step": 0, "detrend": False}

COPIES = {
    "XML": lambda i: NemoLangevinIntegrator.from_xml(mm.XmlSerializer.serialize(i)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda i: pickle.loads(pickle.dumps(i)),
}


def free_particles() -> mm.System:
    system = mm.System()
    for _ in range(N):
        system.addParticle(110.0)
    system.addForce(mm.HarmonicBondForce())  # openmmtools needs one, also without bonds
    return system


def toy_context(integrator: mm.Integrator) -> mm.Context:
    return make_context(free_particles(), integrator, random_walk(N))


def displacements(context: mm.Context, n_steps: int = 1) -> np.ndarray:
    before = positions_of(context)
    context.getIntegrator().step(n_steps)
    return positions_of(context) - before


def check_independent(moves: list[np.ndarray]) -> None:
    """Fail if two of the displacements are correlated: that of 180 independent numbers has a deviation of 0.07."""
    correlation = np.corrcoef([move.ravel() for move in moves])
    others = correlation[~np.eye(len(moves), dtype=bool)]
    assert np.abs(others).max() < 0.4


@pytest.mark.parametrize("seed", [None, 5])
def test_replicas_of_openmm_s_sampler_draw_independent_noise(seed):
    simulation = app.Simulation(
        bead_topology(N),
        free_particles(),
        NemoLangevinIntegrator(300, **STEPS, seed=seed),
        platform("Reference"),
    )
    x0 = random_walk(N)
    simulation.context.setPositions(x0)
    temperatures = [{"temperature": t * unit.kelvin} for t in TEMPERATURES]
    sampler = app.ReplicaExchangeSampler(temperatures, simulation, 1)
    moves, previous = [], [x0] * REPLICAS
    for _ in range(3):
        sampler.simulate(1)
        now = [state.getPositions(asNumpy=True)._value for state in sampler.replicaConformation]
        moves += [x - before for x, before in zip(now, previous, strict=True)]
        previous = now
    check_independent(moves)
    assert simulation.integrator.getNumSteps() == 3 * REPLICAS


@pytest.mark.parametrize("seed", [None, 5])
def test_replicas_of_openmmtools_draw_independent_noise(seed, tmp_path):
    mcmc = pytest.importorskip("openmmtools.mcmc")
    from openmmtools.cache import ContextCache
    from openmmtools.multistate import ReplicaExchangeSampler
    from openmmtools.states import SamplerState, ThermodynamicState

    x0 = random_walk(N)
    moves = []

    class Move(mcmc.BaseIntegratorMove):
        def _get_integrator(self, thermodynamic_state):
            return NemoLangevinIntegrator(thermodynamic_state.temperature, **STEPS, seed=seed)

        def apply(self, thermodynamic_state, sampler_state, context_cache=None):
            before = sampler_state.positions
            super().apply(thermodynamic_state, sampler_state, context_cache=context_cache)
            moves.append((sampler_state.positions - before)._value)

    cache = ContextCache(platform("Reference"))
    sampler = ReplicaExchangeSampler(
        mcmc_moves=Move(n_steps=1), number_of_iterations=3, online_analysis_interval=None
    )
    sampler.energy_context_cache = sampler.sampler_context_cache = cache
    sampler.create(
        [ThermodynamicState(free_particles(), t * unit.kelvin) for t in TEMPERATURES],
        [SamplerState(x0 * unit.nanometer)] * REPLICAS,
        storage=str(tmp_path / "replicas.nc"),
    )
    sampler.run()
    assert len(moves) == 3 * REPLICAS
    check_independent(moves)
    assert len(cache) == 2  # one for energies: it recognizes the integrators as the same


@pytest.mark.parametrize("name", COPIES)
def test_contexts_of_one_integrator_draw_independent_noise_unless_it_has_a_seed(name):
    original = NemoLangevinIntegrator(300, **STEPS)
    contexts = [toy_context(i) for i in (original, *(COPIES[name](original) for _ in range(2)))]
    check_independent([displacements(context) for context in contexts])
    # Also from one that has taken steps.
    check_independent(
        [displacements(context) for context in (contexts[0], toy_context(COPIES[name](original)))]
    )

    seeded = NemoLangevinIntegrator(300, **STEPS, seed=5)
    first, second = toy_context(seeded), toy_context(COPIES[name](seeded))
    np.testing.assert_array_equal(displacements(first), displacements(second))


@pytest.mark.parametrize("seed", [None, 5])
def test_states_do_not_set_the_noise_back_and_checkpoints_do(seed):
    integrator = NemoLangevinIntegrator(300, **STEPS, seed=seed)
    context = toy_context(integrator)
    everything = {"positions": True, "parameters": True, "integratorParameters": True}
    state, checkpoint = context.getState(**everything), context.createCheckpoint()
    moves, numbers = [], []
    for _ in range(4):
        context.setState(state)
        moves.append(displacements(context))
        numbers.append(integrator.getNumSteps())
    check_independent(moves)
    assert numbers == [1, 2, 3, 4]
    chosen = integrator.getRandomNumberSeed()
    context.loadCheckpoint(checkpoint)
    assert (integrator.getNumSteps(), integrator.getRandomNumberSeed()) == (0, chosen)
    np.testing.assert_array_equal(displacements(context), moves[0])
    context.setState(state)
    np.testing.assert_array_equal(displacements(context), moves[1])


def test_checkpoint_replays_in_another_integrator():
    context = toy_context(NemoLangevinIntegrator(300, **STEPS))
    displacements(context, 3)
    checkpoint = context.createCheckpoint()
    expected = displacements(context, 3)
    again = toy_context(NemoLangevinIntegrator(300, **STEPS))
    again.loadCheckpoint(checkpoint)
    np.testing.assert_array_equal(displacements(again, 3), expected)
    # Integrators in other contexts, and the copies of this one, still draw their own.
    other = toy_context(COPIES["XML"](again.getIntegrator()))
    other.setState(again.getState(positions=True))
    check_independent([displacements(again), displacements(other)])


def test_state_restores_parameters_and_moves_counters_only_forward():
    first = NemoLangevinIntegrator(300, **STEPS, seed=5)
    context = toy_context(first)
    first.step(4)
    first.setTemperature(123)
    state = context.getState(positions=True, integratorParameters=True)
    first.step(2)
    first.setTemperature(200)
    context.setState(state)
    assert (first.getNumSteps(), first.getTemperature()._value) == (6, 123)

    second = NemoLangevinIntegrator(300, **STEPS, seed=8)
    again = toy_context(second)
    second.step(1)
    again.setState(state)
    assert (second.getNumSteps(), second.getRandomNumberSeed()) == (4, 8)


def test_context_is_freed_at_once(implementation):
    if implementation is not PythonIntegrator:
        pytest.skip("only the Python integrator watches its context")
    import weakref

    context = toy_context(NemoLangevinIntegrator(300, **STEPS))
    displacements(context)
    reference = weakref.ref(context)
    del context
    assert reference() is None

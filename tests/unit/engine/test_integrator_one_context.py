"""Replicas in one context: each moves as a system of its own, at its own temperature and with its own noise.

What a system of its own does is computed by the torch simulator, with the replica in the seed.
"""

import copy
import itertools
import pickle

import numpy as np
import openmm as mm
import pytest
import torch

from openmm_nemo import NemoLangevinIntegrator
from openmm_nemo.dynamics import Schedule
from openmm_nemo.dynamics.noise import replica_seed
from openmm_nemo.engine.integrator import CompiledIntegrator
from tests.helpers import raises
from tests.tolerances import PLATFORM_TRAJECTORY
from tests.unit.engine.platforms import each_platform, platform_context
from tests.unit.engine.toys import (
    make_context,
    positions_of,
    random_walk,
    run,
    simulator_trajectory,
    toy_energy,
    toy_system,
)

R = 3
CHAINS = [[0, 1, 2, 3, 4, 5, 6], [11, 10, 9, 8], [7]]  # of each replica of 12 particles
SIZE = 12
N = R * SIZE
EVERY = [[SIZE * r + i for i in chain] for r in range(R) for chain in CHAINS]
TEMPERATURES = [300.0, 450.0, 280.0]
STEPS = {"cartesian_step": 2e-5, "internal_step": 4e-4}
OPTIONS = {
    **STEPS,
    "replicas": R,
    "temperatures": TEMPERATURES,
    "temperature": 300,
    "chains": EVERY,
    "seed": 9,
}


def rows(replica: int) -> slice:
    return slice(replica * SIZE, (replica + 1) * SIZE)


def system() -> mm.System:
    """Chains in a well, and for the simulator alike; no force acts between replicas."""
    return toy_system(N, EVERY, (0, SIZE - 1))


def start() -> np.ndarray:
    x = random_walk(N)
    for replica in range(1, R):
        x[rows(replica)] -= x[replica * SIZE]
    return x


def toy_context(integrator: mm.Integrator, name: str = "Reference") -> mm.Context:
    return make_context(system(), integrator, start(), name)


def alone(replica: int, n_steps: int, **options) -> np.ndarray:
    """Positions of a replica, (n_steps + 1, 12, 3), nm."""
    others = [i for i in range(N) if i // SIZE != replica]
    frames = simulator_trajectory(
        toy_energy(EVERY, (0, SIZE - 1)),
        start(),
        n_steps,
        seed=replica_seed(OPTIONS["seed"], replica),
        temperature=TEMPERATURES[replica],
        chains=[EVERY[3 * replica + k] for k in range(3)],
        fixed=others,
        **(STEPS | options),
    )
    return frames[:, rows(replica)]


RANDOM = np.random.default_rng(3)
PRECONDITIONERS = {
    "cartesian_preconditioner": RANDOM.uniform(0.5, 1.5, size=N),
    "internal_preconditioner": RANDOM.uniform(0.5, 1.5, size=(N, 3)),
}


@each_platform
@pytest.mark.parametrize("options", [{}, {"measure_correction": True, **PRECONDITIONERS}])
def test_every_replica_moves_as_a_system_of_its_own(name, options):
    integrator = CompiledIntegrator(**OPTIONS, **options)
    frames = run(platform_context(system(), integrator, start(), name), 60)
    for replica in range(R):
        expected = alone(replica, 60, **options)
        assert np.abs(expected[-1] - expected[0]).max() > 0.05
        np.testing.assert_allclose(
            frames[:, rows(replica)], expected, rtol=0, atol=PLATFORM_TRAJECTORY[name]
        )


@pytest.mark.usefixtures("implementation")
def test_both_implementations_move_replicas_alike(platform_name):
    frames = run(
        toy_context(NemoLangevinIntegrator(**OPTIONS, **PRECONDITIONERS), platform_name), 20
    )
    for replica in range(R):
        expected = alone(replica, 20, **PRECONDITIONERS)
        np.testing.assert_allclose(frames[:, rows(replica)], expected, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("implementation")
def test_the_first_replica_is_a_context_of_its_own_bit_by_bit():
    frames = run(toy_context(NemoLangevinIntegrator(**OPTIONS)), 20)
    single = {**OPTIONS, "replicas": 1, "temperatures": None, "chains": CHAINS}
    context = make_context(
        toy_system(SIZE, CHAINS, (0, SIZE - 1)), NemoLangevinIntegrator(**single), start()[:SIZE]
    )
    np.testing.assert_array_equal(frames[:, :SIZE], run(context, 20))


@pytest.mark.usefixtures("implementation")
def test_one_replica_changes_nothing():
    single = {**OPTIONS, "replicas": 1, "temperatures": None}
    listed = single | {"temperatures": [300]}
    integrators = [NemoLangevinIntegrator(**options) for options in (single, listed)]
    xml = [mm.XmlSerializer.serialize(integrator) for integrator in integrators]
    assert xml[0] == xml[1]
    assert "eplica" not in xml[0]  # so that earlier versions read it
    assert integrators[0].getNumReplicas() == 1
    np.testing.assert_array_equal(*(run(toy_context(i), 10) for i in integrators))


@pytest.mark.usefixtures("implementation")
def test_without_chains_the_particles_are_divided_evenly():
    options = {**OPTIONS, "chains": None}
    every = [list(range(SIZE * r, SIZE * (r + 1))) for r in range(R)]
    integrators = [NemoLangevinIntegrator(**{**options, "chains": c}) for c in (None, every)]
    assert integrators[0].getChains() is None
    np.testing.assert_array_equal(*(run(toy_context(i), 10) for i in integrators))


@each_platform
def test_noise_of_replicas_is_not_correlated(name):
    """Without energy and internal steps, displacements are the noise: 10,000 numbers of each replica."""
    n, n_steps = 34, 100
    free = mm.System()
    for _ in range(4 * n):
        free.addParticle(110.0)
    integrator = CompiledIntegrator(300, 2e-5, 0, detrend=False, seed=3, replicas=4)
    frames = run(platform_context(free, integrator, np.zeros((4 * n, 3)), name), n_steps)
    noise = np.diff(frames, axis=0).reshape(n_steps, 4, n * 3).transpose(1, 0, 2).reshape(4, -1)
    assert noise.shape[1] > 10_000
    correlation = np.corrcoef(noise)[~np.eye(4, dtype=bool)]
    assert np.abs(correlation).max() < 0.05
    np.testing.assert_allclose(noise.std(1), np.sqrt(2e-5), rtol=0.05)


@pytest.mark.usefixtures("implementation")
def test_an_annealed_run_multiplies_the_temperature_of_every_replica(platform_name):
    schedule = Schedule(9, 2.0, 0.3, block=2)
    annealed = NemoLangevinIntegrator(**OPTIONS, schedule=schedule)
    by_hand = NemoLangevinIntegrator(**OPTIONS)
    contexts = [toy_context(i, platform_name) for i in (annealed, by_hand)]
    for step in range(12):
        factor = schedule.factor(step)
        by_hand.setTemperatures([factor * t for t in TEMPERATURES])
        by_hand.setCartesianStep(2e-5 * factor)
        by_hand.setInternalStep(4e-4 * factor)
        found, expected = (run(context, 1)[1] for context in contexts)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    assert annealed.getTemperatures()._value == TEMPERATURES


@pytest.mark.usefixtures("implementation")
def test_temperatures_can_be_set_during_a_run():
    integrator = NemoLangevinIntegrator(**OPTIONS)
    context = toy_context(integrator)
    integrator.step(3)
    checkpoint = context.createCheckpoint()
    swapped = [TEMPERATURES[1], TEMPERATURES[0], TEMPERATURES[2]]
    integrator.setTemperatures([t * mm.unit.kelvin for t in swapped])
    assert integrator.getTemperatures()._value == swapped
    assert integrator.getTemperature()._value == swapped[0]
    moved = run(context, 5)[-1]
    context.loadCheckpoint(checkpoint)
    assert integrator.getTemperatures()._value == TEMPERATURES
    unmoved = run(context, 5)[-1]
    np.testing.assert_array_equal(moved[rows(2)], unmoved[rows(2)])
    for replica in (0, 1):
        assert np.abs(moved[rows(replica)] - unmoved[rows(replica)]).max() > 1e-4
    integrator.setTemperature(333)
    assert integrator.getTemperatures()._value == R * [333]


COPIES = {
    "XML": lambda i: type(i).from_xml(mm.XmlSerializer.serialize(i)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda i: pickle.loads(pickle.dumps(i)),
}


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("kind", COPIES)
def test_copies_have_the_replicas_and_their_temperatures(kind):
    integrator = NemoLangevinIntegrator(**OPTIONS)
    again = COPIES[kind](COPIES[kind](integrator))
    assert again.getNumReplicas() == R
    assert again.getTemperatures()._value == TEMPERATURES
    np.testing.assert_array_equal(*(run(toy_context(i), 4) for i in (integrator, again)))


@each_platform
def test_a_checkpoint_leads_to_the_same_steps(name):
    contexts = [
        platform_context(system(), CompiledIntegrator(**OPTIONS | other), start(), name)
        for other in ({}, {"seed": 1, "temperatures": [1, 2, 3]})
    ]
    contexts[0].getIntegrator().step(4)
    checkpoint = contexts[0].createCheckpoint()
    expected = run(contexts[0], 5)
    contexts[1].loadCheckpoint(checkpoint)
    assert contexts[1].getIntegrator().getTemperatures()._value == TEMPERATURES
    np.testing.assert_array_equal(run(contexts[1], 5), expected)


@pytest.mark.usefixtures("implementation")
def test_a_state_restores_temperatures():
    contexts = [
        toy_context(NemoLangevinIntegrator(**OPTIONS | other))
        for other in ({}, {"temperatures": [1, 2, 3]})
    ]
    state = contexts[0].getState(positions=True, integratorParameters=True)
    contexts[1].setState(mm.XmlSerializer.deserialize(mm.XmlSerializer.serialize(state)))
    assert contexts[1].getIntegrator().getTemperatures()._value == TEMPERATURES


@pytest.mark.usefixtures("plugin")
def test_states_and_checkpoints_of_another_number_of_replicas_are_refused():
    single = {**OPTIONS, "replicas": 1, "temperatures": None}
    three = toy_context(CompiledIntegrator(**OPTIONS))
    one = toy_context(CompiledIntegrator(**single))
    for first, second in itertools.permutations([three, one]):
        state = first.getState(positions=True, integratorParameters=True)
        with raises(mm.OpenMMException, "replicas", 1, 3):
            second.setState(state)
        with raises(mm.OpenMMException, "replicas", 1, 3):
            second.loadCheckpoint(first.createCheckpoint())
    assert three.getIntegrator().getTemperatures()._value == TEMPERATURES


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"replicas": 0}, ["replicas", 0]),
        ({"replicas": 2}, [9, 2, "replicas"]),
        ({"temperatures": [300, 310]}, ["temperatures", 2, 3]),
        ({"temperatures": [300, -1, 300]}, ["temperature", -1, "positive"]),
        ({"temperatures": [300, 300, np.inf]}, ["temperature", "inf", "finite"]),
        ({"temperatures": [300, np.nan, 300]}, ["temperature", "nan", "positive"]),
        ({"detrend": "system"}, ["detrend", "replicas"]),
    ],
)
def test_what_does_not_fit_replicas_is_refused(options, facts):
    with raises(ValueError, *facts):
        NemoLangevinIntegrator(**OPTIONS | options)


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize(
    ("chains", "n", "facts"),
    [
        (None, N + 1, ["particles", 37, "replicas", 3]),
        (EVERY, N + 1, ["Particle", 36, "chain", "replica"]),
    ],
    ids=["uneven", "free"],
)
def test_a_system_that_does_not_fit_replicas_is_refused(chains, n, facts):
    integrator = NemoLangevinIntegrator(**OPTIONS | {"chains": chains})
    with raises(mm.OpenMMException, *facts):
        context = make_context(toy_system(n, EVERY, (0, 5)), integrator, random_walk(n))
        context.getIntegrator().step(1)


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("old", "new", "facts"),
    [
        ('temperature="450"', 'temperature="-450"', ["temperature", "-450", "positive"]),
        ('temperature="450"', 'temperature="hot"', ["temperature", "hot"]),
        ('temperature="450"', 'temperature="450" scale="2"', ["scale", "Replica"]),
        ('detrend="1"', 'detrend="2"', ["detrend", "replicas"]),
    ],
)
def test_damaged_xml_is_refused(old, new, facts):
    xml = mm.XmlSerializer.serialize(CompiledIntegrator(**OPTIONS))
    assert xml.count(old) == 1
    with raises(mm.OpenMMException, *facts):
        toy_context(CompiledIntegrator.from_xml(xml.replace(old, new)))
    # Virtual replicas: nine chains are not divided by four.
    more = xml.replace("</OtherReplicas>", '<Replica temperature="3"/></OtherReplicas>')
    with raises(mm.OpenMMException, 9, 4, "replicas"):
        toy_context(CompiledIntegrator.from_xml(more))


def test_virtual_sites_and_fixed_particles_belong_to_no_replica(plugin):
    toy = toy_system(N + 2, EVERY, (0, SIZE - 1))
    toy.setParticleMass(N, 0)
    toy.setParticleMass(N + 1, 0)
    toy.setVirtualSite(N + 1, mm.TwoParticleAverageSite(SIZE, SIZE + 1, 0.5, 0.5))
    x = np.vstack([start(), np.ones((2, 3))])
    context = make_context(toy, CompiledIntegrator(**OPTIONS), x)
    context.computeVirtualSites()
    context.getIntegrator().step(5)
    found = positions_of(context)
    np.testing.assert_array_equal(found[N], x[N])
    np.testing.assert_allclose(found[N + 1], found[[SIZE, SIZE + 1]].mean(0), atol=1e-12)
    assert torch.isfinite(torch.tensor(found)).all()

"""Replica exchange in OpenMM: what an attempt does, and what is sampled."""

import numpy as np
import openmm as mm
import pytest
import torch
from openmm import app
from scipy import integrate, stats

from openmm_nemo import InputError, NemoReplicaExchange
from openmm_nemo.dynamics import Schedule
from openmm_nemo.dynamics.noise import exchange_numbers
from openmm_nemo.engine import replica_energy
from openmm_nemo.engine.integrator import CompiledIntegrator
from tests.helpers import need_plugin, platform, raises
from tests.unit.engine.platforms import one_precision
from tests.unit.engine.test_metropolis_replicas import ONLY
from tests.unit.engine.toys import GAS_CONSTANT, KT, bead_topology, positions_of

TEMPERATURES = [300.0, 420.0, 600.0, 900.0]
R = len(TEMPERATURES)
N = 4

# kJ/mol and nm: two wells of unequal depth in x, 0.3 nm from a barrier of 7 kT at 300 K.
BARRIER = 7 * KT
WIDTH = 0.3
TILT = 1.0
SPRING = 100.0


def wells(x):
    return BARRIER * ((x / WIDTH) ** 2 - 1) ** 2 + TILT * x / WIDTH


def system() -> mm.System:
    """Of each replica, one bead in two wells, and three in a harmonic one."""
    system = mm.System()
    double = mm.CustomExternalForce(
        f"{ONLY}({BARRIER}*((x/{WIDTH})^2-1)^2 + {TILT}*x/{WIDTH} + 0.5*{SPRING}*(y^2+z^2))"
    )
    single = mm.CustomExternalForce(f"{ONLY}0.5*{SPRING}*(x^2 + y^2 + z^2)")
    for force in (double, single):
        force.addPerParticleParameter("replica")
        force.addGlobalParameter("nemo_replica", -1.0)
    for particle in range(R * N):
        system.addParticle(1.0)
        (single if particle % N else double).addParticle(particle, [particle // N])
    for force in (double, single):
        system.addForce(force)
    return system


def simulation_of(file, interval=5, seed=2, name="Reference") -> app.Simulation:
    """All replicas begin in the higher well."""
    need_plugin()
    integrator = CompiledIntegrator(
        300, 0.006, 0.3, seed=seed, metropolis=True, replicas=R, temperatures=TEMPERATURES
    )
    kind, _, precision = name.partition(" ")
    properties = {"Precision": precision} if precision else {}
    simulation = app.Simulation(
        bead_topology(R * N), system(), integrator, platform(kind), properties
    )
    start = np.random.default_rng(1).normal(scale=0.1, size=(R * N, 3))
    start[::N, 0] += WIDTH
    simulation.context.setPositions(start)
    simulation.reporters.append(NemoReplicaExchange(file, interval))
    return simulation


def walkers(file) -> np.ndarray:
    """Steps and walkers of the table."""
    return np.loadtxt(file, delimiter=",", skiprows=1, dtype=int, ndmin=2)


@one_precision
def test_attempts_are_those_of_the_criterion(tmp_path, name):
    """Energies written in numpy, weights before and after, and positions that move with the walkers."""
    simulation = simulation_of(tmp_path / "x.csv", seed=17, name=name)
    exchange = simulation.reporters[0]
    simulation.reporters.clear()
    exchange.begin(simulation)
    uniform = exchange_numbers(17, torch.arange(0, 500, 5), R - 1)
    beta = 1 / (GAS_CONSTANT * np.array(TEMPERATURES))
    walker, rows, decided = np.arange(R), [[0, *range(R)]], set()
    for attempt in range(1, 70):
        simulation.step(5)
        before = positions_of(simulation.context).reshape(R, N, 3)
        u = wells(before[:, 0, 0]) + 0.5 * SPRING * ((before**2).sum((1, 2)) - before[:, 0, 0] ** 2)
        source = np.arange(R)
        for i in range((attempt + 1) % 2, R - 1, 2):
            after, now = beta[i] * u[i + 1] + beta[i + 1] * u[i], beta[i : i + 2] @ u[i : i + 2]
            accepted = uniform[attempt, i] < np.exp(now - after)
            decided.add((i, bool(accepted)))
            if accepted:
                source[[i, i + 1]] = source[[i + 1, i]]
        state = simulation.context.getState(positions=True)
        exchange.report(simulation, state)
        found = positions_of(simulation.context).reshape(R, N, 3)
        np.testing.assert_array_equal(found, before[source])
        walker = walker[source]
        rows.append([5 * attempt, *walker])
    assert len(decided) == 2 * (R - 1)  # each pair both ways
    exchange.close()
    np.testing.assert_array_equal(walkers(tmp_path / "x.csv"), rows)
    assert (tmp_path / "x.csv").read_text().startswith("step,replica-0,replica-1,")


def test_attempts_are_made_at_the_interval(tmp_path):
    simulation = simulation_of(tmp_path / "x.csv", interval=7)
    simulation.step(20)
    simulation.step(2)
    assert walkers(tmp_path / "x.csv")[:, 0].tolist() == [0, 7, 14, 21]


@one_precision
def test_a_checkpoint_and_the_table_continue_bit_by_bit(tmp_path, name):
    whole = simulation_of(tmp_path / "whole.csv", name=name)
    whole.step(33)
    checkpoint = whole.context.createCheckpoint()
    whole.step(30)
    other = simulation_of(tmp_path / "other.csv", seed=5, name=name)
    other.context.loadCheckpoint(checkpoint)
    other.reporters[0].take_over(tmp_path / "whole.csv", 7, R)
    other.step(30)
    np.testing.assert_array_equal(positions_of(other.context), positions_of(whole.context))
    assert (tmp_path / "other.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.boltzmann
def test_every_temperature_samples_its_boltzmann_distribution(tmp_path):
    """Positions in the wells and all other energy, by Kolmogorov and Smirnov's test of what is nearly independent.

    All start on the wrong side of the barrier. A false alarm in 1,000 runs. Frames alternate between attempts of even
    and of odd pairs.
    """
    simulation = simulation_of(tmp_path / "x.csv", interval=15)
    simulation.step(600)
    frames = []
    for _ in range(400):
        simulation.step(45)
        frames.append(positions_of(simulation.context).reshape(R, N, 3))
    x = np.array(frames)
    wells_x, rest = x[:, :, 0, 0], (x**2).sum((2, 3)) - x[:, :, 0, 0] ** 2
    crossed = (np.diff(np.sign(wells_x[:, 0])) != 0).sum()
    assert crossed > 30  # of the barrier of 7 kT
    grid = np.linspace(-0.8, 0.8, 4001)
    for r, temperature in enumerate(TEMPERATURES):
        kt = GAS_CONSTANT * temperature
        cumulative = integrate.cumulative_simpson(np.exp(-wells(grid) / kt), x=grid, initial=0)
        cumulative /= cumulative[-1]
        in_wells = stats.kstest(wells_x[:, r], lambda v, c=cumulative: np.interp(v, grid, c))
        elsewhere = stats.kstest(0.5 * SPRING * rest[:, r] / kt, stats.gamma(11 / 2).cdf)
        assert min(in_wells.pvalue, elsewhere.pvalue) > 1e-3 / (2 * R), temperature


def test_a_scaled_energy_takes_the_steps_of_another_temperature(protein):
    """So that a ladder of nemo_scale is one of temperatures: s at T is T/s."""
    ends = []
    for scale, temperature in ((0.75, 300.0), (1.0, 400.0)):
        simulation = app.Simulation(
            protein.topology,
            protein.create_system("python"),
            protein.create_integrator(temperature, seed=4),
            platform("Reference"),
        )
        simulation.context.setPositions(protein.initial_positions(1))
        simulation.context.setParameter("nemo_scale", scale)
        simulation.step(10)
        ends.append(positions_of(simulation.context))
    np.testing.assert_allclose(ends[0], ends[1], rtol=0, atol=1e-10)


def test_energies_are_those_of_replicas_at_their_temperatures(protein, tmp_path):
    """NEMO itself: after swaps, too, the energies are those of the configurations."""
    simulation = app.Simulation(
        protein.create_topology(3),
        protein.create_system("python", replicas=3),
        protein.create_integrator(seed=4, replicas=3, temperatures=[300, 310, 320]),
        platform("Reference"),
    )
    simulation.context.setPositions(protein.initial_positions(1, 3))
    simulation.reporters.append(NemoReplicaExchange(tmp_path / "x.csv", 2))
    simulation.step(8)
    assert simulation.reporters[0].walkers.tolist() != [0, 1, 2]
    x = 10 * positions_of(simulation.context).reshape(3, -1, 3)
    expected = KT * protein.energy(torch.tensor(x).to(protein.s)).double().numpy()
    found = [replica_energy(simulation.context, r) for r in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


# What is refused


def test_interval_must_be_positive(tmp_path):
    with raises(ValueError, "interval", 0):
        NemoReplicaExchange(tmp_path / "x.csv", 0)


def test_a_single_replica_is_refused(protein, tmp_path):
    simulation = app.Simulation(
        protein.topology,
        protein.create_system("python"),
        protein.create_integrator(),
        platform("Reference"),
    )
    simulation.reporters.append(NemoReplicaExchange(tmp_path / "x.csv", 1))
    with raises(ValueError, "replicas", "create_system", "create_integrator"):
        simulation.step(1)


def test_a_schedule_is_refused(tmp_path):
    simulation = simulation_of(tmp_path / "x.csv")
    simulation.integrator.setSchedule(Schedule(10, 2.0, 1.0))
    with raises(ValueError, "schedule"):
        simulation.step(1)


@pytest.mark.parametrize(
    "text",
    [
        "step,replica-0,replica-1\n0,0,1\n",  # too short
        "step,replica-0,replica-1\n0,0,1\n5,1,1\n",
        "step,replica-0,replica-1\n0,0,1\n5,1\n",
        "step,replica-0,replica-1\n0,0,1\n5,a,b\n",
    ],
)
def test_a_table_that_has_changed_is_refused(tmp_path, text):
    (tmp_path / "earlier.csv").write_text(text)
    with raises(InputError, "earlier.csv", "start a new run"):
        NemoReplicaExchange(tmp_path / "x.csv", 5).take_over(tmp_path / "earlier.csv", 2, 2)

"""OpenMM's own methods of enhanced sampling, driven by the integrator, on a Gaussian chain, whose answers are known.

Its energy is quadratic in 3 (n - 1) coordinates, so that Z ~ T^(3 (n - 1) / 2); its radius of gyration has the
distribution of that of random walks with normal steps.
"""

import io
import random

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit

from openmm_nemo import NemoLangevinIntegrator
from tests.helpers import need_plugin, platform
from tests.tolerances import ENHANCED
from tests.unit.engine.toys import GAS_CONSTANT, KT, bead_topology, random_walk

pytestmark = pytest.mark.boltzmann

N = 6
DEGREES = 3 * (N - 1)
SIZE = 0.3
"""Standard deviation of each component of a bond at 300 K, nm."""


@pytest.fixture(autouse=True)
def _compiled():
    need_plugin()


def gaussian_chain() -> mm.System:
    system = mm.System()
    springs = mm.HarmonicBondForce()
    for i in range(N):
        system.addParticle(110.0)
        if i:
            springs.addBond(i - 1, i, 0, KT / SIZE**2)
    system.addForce(springs)
    return system


def integrator_at(temperature) -> NemoLangevinIntegrator:
    return NemoLangevinIntegrator(temperature, 0.02, 0.3, seed=1, metropolis=True)


def simulation_of(system: mm.System) -> app.Simulation:
    integrator = integrator_at(300)
    simulation = app.Simulation(bead_topology(N), system, integrator, platform("Reference"))
    simulation.context.setPositions(random_walk(N))
    simulation.step(1000)
    return simulation


def radius_of_gyration(x: np.ndarray) -> np.ndarray:
    """Of positions (..., N, 3)."""
    return np.sqrt(x.var(axis=-2).sum(axis=-1))


def test_metadynamics_gives_the_free_energy_of_the_radius_of_gyration():
    system = gaussian_chain()
    radius = app.BiasVariable(mm.RGForce(), 0.0, 1.6, 0.04, gridWidth=161)
    metadynamics = app.Metadynamics(
        system, [radius], 300, biasFactor=5, height=0.2 * KT, frequency=20
    )
    simulation = simulation_of(system)
    metadynamics.step(simulation, 200_000)
    estimated = metadynamics.getFreeEnergy()._value / KT

    steps = np.random.default_rng(1).normal(scale=SIZE, size=(1_000_000, N - 1, 3))
    walks = np.concatenate([np.zeros((len(steps), 1, 3)), np.cumsum(steps, axis=1)], axis=1)
    grid = np.linspace(0.0, 1.6, radius.gridWidth)
    counts, _ = np.histogram(
        radius_of_gyration(walks), np.append(grid, grid[-1] + grid[1]) - grid[1] / 2
    )
    known = counts > 1000
    exact = -np.log(counts[known])
    difference = estimated[known] - exact
    difference -= difference.mean()
    assert np.ptp(exact) > 3
    assert np.sqrt((difference**2).mean()) < ENHANCED["metadynamics"]


def test_simulated_tempering_gives_the_free_energies_of_temperatures():
    random.seed(1)
    temperatures = np.array([300.0, 400.0, 550.0])
    simulation = simulation_of(gaussian_chain())
    tempering = app.SimulatedTempering(
        simulation, temperatures * unit.kelvin, tempChangeInterval=20, reportFile=io.StringIO()
    )
    tempering.step(100_000)
    exact = -DEGREES / 2 * np.log(temperatures / temperatures[0])
    np.testing.assert_allclose(tempering.weights, exact, atol=ENHANCED["weights"])

    simulation.reporters.clear()
    states = [{"temperature": t * unit.kelvin} for t in temperatures]
    app.ExpandedEnsembleSampler(states, simulation, 20, weights=exact.tolist())
    energies, visited = [], []
    for _ in range(5000):
        simulation.step(20)
        visited.append(simulation.integrator.getTemperature()._value)
        energies.append(simulation.context.getState(energy=True).getPotentialEnergy()._value)
    for t in temperatures:
        here = np.array(energies)[np.array(visited) == t]
        assert len(here) > 1200  # of 1667
        mean = DEGREES / 2 * GAS_CONSTANT * t
        assert here.mean() == pytest.approx(mean, rel=ENHANCED["energies"])


def test_replica_exchange_of_openmmtools_gives_the_free_energies_of_temperatures(tmp_path):
    mcmc = pytest.importorskip("openmmtools.mcmc")
    import numba
    from openmmtools.cache import ContextCache
    from openmmtools.multistate import (
        MultiStateReporter,
        ReplicaExchangeAnalyzer,
        ReplicaExchangeSampler,
    )
    from openmmtools.states import SamplerState, ThermodynamicState

    class Move(mcmc.BaseIntegratorMove):
        def _get_integrator(self, thermodynamic_state):
            return integrator_at(thermodynamic_state.temperature)

    # openmmtools exchanges replicas in compiled code, which has a random state of its own.
    @numba.njit
    def seed(number):
        np.random.seed(number)  # noqa: NPY002

    seed(1)
    temperatures = np.array([300.0, 400.0, 550.0])
    sampler = ReplicaExchangeSampler(
        mcmc_moves=Move(n_steps=20), number_of_iterations=600, online_analysis_interval=None
    )
    cache = ContextCache(platform("Reference"))
    sampler.energy_context_cache = sampler.sampler_context_cache = cache
    sampler.create(
        [ThermodynamicState(gaussian_chain(), t * unit.kelvin) for t in temperatures],
        [SamplerState(random_walk(N) * unit.nanometer)] * len(temperatures),
        MultiStateReporter(str(tmp_path / "replicas.nc"), checkpoint_interval=600),
    )
    sampler.run()
    reporter = MultiStateReporter(str(tmp_path / "replicas.nc"), open_mode="r")
    free_energies = ReplicaExchangeAnalyzer(reporter).get_free_energy()[0][0]
    exact = -DEGREES / 2 * np.log(temperatures / temperatures[0])
    np.testing.assert_allclose(free_energies, exact, atol=ENHANCED["weights"])

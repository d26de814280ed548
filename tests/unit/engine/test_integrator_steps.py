"""Steps of `NemoLangevinIntegrator` against the torch simulator and, where it can be, against a line of numpy."""

import numpy as np
import openmm as mm
import pytest
import torch

from openmm_nemo import NemoLangevinIntegrator
from openmm_nemo.dynamics import langevin_noise
from tests.tolerances import assert_close
from tests.unit.engine.toys import (
    KT,
    forces_of,
    make_context,
    positions_of,
    random_walk,
    run,
    simulator_trajectory,
    toy_energy,
    toy_system,
)

pytestmark = pytest.mark.usefixtures("implementation")

STEPS = {"cartesian_step": 2e-5, "internal_step": 4e-4}

CHAINS = {
    "one chain": [list(range(9))],
    "unequal lengths": [[0, 1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11, 12], [13, 14, 15, 16, 17]],
    "interleaved, reversed": [[6, 4, 2, 0, 8], [1, 3, 5, 7, 9, 10, 11, 12]],
    "shortest": [[0], [1, 2], [3, 4, 5], [6, 7, 8, 9]],
}


def assert_same_trajectory(actual: np.ndarray, expected: np.ndarray) -> None:
    """Positions of all steps agree, and they are not at rest."""
    assert np.abs(expected[-1] - expected[0]).max() > 0.01
    assert_close(torch.from_numpy(actual), torch.from_numpy(expected), "trajectory")


def test_protein_moves_as_in_the_torch_simulator(protein, backend, platform_name):
    rollout = protein.rollout(50, seed=11)
    integrator = protein.create_integrator(seed=11)
    context = make_context(
        protein.create_system(backend), integrator, protein.initial_positions(), platform_name
    )
    frames = run(context, 50)
    assert_same_trajectory(frames, rollout.x[:, 0].numpy() / 10)
    assert integrator.getNumClippedSteps() == rollout.clipped.sum()
    assert integrator.getLargestDisplacement()._value == pytest.approx(
        rollout.largest_displacement[-1, 0].item() / 10, rel=1e-6
    )


def test_protein_at_another_temperature_moves_as_in_the_torch_simulator(protein, platform_name):
    integrator = protein.create_integrator(temperature=450, seed=5)
    context = make_context(
        protein.create_system("python"), integrator, protein.initial_positions(), platform_name
    )
    rollout = protein.rollout(30, seed=5, temperature=450.0)
    assert_same_trajectory(run(context, 30), rollout.x[:, 0].numpy() / 10)


@pytest.mark.parametrize("steps", [(2e-5, 0.0), (0.0, 4e-4), (2e-5, 4e-4)], ids=str)
@pytest.mark.parametrize("correction", [False, True])
@pytest.mark.parametrize("detrend", [False, True])
def test_other_forces_act_in_cartesian_and_internal_steps(protein, steps, correction, detrend):
    n = len(protein.sequence)
    x0 = protein.initial_positions()._value
    restraint = toy_energy([], (0, n - 1))
    system = toy_system(n, [], (0, n - 1))
    system.addForce(protein.create_force("python", force_group=4))
    options = {
        "cartesian_step": steps[0],
        "internal_step": steps[1],
        "detrend": detrend,
        "measure_correction": correction,
        "seed": 3,
    }
    context = make_context(system, NemoLangevinIntegrator(300, **options), x0)
    expected = simulator_trajectory(
        lambda x: KT * protein.energy(10 * x) + restraint(x), x0, 20, **options
    )
    assert_same_trajectory(run(context, 20), expected)


@pytest.mark.parametrize("groups", [{0}, {0, 1}, {2}, {0, 1, 2}], ids=str)
def test_forces_of_other_groups_are_left_out(platform_name, groups):
    chains, n = [list(range(8))], 8
    x0 = random_walk(n)
    integrator = NemoLangevinIntegrator(300, seed=3, **STEPS)
    integrator.setIntegrationForceGroups(groups)
    context = make_context(toy_system(n, chains, (1, 6)), integrator, x0, platform_name)
    energy = toy_energy(chains, (1, 6), groups)
    assert_same_trajectory(run(context, 20), simulator_trajectory(energy, x0, 20, seed=3, **STEPS))


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("detrend", [False, True])
def test_every_chain_moves_as_alone_with_the_noise_of_its_number(name, detrend, platform_name):
    chains = CHAINS[name]
    n = 1 + max(max(chain) for chain in chains)
    x0 = random_walk(n)
    for k, chain in enumerate(chains):
        x0[chain] = random_walk(len(chain), seed=k) + k
    random = np.random.default_rng(9)
    options = {
        "chains": chains,
        "cartesian_preconditioner": random.uniform(0, 2, size=n),
        "internal_preconditioner": random.uniform(0, 2, size=(n, 3)),
        "detrend": detrend,
        "seed": 77,
        **STEPS,
    }
    context = make_context(
        toy_system(n, chains, (0, n - 1)),
        NemoLangevinIntegrator(300, **options),
        x0,
        platform_name,
    )
    energy = toy_energy(chains, (0, n - 1))
    assert_same_trajectory(run(context, 30), simulator_trajectory(energy, x0, 30, **options))


def test_particles_in_no_chain_take_cartesian_steps(platform_name):
    chains, n = [[2, 3, 5, 7, 11], [4, 6, 8, 10]], 13
    x0 = random_walk(n)
    cartesian = np.random.default_rng(2).uniform(0.5, 2, size=n)
    options = {"chains": chains, "cartesian_preconditioner": cartesian, "seed": 8, **STEPS}
    context = make_context(
        toy_system(n, chains, (0, 12)), NemoLangevinIntegrator(300, **options), x0, platform_name
    )
    energy = toy_energy(chains, (0, 12))
    frames = run(context, 30)
    assert np.abs(frames[-1] - frames[0]).max(1).min() > 1e-3
    assert_same_trajectory(frames, simulator_trajectory(energy, x0, 30, **options))


def test_particles_of_mass_0_in_no_chain_stay(platform_name):
    chains, n, fixed = [[1, 2, 3, 4, 5]], 8, [0, 6]
    x0 = random_walk(n)
    options = {"chains": chains, "seed": 8, **STEPS}
    system = toy_system(n, chains, (0, 6))
    for particle in fixed:
        system.setParticleMass(particle, 0)
    context = make_context(system, NemoLangevinIntegrator(300, **options), x0, platform_name)
    frames = run(context, 20)
    np.testing.assert_array_equal(frames[:, fixed], np.broadcast_to(x0[fixed], (21, 2, 3)))
    energy = toy_energy(chains, (0, 6))
    assert_same_trajectory(frames, simulator_trajectory(energy, x0, 20, fixed=fixed, **options))


def test_virtual_sites_follow_the_particles(platform_name):
    chain = [0, 1, 2, 3, 4]
    system = toy_system(5, [chain], (0, 4))
    system.addParticle(0.0)
    system.setVirtualSite(5, mm.TwoParticleAverageSite(1, 3, 0.25, 0.75))
    x0 = np.vstack([random_walk(5), np.zeros((1, 3))])
    integrator = NemoLangevinIntegrator(300, chains=[chain], seed=8, **STEPS)
    context = make_context(system, integrator, x0, platform_name)
    integrator.step(10)
    x = positions_of(context)
    np.testing.assert_allclose(x[5], 0.25 * x[1] + 0.75 * x[3], rtol=0, atol=1e-7)
    assert np.abs(x - x0)[:5].max(1).min() > 1e-3


def test_forces_on_virtual_sites_move_the_particles(platform_name):
    chain = [0, 1, 2, 3, 4]
    system = mm.System()
    for mass in (110, 110, 110, 110, 110, 0):
        system.addParticle(mass)
    system.setVirtualSite(5, mm.TwoParticleAverageSite(1, 3, 0.25, 0.75))
    pull = mm.CustomExternalForce("300*z")
    pull.addParticle(5)
    system.addForce(pull)
    x0 = np.vstack([random_walk(5), np.zeros((1, 3))])
    options = {"chains": [chain], "detrend": False, "seed": 8, **STEPS}
    context = make_context(system, NemoLangevinIntegrator(300, **options), x0, platform_name)
    context.computeVirtualSites()
    expected = simulator_trajectory(
        lambda x: 300 * (0.25 * x[1, 2] + 0.75 * x[3, 2]), x0[:5], 10, **options
    )
    assert_same_trajectory(run(context, 10)[:, :5], expected)


def test_cartesian_step_is_half_the_step_times_force_plus_noise(platform_name):
    n, eps, seed = 7, 3e-5, 21
    c = np.random.default_rng(1).uniform(0, 2, size=n)
    integrator = NemoLangevinIntegrator(
        300, eps, 0.0, cartesian_preconditioner=c, detrend=False, seed=seed
    )
    context = make_context(
        toy_system(n, [range(n)], (0, 6)), integrator, random_walk(n), platform_name
    )
    for step in range(3):
        x, force = positions_of(context), forces_of(context)
        p = langevin_noise(torch.tensor([seed]), torch.tensor([0]), step, 1, n)[0, 0, :, 0].numpy()
        integrator.step(1)
        dx = eps / 2 * c[:, None] * force / KT + np.sqrt(eps * c[:, None]) * p
        np.testing.assert_allclose(positions_of(context), x + dx, rtol=0, atol=1e-12)


def test_temperature_scales_the_drift_and_not_the_noise(platform_name):
    n, eps, x0 = 6, 3e-5, random_walk(6)
    moves = {}
    for temperature in (150, 300, 600):
        integrator = NemoLangevinIntegrator(temperature, eps, 0.0, detrend=False, seed=4)
        context = make_context(toy_system(n, [range(n)], (0, 5)), integrator, x0, platform_name)
        drift = eps / 2 * forces_of(context) / (KT * temperature / 300)
        integrator.step(1)
        moves[temperature] = positions_of(context) - x0 - drift
    np.testing.assert_allclose(moves[150], moves[300], rtol=0, atol=1e-12)
    np.testing.assert_allclose(moves[600], moves[300], rtol=0, atol=1e-12)


@pytest.mark.parametrize("detrend", [False, True])
def test_net_translation_and_rotation_of_every_chain_are_removed_on_request(detrend):
    chains = CHAINS["interleaved, reversed"]
    x0 = random_walk(13)
    integrator = NemoLangevinIntegrator(300, chains=chains, detrend=detrend, seed=5, **STEPS)
    context = make_context(toy_system(13, chains, (0, 12)), integrator, x0)
    frames = run(context, 5)
    for chain in chains:
        before, dx = frames[:-1, chain], np.diff(frames[:, chain], axis=0)
        arm = before - before.mean(1, keepdims=True)
        net = [np.abs(dx.sum(1)).max(), np.abs(np.cross(arm, dx).sum(1)).max()]
        assert (max(net) < 1e-12) if detrend else (min(net) > 1e-4)


def test_internal_step_keeps_the_speed_limit(platform_name):
    x0, limit = random_walk(40), 0.03
    moves, clipped = {}, {}
    for cap in (limit, np.inf):
        integrator = NemoLangevinIntegrator(300, 0.0, 1e-3, max_displacement=cap, seed=6)
        system = toy_system(40, [], (0, 39))
        while system.getNumForces():
            system.removeForce(0)
        frames = run(make_context(system, integrator, x0, platform_name), 10)
        moves[cap] = np.linalg.norm(np.diff(frames, axis=0), axis=-1).max(-1)
        clipped[cap] = integrator.getNumClippedSteps()
        assert integrator.getLargestDisplacement()._value == pytest.approx(moves[cap][-1])
    # Of the displacement to first order: Heun's method adds a little.
    assert moves[limit].max() < 1.1 * limit < moves[np.inf].min()
    assert clipped == {limit: 10, np.inf: 0}


def test_a_step_counts_as_clipped_if_that_of_one_chain_is():
    chains, system = [[0, 1, 2], list(range(3, 40))], mm.System()
    for _ in range(40):
        system.addParticle(1.0)
    integrator = NemoLangevinIntegrator(
        300,
        0.0,
        1e-3,
        internal_preconditioner=np.repeat([[0.0], [1.0]], [3, 37], axis=0) * np.ones(3),
        max_displacement=0.03,
        chains=chains,
        seed=6,
    )
    frames = run(make_context(system, integrator, random_walk(40)), 5)
    moves = np.linalg.norm(np.diff(frames, axis=0), axis=-1)
    assert moves[:, chains[0]].max() == 0
    assert moves[:, chains[1]].max(-1).min() > 0.02
    assert integrator.getNumClippedSteps() == 5
    assert integrator.getLargestDisplacement()._value == pytest.approx(moves[-1].max())


@pytest.mark.parametrize("name", ["temperature", "cartesian", "internal", "limit", "scale"])
def test_what_changes_during_a_run_takes_effect_from_the_next_step(protein, name):
    system, x0 = protein.create_system("python"), protein.initial_positions()
    integrator = protein.create_integrator(seed=9)
    context = make_context(system, integrator, x0)
    integrator.step(5)
    changes = {
        "temperature": lambda: integrator.setTemperature(600),
        "cartesian": lambda: integrator.setCartesianStep(0),
        "internal": lambda: integrator.setInternalStep(5e-4),
        "limit": lambda: integrator.setMaxDisplacement(0.01),
        "scale": lambda: context.setParameter("nemo_scale", 0.0),
    }
    before = positions_of(context)
    changes[name]()
    integrator.step(5)
    expected = simulator_trajectory(
        lambda x: (0 if name == "scale" else KT) * protein.energy(10 * x),
        before,
        5,
        seed=9,
        first_step=5,
        temperature=600.0 if name == "temperature" else 300.0,
        cartesian_step=0.0 if name == "cartesian" else protein.cartesian_step.item() / 100,
        internal_step=5e-4 if name == "internal" else protein.internal_step.item(),
        max_displacement=0.01 if name == "limit" else 0.2,
        cartesian_preconditioner=protein.cartesian_preconditioner,
        internal_preconditioner=protein.internal_preconditioner,
    )
    assert_close(torch.tensor(positions_of(context)), torch.tensor(expected[-1]), "trajectory")
    unchanged = make_context(system, protein.create_integrator(seed=9), x0)
    unchanged.getIntegrator().step(10)
    assert np.abs(positions_of(unchanged) - positions_of(context)).max() > 1e-4


def test_noise_does_not_repeat_over_the_blocks_in_which_it_is_drawn():
    x0, n_steps = random_walk(6), 140
    integrator = NemoLangevinIntegrator(300, 2e-5, 0.0, detrend=False, seed=12)
    context = make_context(toy_system(6, [], (0, 5)), integrator, x0)
    integrator.step(n_steps)
    expected = simulator_trajectory(
        toy_energy([], (0, 5)),
        x0,
        n_steps,
        cartesian_step=2e-5,
        internal_step=0.0,
        detrend=False,
        seed=12,
    )
    assert_close(torch.tensor(positions_of(context)), torch.tensor(expected[-1]), "trajectory")

"""Simulations of windows and their controls, on springs."""

import pytest
import torch

from openmm_nemo.comparison.simulations import no_energy, simulate
from tests.tolerances import assert_close
from tests.unit.comparison.batches import springs

STEPS = (0, 4, 9)


def test_states_are_those_of_one_simulation_on_the_way():
    batch = springs([8, 6], [3.0, 1.0])
    start = batch.initial_positions()
    with torch.no_grad():
        found = simulate(batch, STEPS, 5, start)
        trajectory = batch.rollout(9, start, seed=5, schedule=batch.schedule(9))
    assert_close(found.x, trajectory.x[[0, 4, 9]], "trajectory")
    assert_close(found.energy[:2], trajectory.energy[[0, 4]], "trajectory")


def test_clipped_is_the_share_of_steps_at_the_limit():
    batch = springs([8, 6], [0.0, 0.0], step=0.2)
    with torch.no_grad():
        found = simulate(batch, STEPS, 1, batch.initial_positions())
        hit = batch.rollout(9, seed=1).clipped.float()
    assert_close(found.clipped[1], hit[:4].mean(0), "rounding")
    assert_close(found.clipped[2], hit.mean(0), "rounding")
    assert 0 < found.clipped[2].min() < 1
    assert found.clipped[0].isnan().all()


def test_without_energy_only_the_noise_moves():
    strong, free = springs([8, 6], [50.0, 50.0]), springs([8, 6], [0.0, 0.0])
    start = strong.initial_positions()
    with torch.no_grad():
        noise = simulate(strong, STEPS, 2, start, no_energy)
        expected = simulate(free, STEPS, 2, start)
        moved = simulate(strong, STEPS, 2, start)
    assert_close(noise.x, expected.x, "trajectory")
    assert (moved.x - noise.x)[1:].abs().max() > 0.1
    assert noise.energy[2, 0] == pytest.approx(strong.energy(noise.x[2])[0].item())

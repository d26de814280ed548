"""Simulations and energies of a batch of chains in OpenMM, against those in torch."""

import pytest
import torch

from openmm_nemo.config import NemoConfig
from openmm_nemo.dynamics.rollout import energy_and_gradient
from openmm_nemo.engine import batch as engine
from openmm_nemo.models import NemoModel
from openmm_nemo.models.batch import ConditionedBatch
from tests.helpers import normal
from tests.tolerances import assert_close

LENGTHS = (14, 9, 11)


def make_batch(preset: str = "fold") -> ConditionedBatch:
    """Chains of several lengths, with random coefficients and steps of their own."""
    torch.manual_seed(1)
    model = NemoModel(NemoConfig.preset(preset)).eval()
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).float()
    s = torch.eye(20)[torch.arange(max(LENGTHS)) % 20].expand(3, -1, -1)
    widths = model.sequence_network.embedding.in_channels if preset == "fold" else 20
    s = torch.nn.functional.pad(s, (0, widths - 20)) * mask[..., None]
    with torch.no_grad():
        batch = model.condition_batch(s, mask)
        for values in batch.coefficients:
            values.copy_(0.2 * normal(*values.shape, seed=3))
        factors = torch.tensor([1.0, 0.6, 0.8])
        batch.parameters.cartesian_step.mul_(factors)
        batch.parameters.internal_step.mul_(factors.flip(0))
    return batch


@pytest.mark.usefixtures("plugin")
def test_states_are_those_of_the_roll_out_in_torch():
    batch = make_batch()
    x0 = batch.initial_positions(7)
    assert engine.can_simulate(batch.energy_network, x0, 7)
    schedule = batch.schedule(20)
    assert not schedule.is_constant
    # Twelve steps, so that the factor has changed.
    found = batch.snapshots(x0, [0, 5, 12], 7, schedule)
    expected = batch.rollout(12, x0, seed=7, schedule=schedule)
    assert_close(found.x, expected.x[[0, 5, 12]], "trajectory")
    assert (expected.x[-1] - x0).norm(dim=-1)[batch.mask > 0].median() > 0.3
    assert found.x[:, batch.mask == 0].eq(0).all()
    counts = torch.stack([expected.clipped[:n].sum(0) for n in (0, 5, 12)])
    assert counts[1:].gt(0).any()
    assert counts[2].lt(12).any()
    assert found.clipped.equal(counts.to(found.clipped))


@pytest.mark.usefixtures("plugin")
def test_what_the_plugin_cannot_compute_is_simulated_in_torch():
    for batch, dtype in ((make_batch("tiny"), torch.float32), (make_batch(), torch.float64)):
        x0 = batch.initial_positions(7).to(dtype)
        assert not engine.can_simulate(batch.energy_network, x0, 7)
    batch = make_batch("tiny")
    x0, schedule = batch.initial_positions(7), batch.schedule(3)
    found = batch.snapshots(x0, [1, 3], 7, schedule)
    expected = batch.rollout(3, x0, seed=7, schedule=schedule)
    assert found.x.equal(expected.x[[1, 3]])
    assert found.clipped[1].equal(expected.clipped.float().sum(0))
    assert not found.x.requires_grad


@pytest.mark.usefixtures("plugin")
def test_seeds_that_openmm_does_not_take_are_simulated_in_torch():
    batch = make_batch()
    x0, schedule = batch.initial_positions(7), batch.schedule(3)
    for seed, taken in ((0, False), (1, True), (2**31 - 3, True), (2**31 - 2, False)):
        assert engine.can_simulate(batch.energy_network, x0, seed) is taken
        expected = batch.rollout(3, x0, seed=seed, schedule=schedule).x[-1]
        assert_close(batch.snapshots(x0, [3], seed, schedule).x[-1], expected, "trajectory")


def test_without_the_plugin_all_is_simulated_in_torch(monkeypatch):
    batch = make_batch()
    monkeypatch.setattr(engine, "plugin_problem", lambda: "it was not built")
    x0, schedule = batch.initial_positions(7), batch.schedule(3)
    assert not engine.can_simulate(batch.energy_network, x0, 7)
    expected = batch.rollout(3, x0, seed=7, schedule=schedule).x[-1]
    assert batch.snapshots(x0, [3], 7, schedule).x[-1].equal(expected)


@pytest.mark.usefixtures("plugin")
def test_energies_and_gradients_are_those_of_the_network():
    batch = make_batch()
    x = batch.initial_positions(7)
    assert engine.can_compute(batch.energy_network, x)
    energies = engine.Energies(batch.energy_network, batch.coefficients, batch.mask)
    u, gradient = energies(x)
    expected, slope = energy_and_gradient(batch.energy, x)
    assert_close(u, expected, "rounding")
    assert_close(gradient, slope, "rounding_gradient")
    assert gradient[batch.mask == 0].eq(0).all()
    assert gradient.norm(dim=-1)[batch.mask > 0].min() > 0


@pytest.mark.usefixtures("plugin")
def test_minimisation_is_that_in_torch(monkeypatch):
    batch = make_batch()
    x0 = batch.initial_positions(7)
    x, u = batch.minimised(x0, [0, 3, 20])
    monkeypatch.setattr(engine, "plugin_problem", lambda: "it was not built")
    expected, energy = batch.minimised(x0, [0, 3, 20])
    assert_close(x, expected, "trajectory")
    assert_close(u, energy, "trajectory")
    assert (u[2] < u[1]).all()
    assert (u[1] < u[0]).all()

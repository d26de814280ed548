"""Minimisation over internal coordinates, on springs."""

import pytest
import torch

from openmm_nemo.dynamics.minimisation import LEARNING_RATE
from openmm_nemo.geometry import cartesian_to_internal
from openmm_nemo.geometry.padding import centred
from tests.tolerances import assert_close
from tests.unit.comparison.batches import springs


def test_adam_first_moves_by_its_rate_down_the_gradient_and_ends_in_the_minimum():
    batch = springs([8, 6], [3.0, 1.0])
    x, energy = batch.minimised(batch.initial_positions(), (0, 1, 120))
    assert not x.requires_grad
    assert_close(x[0], batch.initial_positions(), "rounding")
    mask = batch.mask[:, 1:]
    bonds = [torch.linalg.vector_norm(y[:, 1:] - y[:, :-1], dim=-1) for y in x]
    assert (bonds[0] - 4).abs()[mask > 0].min() > 0.001
    for b, n in enumerate((8, 6)):
        before, after = (cartesian_to_internal(x[k, b, :n]) for k in (0, 1))
        step = (after - before)[1:, 0]
        down = -torch.sign(bonds[0][b, : n - 1] - 4) * LEARNING_RATE
        torch.testing.assert_close(step, down, rtol=1e-3, atol=1e-4)
    assert ((bonds[2] - 4).abs() * mask).max() < 0.01
    assert energy[0].min() > 0.01 > energy[2].max()
    assert energy[1, 0] == pytest.approx(batch.energy(x[1])[0].item(), rel=1e-4)
    assert batch.energy_network.one.grad is None
    assert_close(x[2], centred(x[2], batch.mask), "rounding")

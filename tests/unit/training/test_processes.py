"""Means over processes that share an update, of which one other is played here."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from openmm_nemo.networks import BatchRenorm
from openmm_nemo.training.processes import mean_over_processes, running_statistics
from tests.helpers import normal


@pytest.fixture
def other(monkeypatch):
    """The tensors of the other of two processes."""
    there = [normal(3, 2, seed=1), normal(4, seed=2), normal(1, seed=3)[0]]

    def all_reduce(flat):
        assert flat.shape == (11,)
        flat += torch.cat([value.flatten() for value in there])

    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    return there


def test_means_are_put_in_the_place_of_the_values(other):
    here = [nn.Parameter(normal(3, 2, seed=4)), normal(4, seed=5), normal(1, seed=6)[0]]
    expected = [(a.detach() + b) / 2 for a, b in zip(here, other, strict=True)]
    mean_over_processes(iter(here))
    for value, mean in zip(here, expected, strict=True):
        assert torch.equal(value, mean)
    assert here[0].requires_grad


def test_a_process_that_is_alone_keeps_its_values():
    value = normal(3)
    mean_over_processes([value])
    assert torch.equal(value, normal(3))


def test_running_statistics_are_those_of_all_normalisations():
    """Themselves, not copies: the mean over processes is written into them."""
    first, second = BatchRenorm(2), BatchRenorm(3)
    network = nn.Sequential(first, nn.Linear(2, 3), nn.ModuleList([second]))
    found = running_statistics(network)
    expected = [
        first.running_mean,
        first.running_var,
        second.running_mean,
        second.running_var,
    ]
    assert list(map(id, found)) == list(map(id, expected))
    assert running_statistics(nn.Linear(2, 3)) == []

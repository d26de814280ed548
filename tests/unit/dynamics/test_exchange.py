"""Swaps of replica exchange: detailed balance by enumeration, acceptance in closed form, and counts by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import betainc

from openmm_nemo.dynamics.exchange import (
    attempted_pairs,
    count_swaps,
    exchange,
    log_acceptance,
    round_trips,
)
from openmm_nemo.dynamics.noise import exchange_numbers

KT = np.array([1.0, 1.3, 2.1])


def test_even_and_odd_pairs_take_turns():
    assert [list(attempted_pairs(5, k)) for k in (1, 2, 3)] == [[0, 2], [1, 3], [0, 2]]
    assert [list(attempted_pairs(4, k)) for k in (1, 2)] == [[0, 2], [1]]


def test_two_replicas_always_try():
    assert [list(attempted_pairs(2, k)) for k in (1, 2, 3)] == [[0], [0], [0]]


def probability(energies, attempt, pair):
    """With which a pair is swapped: the largest uniform number for which it is, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        uniform = np.full(len(energies) - 1, 1 - 1e-12)
        uniform[pair] = middle
        if exchange(energies, KT, uniform, attempt)[pair] == pair + 1:
            low = middle
        else:
            high = middle
    return high


@pytest.mark.parametrize("attempt", [1, 2])
def test_detailed_balance_of_all_states(attempt):
    """Three replicas of a system of four levels: weight times probability is the same there and back, for all pairs."""
    levels = np.array([0.0, 0.7, 0.9, 3.0])
    states = list(itertools.product(range(4), repeat=3))
    weight = {s: math.exp(-(levels[list(s)] / KT).sum()) for s in states}
    moves = {}
    for s in states:
        energies = levels[list(s)]
        for pair in range(2):
            chance = probability(energies, attempt, pair)
            other = list(s)
            other[pair], other[pair + 1] = s[pair + 1], s[pair]
            if pair in attempted_pairs(3, attempt):
                assert chance == pytest.approx(min(1, weight[tuple(other)] / weight[s]), rel=1e-9)
                moves[s, tuple(other)] = chance
            else:
                assert chance < 1e-12
    assert len(moves) == len(states)
    for (here, there), chance in moves.items():
        back = moves[there, here]
        assert weight[here] * chance == pytest.approx(weight[there] * back, rel=1e-9)


def test_a_swap_moves_both_configurations():
    always = np.full(3, 1e-300)
    energies, kt = np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0, 4.0])
    assert exchange(energies, kt, always, 1).tolist() == [1, 0, 3, 2]
    assert exchange(energies, kt, always, 2).tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("energies", [[np.nan, 1.0], [1.0, np.nan], [np.nan, np.nan]])
def test_a_replica_without_an_energy_is_not_swapped(energies):
    source = exchange(np.array(energies), KT[:2], np.array([1e-300]), 1)
    assert source.tolist() == [0, 1]


@pytest.mark.parametrize("freedom", [3, 30])
def test_acceptance_of_harmonic_energies(freedom):
    """The incomplete beta law (Predescu et al., 2004) for energies drawn exactly; a false alarm in 10,000 runs."""
    n, kt = 4000, np.array([1.0, 1.4])
    energies = np.random.default_rng(3).gamma(freedom / 2, size=(n, 2)) * kt
    uniform = exchange_numbers(8, torch.arange(n), 1).numpy()
    swapped = sum(exchange(*pair, 1)[0] for pair in zip(energies, [kt] * n, uniform, strict=True))
    law = 2 * betainc(freedom / 2, freedom / 2, kt[0] / kt.sum())
    assert stats.binomtest(swapped, n, law).pvalue > 1e-4


def test_scaled_energies_are_other_temperatures():
    """At one temperature, energies scaled by s_i are swapped as at temperatures divided by s_i."""
    scale, u, temperature = np.array([1.0, 0.8, 0.5]), np.array([-3.0, 1.0, 2.0]), 300.0
    before = (scale[:-1] * u[:-1] + scale[1:] * u[1:]) / temperature
    after = (scale[:-1] * u[1:] + scale[1:] * u[:-1]) / temperature
    np.testing.assert_allclose(log_acceptance(u, temperature / scale), before - after, rtol=1e-12)


# Walkers at three temperatures; walker 0 goes up and down, once; 1 is in the middle, then down; 2 as by hand below.
WALK = np.array(
    [
        [0, 1, 2],
        [1, 0, 2],  # pair 0
        [1, 2, 0],  # pair 1
        [1, 2, 0],  # neither
        [1, 0, 2],  # pair 1
        [0, 1, 2],  # pair 0
        [0, 2, 1],  # pair 1
        [2, 0, 1],  # pair 0
        [2, 1, 0],  # pair 1
    ]
)


def test_swaps_of_each_pair_are_counted():
    attempted, accepted = count_swaps(WALK)
    assert attempted.tolist() == [4, 4]
    assert accepted.tolist() == [3, 4]
    attempted, accepted = count_swaps(WALK[:1])
    assert (attempted.tolist(), accepted.tolist()) == ([0, 0], [0, 0])


def test_round_trips_are_counted():
    """Walker 0: up, down, up; 1: only up; 2 begins at the top, and has come down once, which is half a trip."""
    assert round_trips(WALK).tolist() == [1, 0, 0]


def test_a_round_trip_begins_at_the_lowest_temperature():
    down_up_down = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0]])
    assert round_trips(down_up_down).tolist() == [1, 2]

"""Counter-based noise: the published numbers, what each index means, and the statistics."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from openmm_nemo.dynamics import Noise, langevin_noise, philox
from openmm_nemo.dynamics.noise import (
    NOISE_BLOCK,
    acceptance_numbers,
    exchange_numbers,
    orientation_numbers,
    replica_seed,
    rigid_move_numbers,
    start_numbers,
)

ONES = 0xFFFFFFFF
# Known-answer vectors of the Random123 library for philox4x32-10: counter, key, words.
KNOWN_ANSWERS = {
    "zeros": ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    "ones": ([ONES] * 4, [ONES] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    "pi": (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
}


def reference_philox(counter, key):
    """Philox 4x32-10 on Python integers, from Salmon et al., 2011."""
    left, right = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * left[0], 0xCD9E8D57 * left[2]
        left = [
            (second >> 32) ^ left[1] ^ right[0],
            second & ONES,
            (first >> 32) ^ left[3] ^ right[1],
            first & ONES,
        ]
        right = [(right[0] + 0x9E3779B9) & ONES, (right[1] + 0xBB67AE85) & ONES]
    return left


def reference_noise(seed, chain, step, bead, stream):
    """Three normal numbers."""
    return normals(reference_philox([step & ONES, chain, bead, stream], [seed & ONES, seed >> 32]))


def normals(words):
    """Box-Muller on four words, the sine of the second pair left out."""
    u = [(word + 0.5) / 2**32 for word in words]
    first, second = (math.sqrt(-2 * math.log(u[k])) for k in (0, 2))
    return [
        first * math.cos(2 * math.pi * u[1]),
        first * math.sin(2 * math.pi * u[1]),
        second * math.cos(2 * math.pi * u[3]),
    ]


def words(values):
    return tuple(torch.tensor(value) for value in values)


@pytest.mark.parametrize("name", KNOWN_ANSWERS)
def test_philox_gives_the_published_numbers(name):
    counter, key, expected = KNOWN_ANSWERS[name]
    assert philox(words(counter), words(key)).tolist() == expected
    assert reference_philox(counter, key) == expected


def test_philox_equals_an_implementation_on_integers():
    random = np.random.default_rng(0).integers(0, 2**32, size=(200, 6))
    columns = torch.from_numpy(random).unbind(-1)
    expected = [reference_philox(row[:4], row[4:]) for row in random.tolist()]
    assert philox(columns[:4], columns[4:]).tolist() == expected


def test_philox_broadcasts():
    counter = (torch.arange(3)[:, None], torch.tensor(7), torch.arange(4), torch.tensor(0))
    out = philox(counter, words([1, 2]))
    assert out.shape == (3, 4, 4)
    assert out[2, 3].tolist() == reference_philox([2, 7, 3, 0], [1, 2])


def one_chain(seed=3, chain=0, first_step=0, n_steps=4, n_beads=5):
    return langevin_noise(torch.tensor([seed]), torch.tensor([chain]), first_step, n_steps, n_beads)


@pytest.mark.parametrize("seed", [0, 5, 2**32 - 1, 2**32, 2**40 + 17, 2**63 - 1])
@pytest.mark.parametrize("chain", [0, 3])
@pytest.mark.parametrize("first_step", [0, 1000, 2**32 - 1])
def test_every_index_is_a_word_of_the_counter_or_the_key(seed, chain, first_step):
    noise = one_chain(seed, chain, first_step, 2, 3)
    assert noise.shape == (2, 1, 3, 2, 3)
    assert noise.dtype == torch.float64
    for step in range(2):
        for bead in range(3):
            for stream in range(2):
                expected = reference_noise(seed, chain, first_step + step, bead, stream)
                assert noise[step, 0, bead, stream].tolist() == pytest.approx(expected, abs=1e-12)


def test_members_of_a_batch_equal_single_chains():
    seeds, chains = torch.tensor([4, 4, 2**40, 5]), torch.tensor([0, 1, 2, 0])
    noise = langevin_noise(seeds, chains, 10, 3, 6)
    for k in range(4):
        alone = langevin_noise(seeds[k : k + 1], chains[k : k + 1], 10, 3, 6)
        assert torch.equal(noise[:, k], alone[:, 0])


def test_blocks_of_steps_and_longer_chains_continue_the_same_numbers():
    whole = one_chain(first_step=7, n_steps=10, n_beads=9)
    parts = [one_chain(first_step=7, n_steps=3), one_chain(first_step=10, n_steps=7)]
    assert torch.equal(whole[:, :, :5], torch.cat(parts))


def drawn(noise: Noise, steps) -> torch.Tensor:
    return torch.stack([noise.at(step) for step in steps])


SEEDS, CHAINS = torch.tensor([4, 4, 2**40]), torch.tensor([0, 3, 1])


@pytest.mark.parametrize(
    "steps",
    [
        range(2 * NOISE_BLOCK + 3),
        range(NOISE_BLOCK - 1, NOISE_BLOCK + 2),
        range(300, 300 + NOISE_BLOCK + 1),
        [5, 5, 4, 90, 3, 89, 5],
        range(70, 0, -9),
        [2**32 - 2, 2**32 - 1],
    ],
    ids=["from 0", "over a border", "from the middle", "any order", "backwards", "last steps"],
)
def test_blocks_do_not_matter(steps):
    expected = torch.cat([langevin_noise(SEEDS, CHAINS, step, 1, 5) for step in steps])
    assert drawn(Noise(SEEDS, 5, CHAINS), steps).equal(expected)


def test_chains_are_number_0_unless_they_are_told():
    expected = langevin_noise(SEEDS, torch.zeros(3, dtype=torch.long), 2, 1, 5)[0]
    assert Noise(SEEDS, 5).at(2).equal(expected)
    assert not Noise(SEEDS, 5, CHAINS).at(2)[1].equal(expected[1])


def test_consecutive_seeds_are_those_of_single_chains():
    batch = Noise.consecutive(7, torch.zeros(4, 6, 3))
    for k in range(4):
        alone = Noise.consecutive(7 + k, torch.zeros(1, 6, 3))
        assert batch.at(3)[k].equal(alone.at(3)[0])
        assert batch.at(3)[k].equal(one_chain(7 + k, first_step=3, n_steps=1, n_beads=6)[0, 0])


def test_nothing_is_drawn_from_the_last_step_on(monkeypatch):
    """Each step is drawn once, in blocks."""
    asked = []

    def draw(seeds, chains, first_step, n_steps, n_beads):
        asked.append((first_step, n_steps))
        return langevin_noise(seeds, chains, first_step, n_steps, n_beads)

    monkeypatch.setattr("openmm_nemo.dynamics.noise.langevin_noise", draw)
    first, stop = 10, 10 + NOISE_BLOCK + 5
    found = drawn(Noise(SEEDS, 5, CHAINS, stop), range(first, stop))
    assert asked == [(first, NOISE_BLOCK), (first + NOISE_BLOCK, 5)]
    assert found.equal(langevin_noise(SEEDS, CHAINS, first, NOISE_BLOCK + 5, 5))
    asked.clear()
    drawn(Noise(SEEDS, 5, CHAINS), range(NOISE_BLOCK + 1))
    assert asked == [(0, NOISE_BLOCK), (NOISE_BLOCK, NOISE_BLOCK)]


def test_numbers_are_normal():
    # Every one of the six components alone, 50000 numbers: with other seeds this fails once in 150 times.
    noise = one_chain(seed=11, n_steps=500, n_beads=100).flatten(0, 2).flatten(1).numpy()
    n = len(noise)
    assert n == 50000
    for column in noise.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3
        assert abs(column.mean()) < 4 / math.sqrt(n)
        assert abs(column.var() - 1) < 4 * math.sqrt(2 / n)
        assert abs(stats.kurtosis(column)) < 4 * math.sqrt(24 / n)
        assert np.abs(column).max() < 6.7


def test_no_number_repeats():
    noise = langevin_noise(torch.arange(10), torch.zeros(10, dtype=torch.long), 0, 20, 20)
    assert noise.unique().numel() == noise.numel()


SERIES = {
    "streams and components": lambda noise: noise.flatten(0, 2).flatten(1),
    "steps": lambda noise: noise.movedim(0, -1).flatten(0, -2),
    "chains": lambda noise: noise.movedim(1, -1).flatten(0, -2),
    "beads": lambda noise: noise.movedim(2, -1).flatten(0, -2),
}


@pytest.mark.parametrize("name", SERIES)
def test_numbers_are_not_correlated(name):
    # Neither are their squares, which share the radius of Box-Muller. Up to 120 pairs at 4.5 standard deviations: with
    # other seeds this fails once in 600 times.
    seeds = torch.arange(16) // 4 + 100  # seeds and chains that differ by one
    noise = langevin_noise(seeds, torch.arange(16) % 4, 0, 16, 16)
    series = SERIES[name](noise)
    for values in (series, series**2):
        correlation = torch.corrcoef(values.T).fill_diagonal_(0)
        assert correlation.abs().max() < 4.5 / math.sqrt(len(values))


def test_acceptance_numbers_are_those_of_their_seed_and_step():
    seeds = torch.tensor([3, 2**31 - 1])
    numbers = acceptance_numbers(seeds, 2**32 - 2, 4)
    assert numbers.shape == (4, 2, 2)
    for t in range(4):
        for system, seed in enumerate(seeds.tolist()):
            words = reference_philox([(2**32 - 2 + t) % 2**32, 0, 0, 2], [seed, 0])
            expected = [(word + 0.5) / 2**32 for word in words[:2]]
            assert numbers[t, system].tolist() == expected


def test_acceptance_numbers_are_uniform_and_independent():
    numbers = acceptance_numbers(torch.arange(100), 0, 200).flatten(0, 1)
    for column in numbers.T.numpy():
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    assert abs(torch.corrcoef(numbers.T)[0, 1]) < 4.5 / math.sqrt(len(numbers))


def test_a_replica_is_the_second_word_of_the_key():
    assert replica_seed(7, 0) == 7
    seeds = replica_seed(2**31 - 1, torch.arange(4))
    numbers = acceptance_numbers(seeds, 5, 1)[0]
    for replica, found in enumerate(numbers.tolist()):
        assert replica_seed(2**31 - 1, replica) == seeds[replica]
        expected = reference_philox([5, 0, 0, 2], [2**31 - 1, replica])[:2]
        assert found == [(word + 0.5) / 2**32 for word in expected]


def test_numbers_of_exchanges_are_of_a_stream_of_their_own():
    seed, steps = 2**31 - 1, [7, 2**32 + 5]
    found = exchange_numbers(seed, torch.tensor(steps), 3).tolist()
    for step, row in zip(steps, found, strict=True):
        for pair, number in enumerate(row):
            words = reference_philox([step & ONES, 0, pair, 4], [seed, 0])
            assert number == (words[0] + 0.5) / 2**32
    assert exchange_numbers(seed, torch.tensor(steps[1:]), 2).tolist() == [found[1][:2]]


def test_chains_of_a_system_start_from_numbers_of_their_own():
    seed = 5 + (3 << 32)
    for chain in (0, 2):
        found = start_numbers(torch.tensor([seed, 7]), 4, chain)
        for bead in range(4):
            word = reference_philox([0, chain, bead, 3], [5, 3])[0]
            assert found[0, bead] == (word + 0.5) / 2**32
        others = reference_philox([0, chain, 0, 3], [5, 3])[1:]
        expected = [(word + 0.5) / 2**32 for word in others]
        assert orientation_numbers(seed, chain).tolist() == expected


@pytest.mark.parametrize("seed", [3, 2**32 + 5])
def test_numbers_of_rigid_moves_are_those_of_their_index(seed):
    numbers = rigid_move_numbers(seed, 2**32 - 1, 3)
    for k in range(3):
        move = (2**32 - 1 + k) & ONES
        words = [
            reference_philox([move, part, 0, 5], [seed & ONES, seed >> 32]) for part in range(3)
        ]
        u = [(word + 0.5) / 2**32 for word in words[0]]
        assert [float(values[k]) for values in numbers[:4]] == u
        assert numbers.translation[k].tolist() == pytest.approx(normals(words[1]), abs=1e-12)
        assert numbers.rotation[k].tolist() == pytest.approx(normals(words[2]), abs=1e-12)

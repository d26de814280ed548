"""TM-score, against a search of its own."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from openmm_nemo.evaluation import tm_score
from openmm_nemo.evaluation.metrics import tm_distance
from tests.helpers import DTYPES, normal, random_chain, random_rotation


def negative_score(motion, mobile, target, d0):
    """Minus the score after a rotation (exponential map) and a shift, and its gradient."""
    w, shift = motion[:3], motion[3:]
    moved = Rotation.from_rotvec(w).apply(mobile)
    apart = moved + shift - target
    close = 1 / (1 + (apart**2).sum(1) / d0**2)
    slope = 2 * close[:, None] ** 2 * apart / d0**2 / len(mobile)
    angle = np.linalg.norm(w) + 1e-9
    k = np.array([[0, -w[2], w[1]], [w[2], 0, -w[0]], [-w[1], w[0], 0]])
    left = (
        np.eye(3) + (1 - np.cos(angle)) / angle**2 * k + (angle - np.sin(angle)) / angle**3 * k @ k
    )
    turn = left.T @ np.cross(moved, slope).sum(0)
    return -close.mean(), np.concatenate([turn, slope.sum(0)])


def searched_score(mobile, target, n_starts):
    """Best score of gradient ascents from random rotations that put a residue on its partner."""
    random = np.random.default_rng(0)
    mobile, target = (x - x.mean(0) for x in (mobile.numpy(), target.numpy()))
    best = 0
    for _ in range(n_starts):
        turned = Rotation.random(random_state=random).apply(mobile)
        i = random.integers(len(mobile))
        start = np.concatenate([np.zeros(3), target[i] - turned[i]])
        arguments = (turned, target, tm_distance(len(mobile)))
        found = minimize(negative_score, start, args=arguments, jac=True, method="L-BFGS-B")
        best = max(best, -found.fun)
    return best


def unrelated(length):
    return random_chain(length), random_chain(length, seed=500)


def noisy(length):
    x = random_chain(length)
    return x @ random_rotation().T, x + 2 * normal(length, 3)


def hinge(length):
    """One half turned about the middle bead."""
    x, middle = random_chain(length), length // 2
    bent = x.clone()
    bent[middle:] = (x[middle:] - x[middle]) @ random_rotation().T + x[middle]
    return bent, x


def common_core(length):
    """Alike, to 1 Angstrom, in the middle third only."""
    x, third = random_chain(length), length // 3
    other = x + normal(length, 3)
    other[:third] = random_chain(third, seed=50)
    other[2 * third :] = random_chain(length - 2 * third, seed=60)
    return other, x


@pytest.mark.parametrize(
    ("length", "d0"), [(100, 3.652), (200, 5.265), (300, 6.360), (22, 0.572), (21, 0.5), (4, 0.5)]
)
def test_distance_scale_is_the_published_one(length, d0):
    assert tm_distance(length) == pytest.approx(d0, abs=1e-3)


@DTYPES
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 50, 200])
def test_identical_chains_score_one(length, dtype):
    x = random_chain(length).to(dtype)
    assert tm_score(x, x) == pytest.approx(1, abs=1e-6)


@DTYPES
def test_rigid_motion_changes_nothing(dtype):
    mobile, target = common_core(40)
    moved = (mobile @ random_rotation(3).T + 10 * normal(3)).to(dtype)
    score = tm_score(mobile, target)
    assert tm_score(moved, target.to(dtype)) == pytest.approx(score, abs=1e-4)
    assert tm_score(target, mobile) == pytest.approx(score, abs=1e-4)


def test_mirror_images_are_not_identical():
    x = random_chain(60)
    assert tm_score(x * torch.tensor([1.0, 1, -1]), x) < 0.5


def test_score_of_two_superposed_halves():
    # Half of the chain fits exactly; the other half is 1000 Angstrom away from where it should be.
    x = random_chain(60)
    apart = x.clone()
    apart[30:] += 1000
    assert tm_score(apart, x) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("length", [25, 60, 100])
@pytest.mark.parametrize("make", [unrelated, noisy, hinge, common_core])
def test_score_is_the_largest_over_superpositions(make, length):
    # It is reached by some superposition, so it can only miss the largest from below.
    mobile, target = make(length)
    score = tm_score(mobile, target)
    searched = searched_score(mobile, target, n_starts=40)
    assert score > searched - 0.01
    assert score < searched + 0.02


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(0, 100, 10))
def test_score_of_unrelated_chains_is_the_largest_over_superpositions(seed):
    mobile, target = random_chain(50, seed=seed), random_chain(50, seed=seed + 500)
    assert tm_score(mobile, target) > searched_score(mobile, target, n_starts=400) - 0.01

"""Measures, against published programs, hand-computed values and searches of their own."""

from itertools import combinations

import mdtraj
import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from openmm_nemo.evaluation import (
    contact_precision,
    gdt_ts,
    lddt_ca,
    radius_of_gyration,
    tm_score,
)
from openmm_nemo.geometry.similarity import overlap_share, tm_distance
from tests.helpers import DTYPES, generator, normal, random_chain, random_rotation
from tests.unit.geometry.pairs import (
    NAMES,
    PUBLISHED,
    common_core,
    hinge,
    noisy,
    published,
    trp_cage,
    unrelated,
)

EACH_PUBLISHED = pytest.mark.parametrize("case", PUBLISHED, ids=NAMES)


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
        arguments = (turned, target, float(tm_distance(torch.tensor(len(mobile)))))
        found = minimize(negative_score, start, args=arguments, jac=True, method="L-BFGS-B")
        best = max(best, -found.fun)
    return best


@pytest.mark.parametrize(
    ("length", "d0"), [(100, 3.652), (200, 5.265), (300, 6.360), (22, 0.572), (21, 0.5), (4, 0.5)]
)
def test_distance_scale_is_the_published_one(length, d0):
    assert float(tm_distance(torch.tensor(length))) == pytest.approx(d0, abs=1e-3)


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


@EACH_PUBLISHED
def test_score_is_at_least_that_of_the_published_program(case):
    mobile, target, scores = published(case)
    # Below 21 residues, where D0 is 0.5 Angstrom, the searches differ most.
    assert (
        scores.tm - 1e-4
        < tm_score(mobile, target)
        < scores.tm + (0.01 if len(mobile) > 20 else 0.02)
    )


# GDT-TS


@EACH_PUBLISHED
def test_gdt_ts_is_at_least_that_of_the_published_program(case):
    mobile, target, scores = published(case)
    assert scores.gdt_ts - 1e-4 < gdt_ts(mobile, target) < scores.gdt_ts + 0.026


def searched_gdt_ts(mobile, target):
    """Best score after the superposition of any three or more residues."""
    mobile, target = mobile.numpy(), target.numpy()
    cutoffs = np.array([1, 2, 4, 8])
    best = np.zeros(4)
    for size in range(3, len(mobile) + 1):
        for some in map(list, combinations(range(len(mobile)), size)):
            here, there = mobile[some].mean(0), target[some].mean(0)
            rotation, _ = Rotation.align_vectors(target[some] - there, mobile[some] - here)
            moved = rotation.apply(mobile - here) + there
            distance = np.linalg.norm(moved - target, axis=1)
            best = np.maximum(best, (distance <= cutoffs[:, None]).mean(1))
    return best.mean()


@pytest.mark.parametrize("make", [unrelated, noisy, hinge, common_core])
def test_gdt_ts_is_the_largest_over_superpositions(make):
    mobile, target = make(8)
    # They may differ by a residue at a cutoff.
    assert gdt_ts(mobile, target) == pytest.approx(
        searched_gdt_ts(mobile, target), abs=1 / 32 + 1e-6
    )


@DTYPES
def test_gdt_ts_of_a_grid_with_raised_points(dtype):
    # Half of the points fit, a quarter is 2.5 Angstrom higher and a quarter 100. A shift by 1.25 brings three quarters
    # within 2 Angstrom; nothing brings more than half within 1. The grid is too wide to turn.
    raised = torch.tensor([0] * 32 + [2.5] * 16 + [100] * 16)
    raised = raised[torch.randperm(64, generator=generator(0))]
    steps = 50.0 * torch.arange(8)
    flat = torch.cartesian_prod(steps, steps, torch.zeros(1))
    lifted = flat + raised[:, None] * torch.tensor([0.0, 0, 1])
    score = gdt_ts(lifted.to(dtype) @ random_rotation().to(dtype).T + 7, flat.to(dtype))
    assert score == pytest.approx((0.5 + 3 * 0.75) / 4)


@DTYPES
@pytest.mark.parametrize("length", [1, 2, 3, 4, 50])
def test_gdt_ts_of_identical_chains_is_one(length, dtype):
    x = random_chain(length).to(dtype)
    assert gdt_ts(x, x) == 1


# lDDT


@EACH_PUBLISHED
def test_lddt_is_that_of_the_published_package(case):
    mobile, target, scores = published(case)
    assert lddt_ca(mobile, target).score == pytest.approx(scores.lddt, abs=1e-5)


def test_lddt_per_residue_is_that_of_the_published_package():
    mobile, target, _ = published((trp_cage, 1, 3))
    found = lddt_ca(mobile, target).per_residue
    expected = [0.5000, 0.9412, 0.9737, 0.9306, 0.9211, 0.9474]  # Biotite 1.6.0
    np.testing.assert_allclose(found[:6], expected, atol=1e-4)


def test_lddt_of_four_points():
    native = torch.tensor([[0.0, 0, 0], [4, 0, 0], [8, 0, 0], [30, 0, 0]], dtype=torch.float64)
    model = torch.tensor([[0.0, 0, 0], [4.75, 0, 0], [8, 0, 0], [0, 0, 9]], dtype=torch.float64)
    # Of the three distances that count, two changed by 0.75, which is more than one threshold of four.
    found = lddt_ca(model, native)
    assert found.score == pytest.approx((0.75 + 0.75 + 1) / 3)
    np.testing.assert_allclose(found.per_residue, [0.875, 0.75, 0.875, np.nan])


def test_lddt_knows_no_mirror_images_and_needs_no_superposition():
    x = random_chain(40).float()
    moved = x * torch.tensor([1.0, 1, -1]) @ random_rotation().float().T + 20
    assert lddt_ca(moved, x).score == 1


# Contacts and size


def ring(radius):
    """Eight points around a circle; neighbours and those across are 2 radius sin(k pi / 8) apart."""
    angle = torch.arange(8, dtype=torch.float64) * torch.pi / 4
    return radius * torch.stack([angle.cos(), angle.sin(), torch.zeros(8)], dim=-1)


def test_contacts_are_six_apart_in_the_sequence_and_eight_angstrom_in_space():
    # On a circle of radius 9, points 6 and 7 apart in the sequence are 12.7 and 6.9 apart in space; on one of radius 5,
    # 7.1 and 3.8; on one of radius 20, more than 8. Pairs at least 6 apart are 0-6, 1-7 and 0-7.
    wide, middle, narrow = ring(20), ring(9), ring(5)
    assert contact_precision(narrow, middle) == pytest.approx(1 / 3)
    assert contact_precision(middle, narrow) == 1
    assert contact_precision(narrow, wide) == 0
    assert np.isnan(contact_precision(wide, narrow))


def test_contacts_are_those_of_mdtraj():
    x = [8 * random_chain(60, seed=seed) / 10 for seed in (0, 50)]
    pairs = np.array([(i, j) for i in range(60) for j in range(i + 6, 60)])
    close = [
        mdtraj.compute_distances(mdtraj.Trajectory(y.numpy() / 10, topology(60)), pairs)[0] < 0.8
        for y in x
    ]
    assert contact_precision(*x) == pytest.approx((close[0] & close[1]).sum() / close[0].sum())


def topology(length):
    found = mdtraj.Topology()
    chain = found.add_chain()
    for _ in range(length):
        found.add_atom("CA", mdtraj.element.carbon, found.add_residue("ALA", chain))
    return found


def test_overlaps_are_three_apart_in_the_sequence_and_closer_than_3_5_angstrom():
    # A square that ends above its start: 0-3, 0-4 and 1-4 are 3.4, 1 and 3.54 Angstrom apart. In the folded chain,
    # residues coincide with the next but one.
    square = torch.tensor([[0.0, 0, 0], [3.4, 0, 0], [3.4, 3.4, 0], [0, 3.4, 0], [0, 0, 1]])
    folded = torch.tensor([[0.0, 0, 0], [3.8, 0, 0], [0, 0, 0], [3.8, 0, 0], [9, 0, 0]])
    assert overlap_share(square) == pytest.approx(2 / 3)
    assert overlap_share(folded) == 0
    assert np.isnan(overlap_share(square[:3]))


def test_radius_of_gyration_is_that_of_mdtraj():
    x = random_chain(3, 40)
    expected = 10 * mdtraj.compute_rg(mdtraj.Trajectory(x.numpy() / 10, topology(40)))
    np.testing.assert_allclose(radius_of_gyration(x), expected, rtol=1e-6)

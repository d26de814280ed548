"""Superposition, against SciPy and MDTraj."""

import mdtraj
import pytest
import torch
from scipy.spatial.transform import Rotation

from openmm_nemo.geometry import rmsd, rotate, superpose
from tests.helpers import DTYPES, degenerate_chains, normal, random_chain, random_rotation, uniform
from tests.tolerances import assert_close

CHAINS = degenerate_chains()


def superposed_by_scipy(mobile, target, weight=None):
    weight = torch.ones(len(mobile), dtype=mobile.dtype) if weight is None else weight
    share = (weight / weight.sum()).unsqueeze(-1)
    here, there = (share * mobile).sum(0), (share * target).sum(0)
    rotation, _ = Rotation.align_vectors(target - there, mobile - here, weights=weight)
    return torch.from_numpy(rotation.apply(mobile - here)) + there


@pytest.mark.parametrize("length", [4, 5, 40])
@pytest.mark.parametrize("weighted", [False, True])
def test_superposition_is_that_of_scipy(length, weighted):
    mobile, target = random_chain(length), random_chain(length, seed=50)
    weight = uniform(0, 1, length) if weighted else None
    expected = superposed_by_scipy(mobile, target, weight)
    assert_close(superpose(mobile, target, weight), expected, "round_trip")


def test_points_of_weight_zero_do_not_count_but_move_along():
    target, q = random_chain(9), random_rotation()
    mobile = target @ q.T + normal(3)
    mobile[6:] += normal(3, 3)
    weight = torch.tensor([1.0] * 6 + [0] * 3, dtype=torch.float64)
    moved = superpose(mobile, target, weight)
    assert_close(moved[:6], target[:6], "round_trip")
    apart = [(y[6:] - y[0]).norm(dim=-1) for y in (moved, mobile)]
    assert_close(*apart, "round_trip")


@DTYPES
def test_rigid_motion_is_undone(dtype):
    target = random_chain(2, 30).to(dtype)
    mobile = (target.double() @ random_rotation().T + 10 * normal(3)).to(dtype)
    assert_close(superpose(mobile, target), target, "round_trip")
    assert_close(rmsd(mobile, target) + 1, torch.ones(2, dtype=dtype), "round_trip")


@pytest.mark.parametrize("length", [4, 30])
def test_reflections_are_not_allowed(length):
    target = random_chain(length)
    mirrored = target * torch.tensor([1.0, 1, -1])
    moved = superpose(mirrored, target)
    hand = [torch.linalg.det(y[1:4] - y[0]) for y in (moved, mirrored)]
    assert_close(*hand, "round_trip")
    expected = superposed_by_scipy(mirrored, target)
    assert_close(moved, expected, "round_trip")
    assert rmsd(mirrored, target) > 0.1


def test_points_in_a_plane_are_superposed():
    target = normal(8, 3) * torch.tensor([1.0, 1, 0])
    mobile = rotate(target, normal(3))
    assert_close(superpose(mobile, target), target, "round_trip")


def test_rmsd_is_that_of_mdtraj():
    x = random_chain(4, 25)
    trajectory = mdtraj.Trajectory(x.numpy() / 10, None)
    # MDTraj works in float32, in nm.
    expected = 10 * torch.from_numpy(mdtraj.rmsd(trajectory, trajectory, 0)[1:])
    assert_close(rmsd(x[1:], x[0].expand(3, -1, -1)).float(), expected, "round_trip")


def test_rmsd_of_a_known_pair():
    # A square whose corners are moved up and down in turn: by symmetry it is best left where it is.
    target = torch.tensor([[1, 1, 0], [-1, 1, 0], [-1, -1, 0], [1, -1, 0]], dtype=torch.float64)
    up = torch.tensor([1, -1, 1, -1], dtype=torch.float64)
    bent = target + 0.3 * up.unsqueeze(-1) * torch.tensor([0.0, 0, 1])
    assert rmsd(bent, target).item() == pytest.approx(0.3)


def test_no_rotation_is_better():
    mobile, target = random_chain(20), random_chain(20, seed=50)
    moved = superpose(mobile, target)
    best = (moved - target).square().sum()
    middle = moved.mean(0)
    for seed in range(20):
        turned = rotate(moved - middle, 0.1 * normal(3, seed=seed)) + middle
        assert (turned - target).square().sum() > best
        assert (moved + 0.1 * normal(3, seed=seed) - target).square().sum() > best


@pytest.mark.parametrize("name", CHAINS)
@DTYPES
def test_degenerate_chains_fit_themselves(name, dtype):
    x = CHAINS[name].to(dtype)
    moved = superpose((x.double() @ random_rotation().T + 1).to(dtype), x)
    assert_close(moved, x, "round_trip")

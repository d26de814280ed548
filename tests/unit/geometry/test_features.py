"""Invariant features: what they are, what leaves them alone and what does not."""

import math

import pytest
import torch

from openmm_nemo.geometry import (
    N_CHAIN_FEATURES,
    bond_angles,
    cartesian_to_internal,
    chain_features,
    internal_to_cartesian,
    pair_geometry,
    radial_basis,
)
from tests.helpers import DTYPES, normal, random_chain, random_rotation
from tests.tolerances import assert_close


def all_features(x):
    distance, direction = pair_geometry(x)
    return chain_features(x), distance, direction


def test_chain_features_are_functions_of_the_internal_coordinates():
    x = random_chain(8)
    b, a, d = bond_angles(x)
    expected = torch.zeros(8, N_CHAIN_FEATURES, dtype=torch.float64)
    expected[1:, 0] = b - 3.8
    expected[2:, 1] = a.cos()
    expected[3:, 2] = d.cos() * a[:-1].sin() * a[1:].sin()
    expected[3:, 3] = d.sin() * a[:-1].sin() * a[1:].sin()
    assert_close(chain_features(x), expected, "rounding")


def test_pair_geometry_follows_its_definition():
    x = random_chain(6)
    distance, direction = pair_geometry(x)
    for i in range(6):
        for j in range(6):
            to = x[j] - x[i]
            if i == j:
                assert distance[i, i].item() == pytest.approx(1e-6)
                assert (direction[i, i] == 0).all()
                continue
            assert_close(distance[i, j], to.norm(), "rounding")
            if i in (0, 5):
                assert (direction[i, j] == 0).all()
                continue
            before = (x[i] - x[i - 1]) / (x[i] - x[i - 1]).norm()
            after = (x[i + 1] - x[i]) / (x[i + 1] - x[i]).norm()
            first = (before - after) / (before - after).norm()
            n = torch.linalg.cross(before, after)
            n = n / n.norm()
            frame = torch.stack([first, n, torch.linalg.cross(first, n)])
            assert_close(direction[i, j], frame @ to / to.norm(), "rounding")


def test_directions_are_unit_vectors_of_right_handed_frames():
    x = random_chain(7)
    _, direction = pair_geometry(x)
    inner = direction[1:-1]
    own = torch.eye(7, dtype=torch.bool)[1:-1]
    ones = torch.ones(int((~own).sum()), dtype=torch.float64)
    assert_close(inner[~own].norm(dim=-1), ones, "rounding")
    # Triple products of directions are those of the vectors themselves: the frames are rotations.
    to = torch.nn.functional.normalize(x[[0, 4, 6]] - x[2], dim=-1)
    assert_close(torch.linalg.det(inner[1, [0, 4, 6]]), torch.linalg.det(to), "rounding")


def test_radial_basis_is_gaussian():
    distance = torch.tensor([[0.0, 4, 10]])
    values = radial_basis(distance, torch.tensor([4.0, 8]), torch.tensor([2.0, 4]))
    expected = [[[math.exp(-4), math.exp(-4)], [1, math.exp(-1)], [math.exp(-9), math.exp(-0.25)]]]
    assert_close(values, torch.tensor(expected), "rounding")


@DTYPES
def test_rigid_motions_change_nothing(dtype):
    x, q, shift = random_chain(2, 30), random_rotation(), 20 * normal(3)
    moved = all_features((x @ q.T + shift).to(dtype))
    for actual, expected in zip(moved, all_features(x.to(dtype)), strict=True):
        assert_close(actual, expected, "rigid_motion")


def test_mirror_images_differ():
    x = random_chain(30)
    here, mirrored = all_features(x), all_features(x * torch.tensor([1.0, 1, -1]))
    # The bond lengths, angles, cosines and distances are the same; the sine and the normal change sign.
    sign = torch.tensor([1, 1, 1, -1], dtype=torch.float64)
    assert_close(mirrored[0], here[0] * sign, "rounding")
    assert_close(mirrored[1], here[1], "rounding")
    assert_close(mirrored[2], here[2] * torch.tensor([1.0, -1, 1]), "rounding")
    assert (mirrored[0] - here[0]).abs().max() > 0.1
    assert (mirrored[2] - here[2]).abs().max() > 0.1


@pytest.mark.parametrize("row", [3, 5])
def test_features_are_smooth_where_a_dihedral_passes_pi(row):
    z = cartesian_to_internal(random_chain(8))

    def at(d):
        turned = z.clone()
        turned[row, 2] = d
        return torch.cat([f.flatten() for f in all_features(internal_to_cartesian(turned))])

    # First and second differences across the seam are as small as the step and its square.
    h = 1e-4
    below, seam, above = at(math.pi - h), at(math.pi), at(-math.pi + h)
    assert (above - below).abs().max() < 100 * h
    assert (above - 2 * seam + below).abs().max() < 100 * h**2


def test_chain_features_are_smooth_where_an_angle_is_straight():
    bends = torch.linspace(-1e-3, 1e-3, 5, dtype=torch.float64)
    x = []
    for bend in bends:
        last = torch.stack([2 + bend.cos(), bend.sin(), torch.zeros_like(bend)])
        x.append(torch.cat([torch.tensor([[0, 1, 1], [1, 0, 0], [2, 0, 0]]).double(), last[None]]))
    f = chain_features(torch.stack(x))
    second = f[2:] - 2 * f[1:-1] + f[:-2]
    assert second.abs().max() < 2 * (bends[1] - bends[0]) ** 2

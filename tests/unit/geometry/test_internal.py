"""Internal coordinates: their definitions, and the way there and back."""

import math

import mdtraj
import numpy as np
import pytest
import torch

from openmm_nemo.geometry import (
    bond_angles,
    bond_directions,
    cartesian_to_internal,
    internal_to_cartesian,
    rigid_frame,
)
from openmm_nemo.geometry.internal import cumulative_rotation
from tests.helpers import normal, random_chain, random_rotation, uniform
from tests.tolerances import TOLERANCES, assert_close

LENGTHS = pytest.mark.parametrize("length", [4, 5, 50, 200])


def random_internal(length: int) -> torch.Tensor:
    """Unconstrained coordinates (length, 3) of a chain like a protein's; the rigid-body entries are zero."""
    b = uniform(3.4, 4.2, length, seed=1)
    a = uniform(1.2, 2.8, length, seed=2)
    d = uniform(-3.1, 3.1, length, seed=3)
    z = torch.stack([torch.log(torch.exp(b) - 1), torch.log(a / (math.pi - a)), d], dim=-1)
    z[0] = 0
    z[1, 1:] = 0
    z[2, 2] = 0
    return z


def place_one_by_one(b, a, d) -> np.ndarray:
    """Build a chain bond by bond, each in the plane of the last two, turned about the last by the dihedral."""
    u, n = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    x = [np.zeros(3), b[0] * u]
    for length, angle, dihedral in zip(b[1:], a, [0, *d], strict=True):
        cis, up = np.cross(n, u), n
        side = math.cos(dihedral) * cis + math.sin(dihedral) * up
        after = -math.cos(angle) * u + math.sin(angle) * side
        n = np.cross(u, after) / np.linalg.norm(np.cross(u, after))
        u = after
        x.append(x[-1] + length * u)
    return np.array(x)


def by_definition(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bond lengths, angles and dihedrals of one chain, as section 2 of the design defines them: with arccos."""
    t = np.diff(x, axis=0)
    b = np.linalg.norm(t, axis=1)
    u = t / b[:, None]
    n = np.cross(u[:-1], u[1:])
    n /= np.linalg.norm(n, axis=1)[:, None]
    a = np.arccos(-(u[1:] * u[:-1]).sum(1))
    side = np.sign((u[:-2] * n[1:]).sum(1))
    return b, a, side * np.arccos((n[:-1] * n[1:]).sum(1))


def test_bonds_point_from_each_bead_to_the_next():
    u, b = bond_directions(torch.tensor([[1.0, 2, 3], [1, 2, 5], [1, -1, 1]]))
    assert b.tolist() == [2, 5]
    assert_close(u, torch.tensor([[0, 0, 1], [0, -0.6, -0.8]]), "rounding")


def test_values_follow_the_definition():
    x = random_chain(3, 40)
    b, a, d = bond_angles(x)
    for k in range(3):
        expected = [torch.from_numpy(v) for v in by_definition(x[k].numpy())]
        # The arccos of the definition loses half of the digits near a dihedral of 0 or pi.
        for actual, value in zip((b[k], a[k], d[k]), expected, strict=True):
            assert_close(actual, value, "arccos")


@pytest.mark.parametrize("degrees", [-179, -90, -60, 0, 1, 60, 90, 135, 180])
def test_dihedral_turns_the_last_bond_clockwise_seen_along_the_middle_one(degrees):
    phi = math.radians(degrees)
    x = torch.tensor(
        [[1, 0, 0], [0, 0, 0], [0, 0, 1], [math.cos(phi), math.sin(phi), 1]], dtype=torch.float64
    )
    b, a, d = bond_angles(x)
    assert b.tolist() == pytest.approx([1, 1, 1])
    assert a.tolist() == pytest.approx([math.pi / 2] * 2)
    assert d.item() == pytest.approx(phi)


def test_angles_and_dihedrals_are_those_of_mdtraj():
    x = random_chain(30)
    trajectory = mdtraj.Trajectory(x.numpy()[None] / 10, None)
    index = np.arange(30)
    triples = np.stack([index[:-2], index[1:-1], index[2:]], axis=1)
    quartets = np.stack([index[k : k + 27] for k in range(4)], axis=1)
    a = torch.from_numpy(mdtraj.compute_angles(trajectory, triples)[0])
    d = torch.from_numpy(mdtraj.compute_dihedrals(trajectory, quartets)[0])
    _, actual_a, actual_d = bond_angles(x.float())
    assert_close(actual_a, a, "mdtraj")
    apart = torch.remainder(actual_d - d + math.pi, 2 * math.pi) - math.pi
    assert_close(d + apart, d, "mdtraj")


def test_angles_are_precise_near_straight():
    bend = torch.tensor([1e-5, 1e-4, 1e-3], dtype=torch.float64)
    middle = torch.stack([torch.zeros(3), torch.zeros(3), torch.zeros(3)], dim=-1).double()
    before = middle + torch.tensor([-1.0, 0, 0])
    after = torch.stack([bend.cos(), bend.sin(), torch.zeros_like(bend)], dim=-1)
    _, a, _ = bond_angles(torch.stack([before, middle, after], dim=-2))
    assert_close(math.pi - a.squeeze(-1), bend, "rounding")


def test_straight_and_folded_chains_have_angles_inside_the_range_and_no_dihedral():
    line = torch.arange(5.0)[:, None] * torch.tensor([3.8, 0, 0])
    for x, limit in ((line, math.pi), (line[[0, 1, 0, 1, 0]], 0)):
        _, a, d = bond_angles(x)
        assert ((a > 0) & (a < math.pi)).all()
        assert a.tolist() == pytest.approx([limit] * 3, abs=2e-6)
        assert d.tolist() == [0, 0]


def test_dihedral_next_to_an_angle_that_is_straight_to_rounding_is_zero():
    x = torch.arange(5.0).double()[:, None] * torch.tensor([3.8, 0, 0]) + 1e-7 * normal(5, 3)
    _, _, d = bond_angles(x)
    assert d.tolist() == [0, 0]


def test_unconstrained_coordinates_follow_their_formulas():
    x = random_chain(12)
    z = cartesian_to_internal(x)
    b, a, d = bond_angles(x)
    assert_close(torch.log(1 + torch.exp(z[1:, 0])), b, "rounding")
    assert_close(math.pi / (1 + torch.exp(-z[2:, 1])), a, "rounding")
    assert torch.equal(z[3:, 2], d)


def test_rigid_body_entries_are_zero_and_are_not_read():
    z = cartesian_to_internal(random_chain(6))
    rigid = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]).bool()
    assert (z[rigid] == 0).all()
    assert torch.equal(internal_to_cartesian(z.masked_fill(rigid, 7.5)), internal_to_cartesian(z))


@LENGTHS
def test_chain_is_placed_as_by_hand(length):
    z = random_internal(length)
    b = torch.log(1 + torch.exp(z[1:, 0]))
    a = math.pi / (1 + torch.exp(-z[2:, 1]))
    expected = place_one_by_one(b.tolist(), a.tolist(), z[3:, 2].tolist())
    assert_close(internal_to_cartesian(z), torch.from_numpy(expected), "round_trip")


@LENGTHS
def test_positions_come_back(length):
    x = random_chain(3, length)
    z = cartesian_to_internal(x)
    assert_close(internal_to_cartesian(z, *rigid_frame(x)), x, "round_trip")


@LENGTHS
def test_internal_coordinates_come_back(length):
    z = random_internal(length)
    assert_close(cartesian_to_internal(internal_to_cartesian(z)), z, "round_trip")


def test_long_chains_stay_accurate_in_float32():
    z = torch.stack(
        [random_internal(200).float(), cartesian_to_internal(random_chain(200)).float()]
    )
    exact = internal_to_cartesian(z.double())
    extent = (exact[:, :, None] - exact[:, None, :]).norm(dim=-1).amax()
    error = (internal_to_cartesian(z).double() - exact).norm(dim=-1).amax()
    assert error < TOLERANCES["float32"]["chain"] * extent


def test_float32_round_trip_of_a_long_chain():
    x = random_chain(200).float()
    back = internal_to_cartesian(cartesian_to_internal(x), *rigid_frame(x))
    assert_close(back, x, "round_trip")


@pytest.mark.parametrize("length", [1, 2, 3])
def test_internal_coordinates_of_short_chains_come_back(length):
    z = random_internal(4)[:length]
    x = internal_to_cartesian(z)
    assert x.shape == (length, 3)
    assert_close(cartesian_to_internal(x), z, "round_trip")


def test_extreme_coordinates_stay_in_range():
    z = torch.tensor([[0, 0, 0], [-40, 0, 0], [90, 40, 0], [3, -40, 0], [3, 0, 99]])
    x = internal_to_cartesian(z.float())
    b = (x[1:] - x[:-1]).norm(dim=-1)
    assert b.tolist() == pytest.approx([0, 90, 3.0486, 3.0486], abs=1e-3)


def test_origin_and_frame_put_the_chain_in_space():
    z = random_internal(7)
    origin, frame = normal(3), random_rotation()
    plain = internal_to_cartesian(z)
    assert_close(internal_to_cartesian(z, origin, frame), plain @ frame.T + origin, "rounding")
    assert plain[0].tolist() == [0, 0, 0]
    assert plain[1, 1:].tolist() == [0, 0]
    assert float(plain[2, 1]) > 0
    assert float(plain[2, 2]) == 0


def test_frame_of_a_chain_is_the_rotation_by_which_it_was_placed():
    origin, frame = normal(3), random_rotation()
    x = internal_to_cartesian(random_internal(5), origin, frame)
    assert_close(rigid_frame(x)[0], origin, "rounding")
    assert_close(rigid_frame(x)[1], frame, "rounding")
    assert float(torch.linalg.det(frame)) == pytest.approx(1)


@pytest.mark.parametrize("length", [2, 3, 6])
@pytest.mark.parametrize("direction", [[1.0, 0, 0], [0.6, 0, 0.8], [2.2, 2.1, 2.3]])
def test_frame_of_a_straight_chain_has_any_normal(length, direction):
    u = torch.nn.functional.normalize(torch.tensor(direction).double(), dim=0)
    x = 3.8 * torch.arange(length)[:, None] * u + normal(3)
    origin, frame = rigid_frame(x)
    assert_close(frame[:, 0], u, "rounding")
    assert_close(frame.T @ frame, torch.eye(3, dtype=torch.float64), "rounding")
    assert float(torch.linalg.det(frame)) == pytest.approx(1)
    assert torch.equal(origin, x[0])


@pytest.mark.parametrize("length", [1, 2])
def test_too_short_chains_come_back_to_where_they_were(length):
    x = random_chain(3, length)
    back = internal_to_cartesian(cartesian_to_internal(x), *rigid_frame(x))
    assert_close(back, x, "round_trip")


def test_batches_of_any_shape_equal_single_chains():
    x = random_chain(2, 3, 6)
    z = cartesian_to_internal(x)
    back = internal_to_cartesian(z, *rigid_frame(x))
    for i in range(2):
        for j in range(3):
            assert_close(z[i, j], cartesian_to_internal(x[i, j]), "rounding")
            single = internal_to_cartesian(z[i, j], *rigid_frame(x[i, j]))
            assert_close(back[i, j], single, "rounding")


@pytest.mark.parametrize("count", [1, 2, 3, 8, 13])
def test_cumulative_rotation_is_the_running_product(count):
    q = torch.stack([random_rotation(seed) for seed in range(count)])
    expected = [q[0]]
    for k in range(1, count):
        expected.append(expected[-1] @ q[k])
    assert_close(cumulative_rotation(q), torch.stack(expected), "rounding")

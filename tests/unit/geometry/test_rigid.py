"""Rigid-body motion: found, removed, and removed without changing a distance."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from scipy.stats import kstest

from openmm_nemo.geometry import angular_velocity, centre, detrend, detrend_rigidly, rotate
from openmm_nemo.geometry.rigid import rotation_of_numbers, side_by_side
from tests.helpers import DTYPES, normal, random_chain, uniform
from tests.tolerances import assert_close


def everyone(x):
    return torch.ones_like(x[..., 0])


def distances(x):
    return (x.unsqueeze(-2) - x.unsqueeze(-3)).norm(dim=-1)


def momenta(x, dx):
    """Net and angular momentum about the mean."""
    arm = x - x.mean(-2, keepdim=True)
    return dx.sum(-2), torch.linalg.cross(arm, dx, dim=-1).sum(-2)


ALONG = torch.arange(7, dtype=torch.float64)[:, None]
LINES = {
    "one point": torch.tensor([[1.0, 2, 3]]).double(),
    "two points": torch.tensor([[1.0, 2, 3], [2, 4, 6]]).double(),
    "on an axis": ALONG * torch.tensor([0, 3.8, 0]),
    "oblique": ALONG * torch.tensor([2.2, 2.1, 2.3]).double(),
    "coincident": torch.zeros(5, 3, dtype=torch.float64),
}
ON_A_LINE = pytest.mark.parametrize("x", LINES.values(), ids=LINES.keys())


def test_centre_is_the_mean_of_the_points_that_count():
    x, mask = random_chain(2, 6), torch.tensor([[1.0] * 6, [1.0] * 4 + [0] * 2]).double()
    expected = torch.stack([x[0].mean(0), x[1, :4].mean(0)]).unsqueeze(1)
    assert_close(centre(x, mask), expected, "rounding")
    assert centre(x, torch.zeros_like(mask)).tolist() == [[[0, 0, 0]]] * 2


def test_angular_velocity_solves_the_equation_of_the_inertia_tensor():
    x, dx = random_chain(9), normal(9, 3)
    arm = (x - x.mean(0)).numpy()
    inertia = sum((r @ r) * torch.eye(3).numpy() - r[:, None] * r[None] for r in arm)
    _, momentum = momenta(x, dx)
    omega = angular_velocity(x, dx, everyone(x))
    assert_close(torch.from_numpy(inertia) @ omega, momentum, "rounding")


@DTYPES
@pytest.mark.parametrize("length", [3, 10, 200])
def test_no_momentum_is_left(length, dtype):
    x, dx = random_chain(2, length).to(dtype), normal(2, length, 3).to(dtype)
    before, after = momenta(x, dx), momenta(x, detrend(x, dx, everyone(x)))
    for left, net in zip(after, before, strict=True):
        assert_close(net + left, net, "detrend")


def test_rigid_displacement_is_removed_entirely():
    x = random_chain(10)
    dx = torch.linalg.cross(normal(1, 3, seed=1), x) + normal(3, seed=2)
    assert_close(dx + detrend(x, dx, everyone(x)), dx, "detrend")


def test_internal_motion_is_left_alone():
    x = random_chain(10)
    dx = detrend(x, normal(10, 3), everyone(x))
    assert_close(detrend(x, dx, everyone(x)), dx, "detrend")


def test_finite_rigid_motion_is_undone_by_turning_back():
    # To first order in the angle, the order of the angular velocity.
    x = random_chain(10)
    error = []
    for scale in (1e-2, 1e-3):
        moved = rotate(x - x.mean(0), scale * normal(3)) + x.mean(0) + normal(3, seed=3)
        error.append(float(detrend_rigidly(x, moved - x, everyone(x)).norm()))
    assert error[0] < 1e-2
    assert error[0] / error[1] == pytest.approx(100, rel=0.5)


def test_turning_back_keeps_every_distance_and_the_centre():
    x, dx = random_chain(2, 10), 2 * normal(2, 10, 3)
    mask = everyone(x)
    back = x + detrend_rigidly(x, dx, mask)
    assert_close(distances(back), distances(x + dx), "rounding")
    assert_close(centre(back, mask), centre(x, mask), "rounding")
    linear = x + detrend(x, dx, mask)
    assert (distances(linear) - distances(x + dx)).abs().max() > 0.01


def test_turning_back_keeps_the_hand():
    x, dx = random_chain(4), normal(4, 3)
    back = x + detrend_rigidly(x, dx, everyone(x))
    volume = [torch.linalg.det(y[1:] - y[0]) for y in (x + dx, back)]
    assert_close(volume[1], volume[0], "rounding")


def test_turning_back_is_detrend_to_first_order():
    x, dx = random_chain(10), normal(10, 3)
    mask = everyone(x)
    apart = [
        float((detrend_rigidly(x, h * dx, mask) - detrend(x, h * dx, mask)).norm())
        for h in (1e-2, 1e-3)
    ]
    assert apart[0] / apart[1] == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("remove", [detrend, detrend_rigidly])
def test_padding_neither_counts_nor_moves(remove):
    x, dx = 50 * normal(2, 9, 3), normal(2, 9, 3, seed=1)
    mask = torch.tensor([[1.0] * 9, [1.0] * 5 + [0] * 4]).double()
    x[1, :5] = random_chain(5)
    removed = remove(x, dx * mask[..., None], mask)
    for k, length in enumerate((9, 5)):
        single = remove(x[k, :length], dx[k, :length], torch.ones(length, dtype=x.dtype))
        assert_close(removed[k, :length], single, "rounding")
    assert (removed[1, 5:] == 0).all()


@DTYPES
@ON_A_LINE
@pytest.mark.parametrize("remove", [detrend, detrend_rigidly])
def test_points_on_a_line_are_safe(remove, x, dtype):
    x = x.to(dtype)
    dx = 0.1 * normal(*x.shape).to(dtype)
    removed = remove(x, dx, everyone(x))
    assert removed.isfinite().all()
    assert removed.abs().max() <= 2 * dx.abs().max()


@ON_A_LINE
def test_no_momentum_is_left_on_a_line(x):
    dx = normal(*x.shape)
    for left in momenta(x, detrend(x, dx, everyone(x))):
        assert left.norm() < 1e-9 * (1 + x.norm()) * dx.norm()


@pytest.mark.parametrize("angle", [0, 1e-9, 1e-4, 0.1, 2, 3.14, 7])
def test_rotation_is_that_of_scipy(angle):
    axis = torch.nn.functional.normalize(normal(2, 3), dim=-1)
    v = normal(2, 5, 3, seed=1)
    for k in range(2):
        matrix = torch.from_numpy(Rotation.from_rotvec(angle * axis[k].numpy()).as_matrix())
        assert_close(rotate(v, angle * axis)[k], v[k] @ matrix.T, "rounding")


@pytest.mark.parametrize("scale", [0, 1e-3, 1])
def test_derivatives_of_rotation(scale):
    v, w = normal(4, 3), scale * uniform(-1, 1, 3)
    v.requires_grad_()
    w.requires_grad_()
    assert torch.autograd.gradcheck(rotate, (v, w))
    assert torch.autograd.gradgradcheck(rotate, (v, w))


def test_rotations_of_uniform_numbers_are_uniform():
    """Their matrices have mean 0, second moments of 1/3, and angles with density (1 - cos t) / pi; 1 in 10,000."""
    q = rotation_of_numbers(uniform(0, 1, 20000, 3, seed=1))
    identity = torch.eye(3, dtype=torch.float64)
    assert_close(q @ q.mT, identity.expand_as(q), "rounding")
    assert_close(torch.linalg.det(q), torch.ones(20000).double(), "rounding")
    assert q.mean(0).abs().max() < 4.5 * (1 / 3 / 20000) ** 0.5
    assert (q**2 - 1 / 3).mean(0).abs().max() < 4.5 * (4 / 45 / 20000) ** 0.5
    angles = Rotation.from_matrix(q.numpy()).magnitude()
    assert kstest(angles, lambda t: (t - np.sin(t)) / np.pi).pvalue > 1e-4


def test_numbers_give_the_rotation_of_their_quaternion():
    share, first, second = 0.3, 0.2, 0.9
    x, y = (np.sqrt(0.7) * f(2 * np.pi * first) for f in (np.sin, np.cos))
    z, w = (np.sqrt(0.3) * f(2 * np.pi * second) for f in (np.sin, np.cos))
    found = rotation_of_numbers(torch.tensor([share, first, second], dtype=torch.float64))
    expected = torch.from_numpy(Rotation.from_quat([x, y, z, w]).as_matrix())
    assert_close(found, expected, "rounding")


def test_chains_stand_side_by_side_at_a_distance():
    chains = [random_chain(n, seed=n) for n in (30, 4, 18, 30)]
    chains = [chain - chain.mean(0) for chain in chains]
    placed = side_by_side(chains, 10.0)
    assert placed[0] is chains[0]
    for k in range(1, 4):
        shift = placed[k] - chains[k]
        assert_close(shift, shift[:1].expand_as(shift), "rounding")
        assert shift[:, 1:].eq(0).all()
        nearest = torch.cdist(torch.cat(placed[:k]), placed[k]).min()
        assert_close(nearest, torch.tensor(10.0).double(), "rounding")


def test_chains_that_pass_each_other_at_a_distance_do_not_stay_in_one_place():
    up = torch.tensor([[0.0, 20.0, 0.0], [0.0, -20.0, 0.0]]).double()
    line = torch.tensor([[-5.0, 0.0, 0.0], [5.0, 0.0, 0.0]]).double()
    first, second = side_by_side([up, line], 10.0)
    assert second[:, 0].min() >= first[:, 0].max()

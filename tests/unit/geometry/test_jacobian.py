"""Products with the Jacobian of the robot arm, against formulas, differences and autograd."""

import math

import pytest
import torch

from openmm_nemo.geometry import (
    bond_angles,
    bond_directions,
    cartesian_to_internal,
    chain_axes,
    internal_to_cartesian,
    jacobian_product,
    jacobian_transpose_product,
    rigid_frame,
)
from tests.helpers import normal, random_chain
from tests.tolerances import assert_close

LENGTHS = pytest.mark.parametrize("length", [2, 3, 4, 5, 12])


def placed(x):
    """F(z) with the rigid-body degrees of freedom of ``x``, which short chains do not have."""
    where = rigid_frame(x) if x.shape[-2] > 2 else ()
    return lambda z: internal_to_cartesian(z, *where)


def chain_at_origin(length):
    """A chain that `internal_to_cartesian` puts where it is, also if it is shorter than three beads."""
    return internal_to_cartesian(cartesian_to_internal(random_chain(length)))


def jacobian_by_columns(x):
    """The formulas of section 2 of the design, column by column, shape (L, 3, L, 3)."""
    length = x.shape[0]
    u, _ = bond_directions(x)
    b, a, _ = bond_angles(x)
    jacobian = torch.zeros(length, 3, length, 3, dtype=x.dtype)
    for j in range(length):
        for i in range(j):  # bond i, from x[i] to x[i+1], is in row i+1
            jacobian[j, :, i + 1, 0] = u[i] * torch.sigmoid(torch.log(torch.exp(b[i]) - 1))
        for i in range(1, j):  # the angle at x[i] is in row i+1
            n = torch.linalg.cross(u[i - 1], u[i])
            column = -torch.linalg.cross(n / n.norm(), x[j] - x[i])
            jacobian[j, :, i + 1, 1] = column * a[i - 1] * (math.pi - a[i - 1]) / math.pi
        for i in range(1, j - 1):  # the dihedral about bond i is in row i+2
            jacobian[j, :, i + 2, 2] = torch.linalg.cross(u[i], x[j] - x[i + 1])
    return jacobian


@LENGTHS
def test_columns_follow_the_formulas(length):
    x = random_chain(length)
    expected = jacobian_by_columns(x).flatten(2).movedim(-1, 0)
    every = torch.eye(3 * length, dtype=x.dtype).view(-1, length, 3)
    axes = chain_axes(x.expand(3 * length, -1, -1))
    assert_close(jacobian_product(axes, every), expected, "rounding")


@LENGTHS
def test_product_is_the_central_difference(length):
    x = chain_at_origin(length)
    z, dz = cartesian_to_internal(x), normal(length, 3)
    f, h = placed(x), 1e-5
    expected = (f(z + h * dz) - f(z - h * dz)) / (2 * h)
    assert_close(jacobian_product(chain_axes(x), dz), expected, "finite_difference")


@LENGTHS
def test_products_are_those_of_autograd(length):
    x = chain_at_origin(length)
    jacobian = torch.autograd.functional.jacobian(placed(x), cartesian_to_internal(x))
    dz, f = normal(length, 3, seed=1), normal(length, 3, seed=2)
    forward = torch.einsum("iajb,jb->ia", jacobian, dz)
    backward = torch.einsum("iajb,ia->jb", jacobian, f)
    axes = chain_axes(x)
    assert_close(jacobian_product(axes, dz), forward, "autograd")
    assert_close(jacobian_transpose_product(axes, f), backward, "autograd")


def test_product_and_transpose_product_are_adjoint():
    x, dz, f = random_chain(3, 50), normal(3, 50, 3, seed=1), normal(3, 50, 3, seed=2)
    axes = chain_axes(x)
    left = (jacobian_product(axes, dz) * f).sum((-1, -2))
    right = (dz * jacobian_transpose_product(axes, f)).sum((-1, -2))
    assert_close(left, right, "rounding")


def test_rigid_body_entries_are_neither_read_nor_moved():
    x, dz = random_chain(6), normal(6, 3)
    axes = chain_axes(x)
    rigid = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0]]).bool()
    moved = jacobian_product(axes, dz)
    assert torch.equal(jacobian_product(axes, dz.masked_fill(rigid, 7.5)), moved)
    assert (jacobian_transpose_product(axes, normal(6, 3))[rigid] == 0).all()
    assert (moved[0] == 0).all()


def test_long_chains_stay_accurate_in_float32_far_from_the_origin():
    # On a grid of 2^-10 Angstrom, so that the positions are the same numbers in both precisions.
    x = (random_chain(200) * 1024).round() / 1024 + 1024
    dz, f = normal(200, 3, seed=1), normal(200, 3, seed=2)
    exact, rounded = chain_axes(x), chain_axes(x.float())
    moved = jacobian_product(rounded, dz.float())
    assert_close(moved, jacobian_product(exact, dz).float(), "chain")
    force = jacobian_transpose_product(rounded, f.float())
    assert_close(force, jacobian_transpose_product(exact, f).float(), "chain")

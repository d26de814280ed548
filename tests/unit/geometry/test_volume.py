"""The volume element, against the determinant of the whole map from rigid and internal coordinates to positions."""

import pytest
import torch

from openmm_nemo.geometry import (
    cartesian_to_internal,
    internal_to_cartesian,
    log_volume,
    log_volume_gradient,
    rigid_frame,
)
from tests.helpers import normal, random_chain
from tests.tolerances import assert_close


def log_determinant(x):
    """log|det| of the 3L x 3L Jacobian of x with respect to a shift, a rotation vector and the internal coordinates."""
    length = x.shape[0]
    origin, frame = rigid_frame(x)
    z = cartesian_to_internal(x)
    rigid = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 0, 1]] + [[0, 0, 0]] * (length - 3)).bool()

    def place(q):
        w = q[3:6]
        zero = torch.zeros_like(w[0])
        spin = torch.stack([zero, -w[2], w[1], w[2], zero, -w[0], -w[1], w[0], zero]).view(3, 3)
        internal = z.masked_scatter(~rigid, q[6:])
        turned = torch.linalg.matrix_exp(spin) @ frame
        return internal_to_cartesian(internal, origin + q[:3], turned).flatten()

    q = torch.cat([torch.zeros(6, dtype=x.dtype), z[~rigid]])
    jacobian = torch.autograd.functional.jacobian(place, q)
    assert jacobian.shape == (3 * length, 3 * length)
    return torch.linalg.slogdet(jacobian).logabsdet


@pytest.mark.parametrize("length", [3, 4, 5, 8])
@pytest.mark.parametrize("seed", [0, 100])
def test_log_volume_is_the_log_determinant(length, seed):
    x = random_chain(length, seed=seed)
    assert_close(log_volume(x), log_determinant(x), "autograd")


def test_log_volume_of_one_bond():
    # A sphere of radius b, b = log(1 + exp(b~)).
    x = torch.tensor([[0, 0, 0], [0, 0, 3.8]], dtype=torch.float64)
    slope = torch.sigmoid(torch.log(torch.exp(torch.tensor(3.8, dtype=torch.float64)) - 1))
    assert_close(log_volume(x), torch.log(3.8**2 * slope), "rounding")


@pytest.mark.parametrize("length", [1, 2, 3, 4, 20])
def test_gradient_is_that_of_autograd(length):
    z = cartesian_to_internal(random_chain(2, length)).requires_grad_()
    x = internal_to_cartesian(z)
    (expected,) = torch.autograd.grad(log_volume(x).sum(), z)
    assert_close(log_volume_gradient(x.detach()), expected, "autograd")


def test_volume_does_not_change_with_dihedrals():
    z = cartesian_to_internal(random_chain(8))
    turned = z.clone()
    turned[3:, 2] = normal(5)
    volume = log_volume(internal_to_cartesian(z))
    assert_close(log_volume(internal_to_cartesian(turned)), volume, "rounding")


def test_padding_does_not_count():
    x = torch.stack([random_chain(6, seed=k) for k in range(3)])
    lengths = torch.tensor([6, 4, 1])
    mask = (torch.arange(6) < lengths[:, None]).double()
    alone = torch.stack([log_volume(row[:n]) for row, n in zip(x, lengths, strict=True)])
    assert_close(log_volume(x, mask), alone, "rounding")

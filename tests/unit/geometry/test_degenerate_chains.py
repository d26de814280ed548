"""No function of geometry gives a NaN where an internal coordinate is not defined, nor do its first two derivatives."""

import pytest
import torch

from openmm_nemo import geometry
from tests.helpers import DTYPES, degenerate_chains, normal

CHAINS = degenerate_chains()


def ones(x):
    return torch.ones_like(x[..., 0])


def there_and_back(x):
    return geometry.internal_to_cartesian(geometry.cartesian_to_internal(x))


FUNCTIONS = {
    "bond_directions": geometry.bond_directions,
    "bond_angles": geometry.bond_angles,
    "cartesian_to_internal": geometry.cartesian_to_internal,
    "internal_to_cartesian": geometry.internal_to_cartesian,
    "there_and_back": there_and_back,
    "rigid_frame": geometry.rigid_frame,
    "chain_axes": geometry.chain_axes,
    "jacobian_product": lambda x: geometry.jacobian_product(geometry.chain_axes(x), x.cos()),
    "jacobian_transpose_product": lambda x: geometry.jacobian_transpose_product(
        geometry.chain_axes(x), x.cos()
    ),
    "log_volume": geometry.log_volume,
    "log_volume_gradient": geometry.log_volume_gradient,
    "centre": lambda x: geometry.centre(x, ones(x)),
    "angular_velocity": lambda x: geometry.angular_velocity(x, x.cos(), ones(x)),
    "detrend": lambda x: geometry.detrend(x, x.cos(), ones(x)),
    "detrend_rigidly": lambda x: geometry.detrend_rigidly(x, x.cos(), ones(x)),
    "detrend_rigidly, no displacement": lambda x: geometry.detrend_rigidly(x, 0 * x, ones(x)),
    "rotate": lambda x: geometry.rotate(x, x[..., 0, :]),
    "residue_frames": lambda x: geometry.residue_frames(x[None], ones(x)[None]),
    "chain_features": geometry.chain_features,
    "pair_geometry": geometry.pair_geometry,
    "radial_basis": lambda x: geometry.radial_basis(
        geometry.pair_geometry(x)[0], x.new_tensor([0, 5]), x.new_tensor([1, 2])
    ),
}


def project(values, seed):
    """A sum of the values with random weights: its derivatives are products with their Jacobians."""
    return sum((v * normal(*v.shape, seed=seed).to(v.dtype)).sum() for v in values)


@DTYPES
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_two_derivatives_are_finite(name, chain, dtype):
    x = CHAINS[chain].to(dtype).requires_grad_()
    values = FUNCTIONS[name](x)
    values = (values,) if isinstance(values, torch.Tensor) else values
    assert all(v.isfinite().all() for v in values)
    (first,) = torch.autograd.grad(project(values, 1), x, create_graph=True, materialize_grads=True)
    assert first.isfinite().all()
    if first.requires_grad:
        (second,) = torch.autograd.grad(project([first], 2), x, materialize_grads=True)
        assert second.isfinite().all()


@DTYPES
@pytest.mark.parametrize("chain", CHAINS)
def test_superposition_is_finite(chain, dtype):
    x = CHAINS[chain].to(dtype)
    y = x + 0.1 * normal(*x.shape).to(dtype)
    for mobile, target in ((x, x), (x, y), (y, x)):
        assert geometry.superpose(mobile, target).isfinite().all()
        assert geometry.rmsd(mobile, target).isfinite().all()

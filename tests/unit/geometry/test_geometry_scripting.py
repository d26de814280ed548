"""Every public function of geometry compiles to TorchScript and computes the same there."""

import pytest
import torch

from openmm_nemo import geometry
from tests.helpers import DTYPES, normal, random_chain
from tests.tolerances import assert_close

X, Y = random_chain(3, 8), random_chain(3, 8, seed=50)
MASK = torch.tensor([[1.0] * 8, [1.0] * 5 + [0] * 3, [1.0] * 4 + [0] * 4], dtype=torch.float64)

ARGUMENTS = {
    "angular_velocity": (X, normal(3, 8, 3), MASK),
    "best_rotation": (normal(3, 3, 3),),
    "bond_angles": (X,),
    "bond_directions": (X,),
    "cartesian_to_internal": (X,),
    "centre": (X, MASK),
    "chain_axes": (X,),
    "chain_features": (X,),
    "detrend": (X, normal(3, 8, 3), MASK),
    "detrend_rigidly": (X, normal(3, 8, 3), MASK),
    "internal_to_cartesian": (geometry.cartesian_to_internal(X), *geometry.rigid_frame(X)),
    "jacobian_product": (geometry.chain_axes(X), normal(3, 8, 3)),
    "jacobian_transpose_product": (geometry.chain_axes(X), normal(3, 8, 3)),
    "log_volume": (X,),
    "log_volume_gradient": (X,),
    "pair_geometry": (X,),
    "radial_basis": (X[..., 0], normal(4), normal(4)),
    "residue_frames": (X, MASK),
    "rigid_frame": (X,),
    "rmsd": (X, Y),
    "rotate": (X, normal(3, 3)),
    "superpose": (X, Y, MASK),
}
NOT_FUNCTIONS = {"N_CHAIN_FEATURES", "ChainAxes"}


def cast(argument, dtype):
    if isinstance(argument, torch.Tensor):
        return argument.to(dtype)
    return geometry.ChainAxes(*(part.to(dtype) for part in argument))


def test_every_public_function_is_covered():
    assert set(ARGUMENTS) == set(geometry.__all__) - NOT_FUNCTIONS


@DTYPES
@pytest.mark.parametrize("name", ARGUMENTS)
def test_scripted_function_equals_eager(name, dtype):
    function = getattr(geometry, name)
    arguments = [cast(argument, dtype) for argument in ARGUMENTS[name]]
    expected = function(*arguments)
    actual = torch.jit.script(function)(*arguments)
    if isinstance(expected, torch.Tensor):
        expected, actual = (expected,), (actual,)
    for one, other in zip(actual, expected, strict=True):
        assert_close(one, other, "rounding")


def test_scripted_optional_arguments():
    z = geometry.cartesian_to_internal(X)
    place = torch.jit.script(geometry.internal_to_cartesian)
    assert_close(place(z), geometry.internal_to_cartesian(z), "rounding")
    fit = torch.jit.script(geometry.superpose)
    assert_close(fit(X, Y), geometry.superpose(X, Y), "rounding")

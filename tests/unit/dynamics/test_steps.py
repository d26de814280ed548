"""One step of each integrator, against the formulas of section 5 of the design."""

import math

import pytest
import torch

from openmm_nemo.dynamics import (
    INTEGRATORS,
    StepOptions,
    StepParameters,
    direct_step,
    mixed_step,
    transform_step,
)
from openmm_nemo.dynamics.steps import cartesian_displacement
from openmm_nemo.geometry import (
    cartesian_to_internal,
    chain_axes,
    detrend,
    detrend_rigidly,
    internal_to_cartesian,
    jacobian_product,
    log_volume,
    rigid_frame,
)
from tests.helpers import normal, random_chain, uniform
from tests.tolerances import TOLERANCES, assert_close

PLAIN = StepOptions(max_displacement=math.inf, detrend=False)
EVERY_INTEGRATOR = pytest.mark.parametrize("integrator", INTEGRATORS)


def make_parameters(lengths, cartesian=0.02, internal=0.01):
    """Step sizes and preconditioners that differ from chain to chain and from bead to bead; zero in padding."""
    n_chains, n_beads = len(lengths), max(lengths)
    mask = (torch.arange(n_beads) < torch.tensor(lengths)[:, None]).double()
    return StepParameters(
        cartesian_step=cartesian * uniform(0.5, 2, n_chains, seed=1),
        internal_step=internal * uniform(0.5, 2, n_chains, seed=2),
        cartesian_preconditioner=uniform(0.5, 2, n_chains, n_beads, seed=3) * mask,
        internal_preconditioner=uniform(0.5, 2, n_chains, n_beads, 3, seed=4) * mask[..., None],
        mask=mask,
    )


def make_step(lengths=(7, 7), **steps):
    """Positions, gradient, noise and parameters of a batch of chains; zero in padding."""
    parameters = make_parameters(lengths, **steps)
    inside = parameters.mask[..., None]
    n_chains, n_beads = parameters.mask.shape
    x = random_chain(n_chains, n_beads) * inside
    gradient = normal(n_chains, n_beads, 3, seed=5) * inside
    noise = normal(n_chains, n_beads, 2, 3, seed=6) * inside[..., None]
    return x, gradient, noise, parameters


def one_change(x, dz, options=PLAIN, integrator=transform_step):
    """A step with no force and no scale, so that the noise is the change of the internal coordinates."""
    one = torch.ones_like(x)
    parameters = StepParameters(one[:, 0, 0], one[:, 0, 0], 0 * one[..., 0], one, one[..., 0])
    noise = torch.stack([torch.zeros_like(dz), dz], dim=-2)
    return integrator(x, torch.zeros_like(x), noise, parameters, options)


def langevin_change(x, gradient, noise, parameters):
    """dz of equation 5.2, with J^T by autograd."""
    z = cartesian_to_internal(x).requires_grad_()
    (force,) = torch.autograd.grad(internal_to_cartesian(z, *rigid_frame(x)), z, gradient)
    c = parameters.internal_step[:, None, None] * parameters.internal_preconditioner
    return -c / 2 * force + c.sqrt() * noise[..., 1, :]


def moving_rows(z):
    """Only the entries of z that are not rigid-body degrees of freedom."""
    rigid = torch.zeros_like(z, dtype=torch.bool)
    rigid[..., 0, :] = True
    rigid[..., 1, 1:] = True
    rigid[..., 2, 2] = True
    return z.masked_fill(rigid, 0)


def test_cartesian_step_is_equation_5_1():
    _, gradient, noise, parameters = make_step()
    c = (parameters.cartesian_step[:, None] * parameters.cartesian_preconditioner)[..., None]
    expected = -c / 2 * gradient + c.sqrt() * noise[..., 0, :]
    actual = cartesian_displacement(gradient, noise[..., 0, :], parameters)
    assert_close(actual, expected, "rounding")


def test_direct_step_is_equation_5_2_and_leaves_the_rigid_body_where_it_was():
    x, gradient, noise, parameters = make_step()
    moved = direct_step(x, gradient, noise, parameters, PLAIN).x
    change = cartesian_to_internal(moved) - cartesian_to_internal(x)
    change[..., 2] = torch.remainder(change[..., 2] + math.pi, 2 * math.pi) - math.pi
    expected = moving_rows(langevin_change(x, gradient, noise, parameters))
    assert_close(change, expected, "round_trip")
    for after, before in zip(rigid_frame(moved), rigid_frame(x), strict=True):
        assert_close(after, before, "round_trip")


def test_transform_step_is_heuns_method():
    x, gradient, noise, parameters = make_step()
    dz = langevin_change(x, gradient, noise, parameters)
    there = x + jacobian_product(chain_axes(x), dz)
    expected = x + 0.5 * (there - x + jacobian_product(chain_axes(there), dz))
    assert_close(transform_step(x, gradient, noise, parameters, PLAIN).x, expected, "round_trip")


@pytest.mark.parametrize("detrended", [False, True])
@pytest.mark.parametrize("limit", [math.inf, 0.5])
def test_mixed_step_is_a_cartesian_and_an_internal_step_with_one_gradient(limit, detrended):
    x, gradient, noise, parameters = make_step(internal=0.1)
    y = x + cartesian_displacement(gradient, noise[..., 0, :], parameters)
    internal = transform_step(y, gradient, noise, parameters, StepOptions(limit, detrend=False))
    dx = internal.x - x
    if detrended:
        dx = detrend(x, dx, parameters.mask)
    result = mixed_step(x, gradient, noise, parameters, StepOptions(limit, detrended))
    assert_close(result.x, x + dx, "rounding")
    assert_close(result.largest_displacement, dx.norm(dim=-1).amax(-1), "rounding")
    assert result.clipped.tolist() == internal.clipped.tolist() == [limit < 1] * 2


@pytest.mark.parametrize("integrator", [direct_step, transform_step])
def test_measure_correction_adds_the_gradient_of_the_log_volume_to_the_drift(integrator):
    x, gradient, noise, parameters = make_step()
    z = cartesian_to_internal(x).requires_grad_()
    (slope,) = torch.autograd.grad(log_volume(internal_to_cartesian(z)).sum(), z)
    # The same drift as that of a force whose J^T is the slope.
    c = parameters.internal_step.view(-1, 1, 1) * parameters.internal_preconditioner
    shifted = noise.clone()
    shifted[..., 1, :] += c.sqrt() / 2 * slope
    expected = integrator(x, gradient, shifted, parameters, PLAIN).x
    actual = integrator(x, gradient, noise, parameters, PLAIN._replace(measure_correction=True)).x
    assert (expected - integrator(x, gradient, noise, parameters, PLAIN).x).abs().max() > 1e-3
    assert_close(actual, expected, "round_trip")


def test_local_error_of_heuns_method_is_of_third_order_and_that_of_eulers_of_second():
    x = random_chain(2, 12)
    direction = 0.5 * normal(2, 12, 3)
    axes = chain_axes(x)
    heun, euler = [], []
    for scale in (1e-1, 1e-2):
        dz = scale * direction
        exact = internal_to_cartesian(cartesian_to_internal(x) + dz, *rigid_frame(x))
        heun.append(float((one_change(x, dz).x - exact).norm()))
        euler.append(float((x + jacobian_product(axes, dz) - exact).norm()))
    assert heun[0] / heun[1] == pytest.approx(1000, rel=0.2)
    assert euler[0] / euler[1] == pytest.approx(100, rel=0.2)


@pytest.mark.parametrize("detrended", [False, True])
def test_direct_and_transform_steps_agree_for_small_steps(detrended):
    apart = []
    for internal in (1e-4, 1e-6):
        step = make_step(internal=internal)
        options = PLAIN._replace(detrend=detrended)
        moved = [integrator(*step, options).x for integrator in (direct_step, transform_step)]
        apart.append(float((moved[0] - moved[1]).norm() / (moved[0] - step[0]).norm()))
    # A tenth of the displacement: the relative difference falls a hundredfold.
    assert apart[0] < 1e-2
    assert apart[0] / apart[1] == pytest.approx(100, rel=0.3)


def speed(x, dz, detrended=True):
    """Largest displacement of J dz in every chain."""
    moved = jacobian_product(chain_axes(x), dz)
    if detrended:
        moved = detrend(x, moved, torch.ones_like(x[..., 0]))
    return moved.norm(dim=-1).amax(-1)


def test_clipped_step_moves_at_the_limit_in_the_same_direction():
    x, dz = random_chain(2, 9), normal(2, 9, 3)
    # So slow a limit that Heun's correction, which the limit does not know of, is small.
    limit = 1e-5
    result = one_change(x, dz, StepOptions(max_displacement=limit))
    assert result.clipped.tolist() == [True, True]
    assert result.largest_displacement.tolist() == pytest.approx([limit] * 2, rel=1e-4)
    scaled = dz * (limit / speed(x, dz)).view(-1, 1, 1)
    exactly = one_change(x, scaled, StepOptions(math.inf))
    assert_close(result.x, exactly.x, "rounding")
    assert_close((result.x - x) / limit, (exactly.x - x) / limit, "round_trip")


@pytest.mark.parametrize("integrator", [direct_step, transform_step, mixed_step])
def test_only_chains_faster_than_the_limit_are_clipped(integrator):
    x = random_chain(2, 9)
    dz = normal(2, 9, 3) * torch.tensor([0.05, 0.5]).view(-1, 1, 1)
    slow, fast = speed(x, dz).tolist()
    limit = (slow + fast) / 2
    result = one_change(x, dz, PLAIN._replace(max_displacement=limit), integrator)
    free = one_change(x, dz, PLAIN, integrator)
    assert result.clipped.tolist() == [False, True]
    assert free.clipped.tolist() == [False, False]
    assert torch.equal(result.x[0], free.x[0])
    scaled = dz[1:] * limit / fast
    assert_close(result.x[1:], one_change(x[1:], scaled, PLAIN, integrator).x, "rounding")


def test_speed_is_that_of_the_displacement_without_rigid_motion():
    x, dz = random_chain(1, 9), 0.1 * normal(1, 9, 3)
    without, within = speed(x, dz).item(), speed(x, dz, detrended=False).item()
    assert within > 1.1 * without
    between = PLAIN._replace(max_displacement=(within + without) / 2)
    assert not one_change(x, dz, between).clipped.item()
    below = PLAIN._replace(max_displacement=0.99 * without)
    assert one_change(x, dz, below).clipped.item()


def test_cartesian_step_has_no_speed_limit():
    x, gradient, noise, parameters = make_step(internal=0, cartesian=20)
    result = mixed_step(x, gradient, noise, parameters, StepOptions())
    assert result.clipped.tolist() == [False, False]
    assert (result.largest_displacement > 4).all()


def test_defaults_are_those_of_the_paper():
    assert StepOptions() == StepOptions(2.0, True, False)


@EVERY_INTEGRATOR
@pytest.mark.parametrize("corrected", [False, True])
def test_detrended_step_is_the_plain_one_without_its_rigid_motion(integrator, corrected):
    step = make_step()
    x, mask = step[0], step[3].mask
    plain = INTEGRATORS[integrator](*step, StepOptions(math.inf, False, corrected)).x
    result = INTEGRATORS[integrator](*step, StepOptions(math.inf, True, corrected))
    remove = detrend_rigidly if corrected else detrend
    expected = remove(x, plain - x, mask)
    assert_close(result.x, x + expected, "rounding")
    assert_close(result.largest_displacement, expected.norm(dim=-1).amax(-1), "round_trip")
    assert_close(result.x.mean(1), x.mean(1), "rounding")


@EVERY_INTEGRATOR
@pytest.mark.parametrize(
    "options",
    [StepOptions(), StepOptions(0.3), PLAIN, StepOptions(0.3, True, True)],
    ids=["default", "clipped", "plain", "corrected"],
)
def test_padded_batch_equals_single_chains(integrator, options):
    lengths = [9, 6, 4, 3]
    x, gradient, noise, parameters = make_step(lengths, internal=0.05)
    padding = parameters.mask == 0
    x[padding] = 30 * normal(int(padding.sum()), 3, seed=7)
    noise[padding] = 30 * normal(int(padding.sum()), 2, 3, seed=8)
    result = INTEGRATORS[integrator](x, gradient, noise, parameters, options)
    assert torch.equal(result.x[padding], x[padding])
    for k, length in enumerate(lengths):
        alone = INTEGRATORS[integrator](
            x[k : k + 1, :length],
            gradient[k : k + 1, :length],
            noise[k : k + 1, :length],
            StepParameters(
                parameters.cartesian_step[k : k + 1],
                parameters.internal_step[k : k + 1],
                parameters.cartesian_preconditioner[k : k + 1, :length],
                parameters.internal_preconditioner[k : k + 1, :length],
                parameters.mask[k : k + 1, :length],
            ),
            options,
        )
        assert_close(result.x[k, :length], alone.x[0], "rounding")
        assert result.clipped[k] == alone.clipped[0]
        assert_close(result.largest_displacement[k], alone.largest_displacement[0], "round_trip")


@EVERY_INTEGRATOR
def test_preconditioners_of_zero_freeze_the_chain(integrator):
    x, gradient, noise, parameters = make_step()
    frozen = parameters._replace(
        cartesian_preconditioner=torch.zeros_like(parameters.cartesian_preconditioner),
        internal_preconditioner=torch.zeros_like(parameters.internal_preconditioner),
    )
    result = INTEGRATORS[integrator](x, gradient, noise, frozen, StepOptions())
    # The direct integrator rebuilds the chain; the others add nothing.
    assert_close(result.x, x, "rounding")
    assert integrator == "direct" or torch.equal(result.x, x)


def test_one_preconditioner_of_zero_freezes_one_coordinate():
    x, gradient, noise, parameters = make_step()
    parameters.internal_preconditioner[:, 4, 1] = 0
    parameters.cartesian_preconditioner[:, 2] = 0
    z, moved = cartesian_to_internal(x), direct_step(x, gradient, noise, parameters, PLAIN).x
    changed = (cartesian_to_internal(moved) - z).abs()
    assert changed[:, 4, 1].max() < 1e-12
    assert changed[:, 4, 0].min() > 1e-3
    still = mixed_step(x, gradient, noise, parameters._replace(internal_step=torch.zeros(2)), PLAIN)
    assert torch.equal(still.x[:, 2], x[:, 2])
    assert (still.x[:, 3] - x[:, 3]).abs().min() > 1e-3


@EVERY_INTEGRATOR
def test_gradients_through_preconditioners_and_steps_of_zero_are_finite(integrator):
    x, gradient, noise, parameters = make_step()
    parameters.internal_preconditioner[:, 3:5] = 0
    parameters.cartesian_preconditioner[:, :2] = 0
    parameters.cartesian_step[0] = 0
    parameters.internal_step[1] = 0
    leaves = [x, *parameters[:4]]
    for leaf in leaves:
        leaf.requires_grad_()
    moved = INTEGRATORS[integrator](x, gradient, noise, parameters, StepOptions()).x
    found = torch.autograd.grad((moved * normal(*moved.shape)).sum(), leaves, allow_unused=True)
    assert found[0] is not None
    assert all(slope is None or slope.isfinite().all() for slope in found)


def test_direct_step_keeps_the_shape_of_a_chain_that_begins_straight():
    x = random_chain(1, 8)
    x[0, :3] = x[0, 3] - torch.tensor([[10.0], [6.2], [2.4]]) * torch.tensor([0.0, 0.6, 0.8])
    step = (x, torch.zeros_like(x), torch.zeros(1, 8, 2, 3), make_parameters([8]))
    moved = direct_step(*step, PLAIN).x
    before, after = ((y[0, :, None] - y[0, None]).norm(dim=-1) for y in (x, moved))
    # The angle of a straight chain is 1e-6 from pi.
    assert (after - before).abs().max() < 1e-4


@EVERY_INTEGRATOR
@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("corrected", [False, True])
def test_short_and_straight_chains_move_and_have_gradients(integrator, length, corrected):
    _, gradient, noise, parameters = make_step([length])
    x = torch.arange(length)[None, :, None] * torch.tensor([3.8, 0, 0]).double()
    x.requires_grad_()
    options = StepOptions(measure_correction=corrected)
    moved = INTEGRATORS[integrator](x, gradient, noise, parameters, options).x
    (slope,) = torch.autograd.grad((moved * normal(*moved.shape)).sum(), x)
    assert moved.isfinite().all()
    assert slope.isfinite().all()


@EVERY_INTEGRATOR
def test_float32_follows_float64(integrator):
    x, gradient, noise, parameters = make_step([200])
    exact = INTEGRATORS[integrator](x, gradient, noise, parameters, StepOptions())
    rounded = INTEGRATORS[integrator](
        x.float(),
        gradient.float(),
        noise.float(),
        StepParameters(*(value.float() for value in parameters)),
        StepOptions(),
    )
    assert rounded.x.dtype == torch.float32
    error = (rounded.x.double() - exact.x).abs().max() / exact.x.abs().max()
    assert error < TOLERANCES["float32"]["round_trip"]
    assert rounded.clipped.tolist() == exact.clipped.tolist()

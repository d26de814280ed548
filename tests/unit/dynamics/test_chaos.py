"""The toy of examples/chaos_in_a_well.py: period doubling, chaos, and what damping and the Lyapunov term do."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch

from tests.helpers import generator, uniform

PATH = Path(__file__).parents[3] / "examples" / "chaos_in_a_well.py"
_SPEC = importlib.util.spec_from_file_location(PATH.stem, PATH)
chaos = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(chaos)

STIFFNESS = 1.6


def as_steps(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def descent(
    step_size: float,
    n_steps: int,
    gamma: float = 1.0,
    start: float = 4.1,
    dtype: torch.dtype = torch.float64,
) -> tuple[torch.Tensor, float]:
    """States of a descent (n+1,), and dx(n)/dx(0) by autograd over Algorithm 4."""
    states = [torch.tensor(start, dtype=dtype, requires_grad=True)]
    for _ in range(n_steps):
        x = chaos.descend(states[-1], torch.tensor(step_size, dtype=dtype))
        states.append((1 - gamma) * x.detach() + gamma * x)
    (gradient,) = torch.autograd.grad(states[-1], states[0])
    return torch.stack(states).detach(), float(gradient)


def test_the_map_and_its_growth_are_those_of_the_energy():
    x, step_size = uniform(2, 12, 50, seed=1).requires_grad_(), as_steps(1.3)
    (slope,) = torch.autograd.grad(chaos.energy(x, 2.2).sum(), x)
    moved = chaos.descend(x, step_size, 2.2)
    torch.testing.assert_close(moved, x - step_size * slope)
    (derivative,) = torch.autograd.grad(moved.sum(), x)
    torch.testing.assert_close(chaos.log_growth(x, step_size, 2.2).exp(), derivative.abs())
    minimum = as_steps(3.8)
    curvature = torch.autograd.functional.hessian(lambda x: chaos.energy(x).sum(), minimum)
    torch.testing.assert_close(curvature.squeeze(), torch.tensor(STIFFNESS).double())


def test_relaxation_is_descent_in_short_steps():
    x = start = as_steps(3.0, 4.0, 9.0)
    for _ in range(10000):
        x = chaos.descend(x, as_steps(1e-4), STIFFNESS)
    torch.testing.assert_close(chaos.relax(start, as_steps(1.0)), x, atol=1e-3, rtol=0)


def test_the_fixed_point_loses_stability_at_two_over_the_curvature():
    """Below, every orbit ends at the minimum. Above, it hops between two distances, further apart with the root."""
    onset = 2 / STIFFNESS
    offsets = as_steps(-0.02, -0.01, 0.005, 0.01, 0.02, 0.04)
    orbits = chaos.orbits(onset + offsets)
    width = orbits.x[-2:].diff(dim=0).abs().squeeze(0)
    assert width[:2].max() < 1e-6
    assert width[2:].min() > 0.1
    torch.testing.assert_close(orbits.x[-1], orbits.x[-3], atol=1e-6, rtol=0)
    # The square of the width is linear near the onset, where it vanishes.
    near = width[2:4].square()
    measured = onset + 0.005 - 0.005 * near[0] / (near[1] - near[0])
    assert float(measured) == pytest.approx(onset, abs=5e-4)


def test_the_cascade_is_that_of_rickers_map():
    """Periods of orbits between the bifurcations that May found (Science 186, 645, 1974)."""
    r = as_steps(1.9, 2.3, 2.6, 2.67, 3.12)
    x = chaos.orbits(r / 0.7, 0.7).x
    for column, period in zip(x.T, (1, 2, 4, 8, 3), strict=True):
        distance = [float((column[-1] - column[-1 - k]).abs()) for k in range(1, period + 1)]
        assert distance[-1] < 1e-6
        assert all(d > 1e-2 for d in distance[:-1])
    around = chaos.ONSET_OF_CHAOS + as_steps(-0.002, 0.01)
    below, above = chaos.orbits(around / 0.7, 0.7).exponent
    assert below < 0 < above


def test_orbits_are_the_iterations_and_their_gradients_up_to_2000():
    """Period 4 without contraction that would underflow."""
    orbit = chaos.orbits(as_steps(1.6))
    for k, iteration in ((0, 1001), (1, 1002), (999, 2000)):
        states, gradient = descent(1.6, iteration, start=12.0)
        assert float(orbit.x[k]) == pytest.approx(float(states[-1]))
        assert float(orbit.log_gradient[k]) == pytest.approx(math.log(abs(gradient)), abs=1e-6)


@pytest.mark.parametrize("step_size", [1.1, 1.45, 1.8, 1.9])
def test_the_lyapunov_exponent_is_the_growth_of_the_gradient(step_size):
    """Derivatives of the map in closed form, along an orbit, against autograd through it."""
    states, gradient = descent(step_size, 1000)
    slopes = [1 - step_size * STIFFNESS * math.exp(3.8 - float(x)) for x in states[:-1]]
    mean = sum(math.log(abs(slope)) for slope in slopes) / len(slopes)
    assert math.log(abs(gradient)) / 1000 == pytest.approx(mean, abs=1e-6)
    # Over another part of the orbit. In chaos the two differ by 0.014 (standard deviation); 6 of them: never.
    exponent = float(chaos.orbits(as_steps(step_size)).exponent)
    assert mean == pytest.approx(exponent, abs=0.08)
    assert (exponent > 0.2) if step_size > 1.7 else (exponent < -0.2)


@pytest.mark.parametrize("step_size", [1.8, 1.9])
def test_damped_gradients_stay_bounded_where_plain_ones_overflow(step_size):
    """In float32, in which networks learn; the damping is tuned to another orbit."""
    gamma = float(chaos.tuned_damping(chaos.orbits(as_steps(step_size)).exponent))
    _, plain = descent(step_size, 600, dtype=torch.float32)
    _, damped = descent(step_size, 600, gamma, dtype=torch.float32)
    assert not math.isfinite(plain)
    # What the picture shows; over few steps, before rounding has made other orbits of them.
    (_, one), (_, other) = (descent(step_size, 40, factor) for factor in (gamma, 1.0))
    assert one == pytest.approx(other * gamma**40, rel=1e-6)
    # The logarithm is 0 with a standard deviation of 13; outside of 69 once in 10 million orbits.
    assert 1e-30 < abs(damped) < 1e30


def test_the_lyapunov_term_is_the_mean_growth():
    x, step = uniform(2.5, 6, 8, 2, 200, seed=3), as_steps(1.3, 1.9).unsqueeze(1)
    slope = 1 - step * 2.0 * torch.exp(3.8 - x)
    found = chaos.lyapunov_term(x, step, torch.tensor(2.0).double(), generator(4))
    torch.testing.assert_close(
        found, slope.abs().log().clamp_min(0).mean((0, 2)), atol=1e-3, rtol=0
    )


def test_learning_stays_out_of_chaos_with_the_lyapunov_term():
    step_size = as_steps(1.8, 1.9)
    stiffness, gradient = chaos.learn(step_size, 5.0, n_updates=80)
    assert gradient.max() < 100
    assert (stiffness[40:] * step_size).max() < 2.526  # where period 2 ends
    stiffness, gradient = chaos.learn(step_size, 0.0, n_updates=80)
    assert (gradient.amax(0) > 1e6).all()
    assert ((stiffness * step_size).amax(0) > chaos.ONSET_OF_CHAOS).all()

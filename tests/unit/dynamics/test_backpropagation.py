"""Recomputed and damped back-propagation against plain back-propagation and loops over it."""

import math

import pytest
import torch

from openmm_nemo.dynamics import StepOptions, StepParameters, rollout
from openmm_nemo.dynamics.backpropagation import (
    AdaptiveDamping,
    GradientGrowth,
    perturbation_growth,
    trainable_rollout,
)
from tests.helpers import generator, normal, random_chain, uniform
from tests.tolerances import assert_close
from tests.unit.dynamics.energies import chain_energy

N_STEPS, N_CHAINS, N_BEADS = 6, 3, 5


@pytest.fixture
def leaves() -> list[torch.Tensor]:
    """Positions, the two step sizes, the two preconditioners, a coefficient and a weight of the energy."""
    made = [
        random_chain(N_CHAINS, N_BEADS),
        uniform(0.01, 0.03, N_CHAINS, seed=1),
        uniform(0.01, 0.03, N_CHAINS, seed=2),
        uniform(0.5, 2, N_CHAINS, N_BEADS, seed=3),
        uniform(0.5, 2, N_CHAINS, N_BEADS, 3, seed=4),
        uniform(0.5, 2, N_CHAINS, seed=5),
        uniform(0.5, 2, seed=6),
    ]
    return [leaf.requires_grad_() for leaf in made]


MASK = torch.ones(N_CHAINS, N_BEADS).double()
TARGETS = normal(N_STEPS + 1, N_CHAINS, N_BEADS, 3, seed=7)


def simulate(leaves, recomputed: bool, **options) -> torch.Tensor:
    x, *parameters, coefficient, weight = leaves
    steps = StepParameters(*parameters, MASK)

    def energy(x, coefficient):
        return coefficient * chain_energy(x, weight)

    if recomputed:
        return trainable_rollout(
            energy, [coefficient], [weight], x, steps, N_STEPS, seed=3, **options
        )
    return rollout(
        lambda x: energy(x, coefficient), x, steps, N_STEPS, seed=3, differentiable=True, **options
    ).x


def loss_of(states: torch.Tensor) -> torch.Tensor:
    """Every state counts."""
    return (states * TARGETS).sum() + (states**2 * TARGETS).sum()


@pytest.mark.parametrize("integrator", ["mixed", "transform", "direct"])
@pytest.mark.parametrize("options", [StepOptions(), StepOptions(0.05, False, True)], ids=str)
def test_states_and_gradients_are_those_of_a_stored_graph(leaves, integrator, options):
    choice = {"integrator": integrator, "options": options, "temperature": 200, "first_step": 70}
    found, expected = (simulate(leaves, recomputed, **choice) for recomputed in (True, False))
    assert_close(found, expected, "rounding")
    gradients = [
        torch.autograd.grad(loss_of(states), leaves, allow_unused=True)
        for states in (found, expected)
    ]
    for one, other in zip(*gradients, strict=True):
        if other is None:
            assert one is None or one.abs().max() == 0
        else:
            assert_close(one, other, "rounding_gradient")


def test_coefficients_and_weights_that_come_from_networks_get_gradients(leaves):
    """The coefficient is a function of a leaf: its gradient flows on."""
    deeper = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    leaves[5] = leaves[5].detach() * deeper.exp()
    (found,) = torch.autograd.grad(loss_of(simulate(leaves, True)), deeper, retain_graph=True)
    (expected,) = torch.autograd.grad(loss_of(simulate(leaves, False)), deeper)
    assert_close(found, expected, "rounding_gradient")


def test_damping_is_that_of_algorithm_4(leaves):
    """x_t = (1 - gamma) stop(x~_t) + gamma x~_t, by autograd over a loop of single steps."""
    gamma = 0.7
    x, *parameters, coefficient, weight = leaves
    steps = StepParameters(*parameters, MASK)
    states = [x]
    for t in range(N_STEPS):
        next_x = rollout(
            lambda x: coefficient * chain_energy(x, weight),
            gamma * states[-1] + (1 - gamma) * states[-1].detach() if t else states[-1],
            steps, 1, seed=3, first_step=t, differentiable=True,
        ).x[1]  # fmt: skip
        states.append(next_x)
    expected = torch.autograd.grad(loss_of(torch.stack(states)), leaves[1:])
    found = torch.autograd.grad(loss_of(simulate(leaves, True, damping=gamma)), leaves[1:])
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, "rounding_gradient")


def test_growth_is_that_of_the_gradient(leaves):
    """Only the last state counts: the gradients by the states tell the growth of each step."""
    growth = GradientGrowth()
    states = simulate(leaves, True, growth=growth, damping=0.5)
    (states[-1] * TARGETS[-1]).sum().backward()
    plain = simulate(leaves, False)
    norms, damped = [], []
    _, *parameters, coefficient, weight = leaves
    gradient = TARGETS[-1]
    for t in reversed(range(N_STEPS)):
        y = plain[t].detach().requires_grad_()
        after = rollout(
            lambda x: coefficient * chain_energy(x, weight), y, StepParameters(*parameters, MASK), 1,
            seed=3, first_step=t, differentiable=True,
        ).x[1]  # fmt: skip
        (before,) = torch.autograd.grad(after, y, gradient)
        damped.append(0.5 ** len(damped) * gradient.flatten(1).norm(dim=1))
        norms.append((before.flatten(1).norm(dim=1) / gradient.flatten(1).norm(dim=1)).log())
        gradient = before
    assert_close(torch.stack(growth.log_growth), torch.stack(norms), "rounding_gradient")
    assert growth.mean() == pytest.approx(float(torch.stack(norms).mean()))
    assert_close(torch.stack(growth.norms), torch.stack(damped), "rounding_gradient")


def test_chains_without_gradient_do_not_damp_the_others(leaves):
    """The loss sees one chain of the batch."""
    growth = GradientGrowth()
    states = simulate(leaves, True, growth=growth)
    (states[-1, 0] * TARGETS[-1, 0]).sum().backward()
    measured = torch.stack(growth.log_growth)
    assert measured[:, 1:].abs().max() == 0
    assert 0 < measured[:, 0].abs().max() < 10
    assert growth.mean() == pytest.approx(float(measured[:, 0].mean()) / N_CHAINS)


def test_damping_adapts_to_the_growth():
    damping = AdaptiveDamping(smallest=0.8, memory=0.5)
    assert damping.factor == 1
    growth = GradientGrowth()
    growth.log_growth.append(torch.full((4,), 0.1))
    for _ in range(30):
        damping.update(growth.mean())
    assert damping.factor == pytest.approx(math.exp(-0.1))
    growth.log_growth[:] = [torch.tensor([math.nan])]
    for _ in range(30):
        damping.update(growth.mean())
    assert damping.factor == pytest.approx(0.8)
    growth.log_growth[:] = [torch.full((4,), -3.0)]
    for _ in range(30):
        damping.update(growth.mean())
    assert damping.factor == 1
    # After as much contraction as you like, two roll-outs tell that there is none any more.
    growth.log_growth[:] = [torch.full((4,), 3.0)]
    damping.update(growth.mean())
    damping.update(growth.mean())
    assert damping.factor == pytest.approx(math.sqrt(0.8))


def test_perturbations_of_a_linear_step_grow_by_its_factor():
    x, mask = normal(2, 5, 3, seed=1), torch.tensor([[1.0] * 5, [1.0] * 3 + [0] * 2]).double()
    factor = torch.tensor([3.0, 0.5]).double().view(2, 1, 1)
    found = perturbation_growth(lambda x: factor * x + 7, x, mask, generator(2))
    torch.testing.assert_close(
        found, torch.log(torch.tensor([3.0, 0.5]).double()), atol=1e-9, rtol=0
    )
    still = perturbation_growth(lambda x: 0 * x, x.requires_grad_(), mask, generator(2))
    (gradient,) = torch.autograd.grad(still.sum(), x)
    assert still.isfinite().all()
    assert gradient.isfinite().all()

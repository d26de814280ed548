"""Backpropagation through a roll-out, against finite differences."""

import itertools
import math

import pytest
import torch

from openmm_nemo.dynamics import INTEGRATORS, StepOptions, StepParameters, rollout
from tests.helpers import random_chain, uniform
from tests.unit.dynamics.energies import chain_energy

EVERY_INTEGRATOR = pytest.mark.parametrize("integrator", INTEGRATORS)
N_STEPS, N_BEADS = 3, 5


def make_leaves():
    """Positions, the two step sizes, the two preconditioners and the stiffness of the energy."""
    leaves = [
        random_chain(1, N_BEADS),
        uniform(0.01, 0.03, 1, seed=1),
        uniform(0.01, 0.03, 1, seed=2),
        uniform(0.5, 2, 1, N_BEADS, seed=3),
        uniform(0.5, 2, 1, N_BEADS, 3, seed=4),
        uniform(0.5, 2, seed=5),
    ]
    return [leaf.requires_grad_() for leaf in leaves]


def simulate(integrator, options, leaves):
    x, cartesian_step, internal_step, cartesian, internal, stiffness = leaves
    return rollout(
        lambda x: chain_energy(x, stiffness),
        x,
        StepParameters(
            cartesian_step, internal_step, cartesian, internal, torch.ones(1, N_BEADS).double()
        ),
        N_STEPS,
        integrator=integrator,
        options=options,
        differentiable=True,
    )


@EVERY_INTEGRATOR
@pytest.mark.parametrize(
    ("clipped", "detrended", "corrected"),
    # All or nothing of it in the unit tier: they take long.
    [
        pytest.param(*chosen, marks=[] if len(set(chosen)) == 1 else pytest.mark.integration)
        for chosen in itertools.product([False, True], repeat=3)
    ],
)
def test_gradients_of_all_states_are_the_finite_differences(
    integrator, clipped, detrended, corrected
):
    options = StepOptions(0.05 if clipped else math.inf, detrended, corrected)
    leaves = make_leaves()
    assert (simulate(integrator, options, leaves).clipped == clipped).all()

    def states(*leaves):
        run = simulate(integrator, options, leaves)
        return run.x[1:], run.energy, run.largest_displacement

    assert torch.autograd.gradcheck(states, leaves, eps=1e-5, atol=1e-6, rtol=1e-5)


@EVERY_INTEGRATOR
def test_every_argument_that_a_step_reads_has_a_gradient(integrator):
    leaves = make_leaves()
    end = simulate(integrator, StepOptions(), leaves).x[-1]
    slopes = torch.autograd.grad((end[..., 0] ** 2).sum(), leaves, allow_unused=True)
    for k, slope in enumerate(slopes):
        # The two integrators of internal coordinates make no Cartesian step.
        unused = integrator != "mixed" and k in (1, 3)
        assert (slope is None or (slope == 0).all()) if unused else (slope != 0).any()

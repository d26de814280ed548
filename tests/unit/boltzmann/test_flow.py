"""Densities of the flow: of samples and of given points, normalised, and those of the Jacobian."""

import math

import pytest
import torch
from torch import nn

from openmm_nemo.boltzmann.flow import StiffFlow, TorsionFlow
from tests.helpers import generator, normal, uniform
from tests.tolerances import assert_close


def random_weights(flow: nn.Module, seed: int = 0, size: float = 0.5) -> None:
    """Nothing is zero, as it is at the beginning."""
    random = generator(seed)
    with torch.no_grad():
        for weight in flow.parameters():
            weight.add_(size * torch.randn(weight.shape, generator=random))


@pytest.fixture
def torus() -> TorsionFlow:
    flow = TorsionFlow(3, bins=8, hidden=16)
    random_weights(flow)
    return flow.double()


@pytest.fixture
def stiff() -> StiffFlow:
    flow = StiffFlow(4, 5, hidden=16)
    random_weights(flow, seed=1)
    return flow.double()


@pytest.fixture(autouse=True)
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_samples_on_the_torus_have_their_density(torus):
    t, log_q = torus.sample(200, generator(1))
    assert t.abs().max() <= math.pi
    assert_close(torus.log_prob(t), log_q, "arccos")


def test_the_density_on_the_torus_is_normalised(torus):
    """Of two angles, on a grid that resolves it."""
    flow = TorsionFlow(2, bins=8, hidden=16)
    random_weights(flow, seed=3, size=0.15)
    grid = -math.pi + 2 * math.pi * (torch.arange(400) + 0.5) / 400
    t = torch.cartesian_prod(grid, grid)
    with torch.no_grad():
        total = flow.log_prob(t).exp().sum() * (2 * math.pi / 400) ** 2
    assert abs(float(total) - 1) < 2e-3


def test_the_density_has_no_seam_in_the_angles_before(torus):
    t = math.pi * uniform(-1, 1, 20, 3, seed=2)
    t[:, 2] = 0.3
    left, right = t.clone(), t.clone()
    left[:, :2], right[:, :2] = -math.pi, math.pi
    assert_close(torus.log_prob(left), torus.log_prob(right), "arccos")


def test_the_density_of_torsions_is_that_of_the_jacobian(torus):
    """From the uniform distribution, by autograd."""
    random = generator(4)
    state = random.get_state()
    uniform_angles = (2 * torch.rand(1, 3, generator=random) - 1) * math.pi
    random.set_state(state)
    t, log_q = torus.sample(1, random)

    def forward(u):
        angles = u[:0]
        for i in range(3):
            angle = u[i : i + 1]
            for spline in torus._splines(i, angles.unsqueeze(0)):
                angle = torch.remainder(spline(angle), 2 * math.pi)
                angle = torch.where(angle > math.pi, angle - 2 * math.pi, angle)
                angle = angle - math.pi * torch.sign(angle)
            angles = torch.cat([angles, angle])
        return angles

    assert_close(torch.cos(forward(uniform_angles[0])), torch.cos(t[0]), "arccos")
    jacobian = torch.autograd.functional.jacobian(forward, uniform_angles[0])
    expected = -3 * math.log(2 * math.pi) - torch.linalg.slogdet(jacobian).logabsdet
    assert_close(log_q[0], expected, "autograd")


def test_stiff_coordinates_are_normal_given_the_torsions(stiff):
    c = normal(1, 4, seed=5)
    mean, log_deviation = stiff.network(c).chunk(2, -1)
    triangle = stiff.lower.tril(-1) + torch.eye(5)
    scale = torch.diag(log_deviation[0].exp()) @ triangle
    expected = torch.distributions.MultivariateNormal(mean[0], scale @ scale.T)
    w, log_q = stiff.sample(c.expand(50, -1), generator(6))
    assert_close(log_q, expected.log_prob(w), "autograd")
    assert_close(stiff.log_prob(w, c.expand(50, -1)), expected.log_prob(w), "autograd")


def test_widening_multiplies_deviations(stiff):
    c = normal(3, 4, seed=7)
    _, before = stiff.network(c).chunk(2, -1)
    mean, _ = stiff.network(c).chunk(2, -1)
    stiff.widen(1.5)
    new_mean, after = stiff.network(c).chunk(2, -1)
    assert_close(after - before, torch.full_like(after, math.log(1.5)), "rounding")
    assert_close(new_mean, mean, "rounding")

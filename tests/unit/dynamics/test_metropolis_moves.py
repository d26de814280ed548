"""Metropolised moves against a calculation from first principles, and what they sample at large steps.

From first principles: proposals and their densities from the definitions, gradients by autograd, and the volume element
as the determinant of the Jacobian of all positions with respect to all internal coordinates and rigid-body motions.
"""

import functools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from openmm_nemo.dynamics import StepParameters, langevin_noise
from openmm_nemo.dynamics.metropolis import (
    CartesianMove,
    InternalMove,
    LangevinMove,
    evaluate,
    metropolis_step,
)
from openmm_nemo.dynamics.noise import acceptance_numbers
from openmm_nemo.geometry import (
    bond_angles,
    cartesian_to_internal,
    internal_to_cartesian,
    rigid_frame,
)
from tests.helpers import random_chain, uniform
from tests.tolerances import assert_close
from tests.unit.dynamics.energies import separable_energy
from tests.unit.dynamics.test_boltzmann import KINDS, correlation, p_value, start

LENGTH = 6
LENGTHS = {
    "three systems": [[6], [5], [2]],
    "two systems of two chains": [[6, 4], [3, 1]],
}


def mask_of(lengths: list[list[int]]) -> Tensor:
    flat = torch.tensor([n for system in lengths for n in system])
    return (torch.arange(LENGTH) < flat[:, None]).double()


def energy_of_system(chains: Tensor) -> Tensor:
    """Springs along chains, an attraction of all pairs, and a well: blind to no motion. Padding is NaN."""
    along = torch.cat([bonds_of(chain) for chain in chains])
    beads = beads_of(chains)
    pairs = (beads[:, None] - beads).square().sum(-1)
    well = 0.01 * (beads * torch.tensor([1.0, 2.0, 0.5]).double()).square().sum()
    return 2 * (along - 3.8).square().sum() + 0.1 * torch.log1p(pairs).sum() + well


def beads_of(x: Tensor) -> Tensor:
    return x[~x.isnan().any(-1)]


def bonds_of(chain: Tensor) -> Tensor:
    beads = beads_of(chain)
    return (beads[1:] - beads[:-1]).norm(dim=-1)


class Case:
    """Padded systems, and one more particle in no chain, where the padding of the last row ends."""

    def __init__(self, name: str):
        lengths = LENGTHS[name]
        self.n_systems, self.n_chains = len(lengths), len(lengths[0])
        self.mask = mask_of(lengths)
        n = len(self.mask)
        self.moving = self.mask.clone()
        self.moving[-1, -1] = 1
        self.x = torch.stack([random_chain(LENGTH, seed=k) for k in range(n)])
        self.parameters = StepParameters(
            uniform(0.1, 0.3, n, seed=1),
            uniform(0.1, 0.3, n, seed=2),
            uniform(0.5, 1.5, n, LENGTH, seed=3) * self.moving,
            uniform(0.5, 1.5, n, LENGTH, 3, seed=4) * self.mask[..., None],
            self.mask,
        )

    def energy(self, x: Tensor) -> Tensor:
        shown = x.masked_fill(self.moving[..., None] == 0, math.nan)
        systems = shown.view(self.n_systems, self.n_chains, LENGTH, 3)
        return torch.stack([energy_of_system(system) for system in systems])

    def rows(self, system: int) -> range:
        return range(system * self.n_chains, (system + 1) * self.n_chains)


def coordinates(length: int) -> tuple[list[int], list[int]]:
    """Rows and columns of the internal coordinates of a chain."""
    pairs = [(j, k) for j in range(length) for k in range(min(j, 3))]
    return [j for j, _ in pairs], [k for _, k in pairs]


def log_determinant(x: Tensor) -> Tensor:
    """log |det dx/d(z, translation, rotation)| of one chain, from the Jacobian."""
    if len(x) == 1:
        return x.new_zeros(())
    z, (origin, frame) = cartesian_to_internal(x), rigid_frame(x.detach())

    def positions(q: Tensor) -> Tensor:
        return internal_to_cartesian(q, origin, frame)

    rows, columns = coordinates(len(x))
    jacobian = torch.autograd.functional.jacobian(positions, z, create_graph=True, vectorize=True)
    internal = jacobian[:, :, rows, columns].flatten(0, 1)
    moves = [torch.eye(3).double().repeat(len(x), 1)]
    # Two beads have two rotations.
    arms = positions(z) - origin
    axes = frame.T if len(x) > 2 else frame.T[1:]
    moves += [
        torch.stack([torch.linalg.cross(axis.expand_as(arms), arms).flatten() for axis in axes], 1)
    ]
    return torch.linalg.slogdet(torch.cat([internal, *moves], 1)).logabsdet


def proposal_and_weight(
    log_density: Callable[[Tensor], Tensor], w: Tensor, variance: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """A proposal from w (n,), and log A."""

    def mean(at: Tensor) -> tuple[Tensor, Tensor]:
        leaf = at.clone().requires_grad_()
        value = log_density(leaf)
        (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True, materialize_grads=True)
        return value.detach(), at + variance / 2 * gradient

    here, forth = mean(w)
    proposal = forth + variance.sqrt() * noise
    there, back = mean(proposal)
    log_q = [
        Normal(centre, variance.sqrt()).log_prob(end).sum()
        for centre, end in ((back, w), (forth, proposal))
    ]
    return proposal, there - here + log_q[0] - log_q[1]


def cartesian_expected(case: Case, x: Tensor, system: int, noise: Tensor):
    """Positions of a system that a Cartesian sub-step proposes, and log A."""
    rows = list(case.rows(system))
    inside = case.moving[rows] > 0
    p = case.parameters
    variance = (p.cartesian_step[:, None] * p.cartesian_preconditioner)[rows][inside]

    def placed(w: Tensor) -> Tensor:
        beads = x[rows].index_put((inside,), w.view(-1, 3))
        return x.index_put((torch.tensor(rows),), beads)

    def log_density(w: Tensor) -> Tensor:
        return -case.energy(placed(w))[system]

    start_w, spread = x[rows][inside].flatten(), variance[:, None].expand(-1, 3).flatten()
    w, log_a = proposal_and_weight(log_density, start_w, spread, noise[rows][inside].flatten())
    return placed(w)[rows], log_a


def internal_expected(case: Case, x: Tensor, system: int, noise: Tensor):
    """The same for an internal sub-step; all internal coordinates of all chains are one vector."""
    p = case.parameters
    variance = p.internal_step[:, None, None] * p.internal_preconditioner
    index = [
        (row, j, k)
        for row in case.rows(system)
        for j, k in zip(*coordinates(int(case.mask[row].sum())), strict=True)
    ]
    index = tuple(torch.tensor(part) for part in zip(*index, strict=True))
    chains = [(row, int(case.mask[row].sum())) for row in case.rows(system)]
    z = torch.zeros_like(x)
    for row, n in chains:
        if n > 1:
            z[row, :n] = cartesian_to_internal(x[row, :n])

    def placed(w: Tensor) -> Tensor:
        all_z, y = z.index_put(index, w), x.clone()
        for row, n in chains:
            if n > 1:
                y[row, :n] = internal_to_cartesian(all_z[row, :n], *rigid_frame(x[row, :n]))
        return y

    def log_density(w: Tensor) -> Tensor:
        y = placed(w)
        volumes = [log_determinant(y[row, :n]) for row, n in chains]
        return -case.energy(y)[system] + torch.stack(volumes).sum()

    w, log_a = proposal_and_weight(log_density, z[index], variance[index], noise[index])
    return placed(w)[list(case.rows(system))], log_a


MOVES: dict[str, tuple[LangevinMove, Callable]] = {
    "Cartesian": (CartesianMove(), cartesian_expected),
    "internal": (InternalMove(), internal_expected),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("name", LENGTHS)
def test_proposals_and_weights_are_those_of_a_calculation_from_first_principles(name, move):
    case = Case(name)
    specified, from_first_principles = MOVES[move]
    seeds = torch.full((len(case.x),), 7)
    noise = langevin_noise(seeds, torch.arange(len(case.x)), 0, 8, LENGTH)[:, :, :, 0]
    state, weights = evaluate(case.energy, case.x), []
    for p in noise:
        x, dw = specified.propose(state, p, case.parameters)
        proposal = evaluate(case.energy, x)
        log_weight = specified.log_weight(state, proposal, dw, case.parameters)
        for system in range(case.n_systems):
            expected, log_a = from_first_principles(case, state.x, system, p)
            assert_close(x[list(case.rows(system))], expected, "autograd")
            # Rounding errors are relative to the energies whose difference it is.
            u = state.energy[system]
            assert_close(log_weight[system] + u, log_a + u, "autograd")
        weights.append(log_weight)
        state = proposal
    # They are not all near zero, where any weight would do.
    assert torch.stack(weights).abs().amax(0).min() > 0.1


def test_decisions_are_by_the_weight_and_of_all_chains_of_a_system():
    case = Case("two systems of two chains")
    seeds = torch.full((4,), 3)
    taken = []
    state = evaluate(case.energy, case.x)
    for step in range(40):
        noise = langevin_noise(seeds, torch.arange(4), step, 1, LENGTH)[0]
        uniforms = acceptance_numbers(torch.tensor([3, 4]), step, 1)[0]
        after = metropolis_step(case.energy, state, noise, uniforms, case.parameters)
        assert torch.equal(after.accepted, uniforms.log() < after.log_weight)
        moved = (after.state.x != state.x).any(-1).view(2, 2, LENGTH)
        inside = case.moving.view(2, 2, LENGTH) > 0
        for system in range(2):
            cartesian, _ = after.accepted[system]
            assert torch.equal(moved[system], inside[system]) == bool(cartesian)
            if not after.accepted[system].any():
                assert not moved[system].any()
        expected = evaluate(case.energy, after.state.x)
        assert_close(after.state.energy, expected.energy, "rounding")
        assert_close(after.state.gradient, expected.gradient, "rounding_gradient")
        taken.append(after.accepted)
        state = after.state
    rates = torch.stack(taken).double().mean(0)
    assert rates.min() > 0.1
    assert rates.max() < 0.95


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_proposal_without_an_energy_is_not_taken(broken):
    case = Case("three systems")
    state = evaluate(case.energy, case.x)

    def energy(x: Tensor) -> Tensor:
        return case.energy(x) + broken

    noise = langevin_noise(torch.arange(3), torch.arange(3), 0, 1, LENGTH)[0]
    after = metropolis_step(
        energy, state, noise, torch.full((3, 2), 1e-300).double(), case.parameters
    )
    assert not after.accepted.any()
    for old, new in zip(state, after.state, strict=True):
        assert torch.equal(old, new)


@functools.cache
def sampled(n_steps: int) -> tuple[dict, dict, Tensor]:
    """Bonds, angles and dihedrals after steps of which about half are accepted; what is left of the start; rates."""
    first = start()
    n, length = first.shape[:2]
    one = torch.ones(n, length, dtype=torch.float64)
    parameters = StepParameters(
        0.2 * one[:, 0], 0.4 * one[:, 0], one, one[..., None].repeat(1, 1, 3), one
    )
    seeds = 5000 + torch.arange(n)
    state, taken = evaluate(separable_energy, first), []
    for step in range(n_steps):
        noise = langevin_noise(seeds, torch.zeros_like(seeds), step, 1, length)[0]
        uniforms = acceptance_numbers(seeds, step, 1)[0]
        state, accepted, _ = metropolis_step(separable_energy, state, noise, uniforms, parameters)
        taken.append(accepted)
    before, after = bond_angles(first), bond_angles(state.x)
    left = {
        "b": correlation(before[0], after[0]),
        "a": correlation(before[1], after[1]),
        "d": correlation(torch.exp(1j * before[2]), torch.exp(1j * after[2])),
    }
    values = {kind: v.numpy() for kind, v in zip(KINDS, after, strict=True)}
    return values, left, torch.stack(taken).double().mean((0, 1))


N_STEPS = 150


@pytest.mark.boltzmann
@pytest.mark.parametrize("kind", KINDS)
def test_they_sample_the_boltzmann_distribution_at_large_steps(kind):
    values, left, rates = sampled(N_STEPS)
    assert ((rates > 0.3) & (rates < 0.8)).all()
    assert left[kind] < (0.1 if kind == "d" else 0.05)
    assert p_value(values[kind], kind) > 0.01
    if kind != "d":
        assert p_value(values[kind], kind, volume_of_x=False) < 1e-6


@pytest.mark.boltzmann
def test_without_the_volume_element_in_the_weight_they_would_sample_something_else(monkeypatch):
    monkeypatch.setattr(InternalMove, "log_volume", CartesianMove.log_volume)
    values, _, _ = sampled.__wrapped__(N_STEPS)
    assert min(p_value(values[kind], kind) for kind in ("b", "a")) < 1e-6

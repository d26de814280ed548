"""What every term of the energy must do, whatever its form: one battery for all of `TERMS`."""

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from openmm_nemo.config import NemoConfig
from openmm_nemo.energies import TERMS, ComplexEnergy, Energy, Origin
from openmm_nemo.energies.scales import Scales
from openmm_nemo.networks import BatchRenorm
from tests.helpers import DTYPES, degenerate_chains, generator, normal, random_rotation
from tests.tolerances import assert_close
from tests.unit.models.chains import make_chain

EACH_TERM = pytest.mark.parametrize("name", TERMS)
NODE_CHANNELS, PAIR_CHANNELS = 24, 8
STRETCH = 60.0  # Angstrom
STEP = 1e-5  # of central differences


class Case(NamedTuple):
    """An energy of one term, with chains and coefficients for it."""

    energy: Energy
    x: Tensor
    coefficients: list[Tensor]
    mask: Tensor

    def u(self, x: Tensor) -> Tensor:
        """U (B',) of ``x (B', L, 3)``; a batch size of 1 of the coefficients is broadcast."""
        mask = self.mask.expand(len(x), -1)
        return self.energy(x, self.coefficients, mask)

    def u_and_gradient(self, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = (self.x if x is None else x).detach().requires_grad_()
        u = self.u(x)
        return u.detach(), torch.autograd.grad(u.sum(), x)[0]


def config_of(name: str) -> NemoConfig:
    return replace(NemoConfig.preset("tiny"), terms=(name,))


def move_from_initial_values(module: torch.nn.Module) -> None:
    """Move every parameter and every running statistic."""
    random = generator(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=random)
        for part in module.modules():
            if isinstance(part, BatchRenorm):
                part.running_mean.normal_(std=0.2, generator=random)
                part.running_var.uniform_(0.5, 1.5, generator=random)


def make_head(name: str):
    torch.manual_seed(5)
    head = TERMS[name].make_head(config_of(name), NODE_CHANNELS, PAIR_CHANNELS)
    head.initialise()
    return head


def features(mask: Tensor, size: float = 1) -> tuple[Tensor, Tensor]:
    """What a sequence network could give: numbers of this size, at padding, too."""
    b, n = mask.shape
    h = size * normal(b, NODE_CHANNELS, n, seed=6).to(mask)
    return h, size * normal(b, PAIR_CHANNELS, n, n, seed=7).to(mask)


def make_mask(lengths: list[int], dtype: torch.dtype) -> Tensor:
    mask = torch.zeros(len(lengths), max(lengths), dtype=dtype)
    for row, length in zip(mask, lengths, strict=True):
        row[:length] = 1
    return mask


def make_case(
    name: str, lengths: list[int], dtype=torch.float64, chains=None, size: float = 1
) -> Case:
    """Real chains, or the ones that are given; positions of padding are far away."""
    torch.manual_seed(4)
    energy = Energy(config_of(name))
    move_from_initial_values(energy)
    head = make_head(name)
    move_from_initial_values(head)
    mask = make_mask(lengths, dtype)
    x = 1e3 * normal(*mask.shape, 3, seed=8).to(dtype)
    for k, length in enumerate(lengths):
        x[k, :length] = make_chain(length, k, dtype) if chains is None else chains[k].to(dtype)
    with torch.no_grad():
        coefficients = head.to(dtype)(*features(mask, size), mask)
    return Case(energy.eval().to(dtype), x, coefficients, mask)


def alone(case: Case, name: str, k: int) -> Case:
    """Chain k of a batch, without padding."""
    n = int(case.mask[k].sum())
    own = [
        values[k : k + 1, :n, :n] if what.of_pairs else values[k : k + 1, :n]
        for what, values in zip(
            TERMS[name].coefficients(config_of(name)), case.coefficients, strict=True
        )
    ]
    return Case(case.energy, case.x[k : k + 1, :n], own, case.mask[k : k + 1, :n])


def many_chains(length: int, dtype: torch.dtype) -> Tensor:
    """The energy of one chain may be close to zero, and rounding is relative to the terms of its sum."""
    return torch.stack([make_chain(length, seed, dtype) for seed in range(6)])


@EACH_TERM
@DTYPES
def test_rigid_motions_change_nothing(name, dtype):
    case = make_case(name, [30], dtype)
    x = many_chains(30, dtype)
    u, gradient = case.u_and_gradient(x)
    for seed in range(3):
        q = random_rotation(seed).to(dtype)
        shift = 30 * normal(3, seed=10 + seed).to(dtype)
        moved, moved_gradient = case.u_and_gradient(x @ q.T + shift)
        assert_close(moved, u, "rigid_motion")
        assert_close(moved_gradient, gradient @ q.T, "rigid_motion_gradient")


@EACH_TERM
def test_mirror_images_differ_if_the_term_is_handed(name):
    case = make_case(name, [30])
    x = many_chains(30, torch.float64)
    u, mirrored = case.u(x), case.u(-x)
    if TERMS[name].handed:
        assert (u - mirrored).abs().max() > 1e-2 * u.abs().max()
    else:
        assert_close(mirrored, u, "rigid_motion")


@EACH_TERM
@DTYPES
def test_padded_batches_equal_single_chains(name, dtype):
    case = make_case(name, [4, 23, 11], dtype)
    u, gradient = case.u_and_gradient()
    assert gradient[case.mask == 0].eq(0).all()
    for k in range(len(u)):
        single = alone(case, name, k)
        expected, expected_gradient = single.u_and_gradient()
        assert_close(u[k : k + 1], expected, "rounding")
        n = single.x.shape[1]
        assert_close(gradient[k : k + 1, :n], expected_gradient, "rounding_gradient")


@EACH_TERM
@pytest.mark.parametrize("garbage", [1e30, float("inf"), float("nan")])
def test_positions_of_padding_are_not_read(name, garbage):
    case = make_case(name, [9, 5], torch.float32)
    expected, expected_gradient = case.u_and_gradient()
    x = case.x.clone()
    x[1, 5:] = garbage
    u, gradient = case.u_and_gradient(x)
    assert u.equal(expected)
    assert gradient.equal(expected_gradient)


@EACH_TERM
@DTYPES
@pytest.mark.parametrize("length", [4, 15])
def test_coefficients_of_a_batch_of_one_are_those_of_all(name, dtype, length):
    case = make_case(name, [length], dtype)
    x = torch.stack([make_chain(length, seed, dtype) for seed in range(3)])
    repeated = [values.expand(3, *values.shape[1:]) for values in case.coefficients]
    u = case.u(x)
    assert u.shape == (3,)
    assert u.dtype == dtype
    assert_close(u, case._replace(coefficients=repeated).u(x), "rounding")


@EACH_TERM
@DTYPES
@pytest.mark.parametrize("shape", degenerate_chains())
def test_degenerate_chains_have_finite_forces(name, dtype, shape):
    chain = degenerate_chains()[shape]
    case = make_case(name, [len(chain)], dtype, [chain])
    assert_finite_to_second_order(case)


@EACH_TERM
@DTYPES
def test_a_bond_stretched_by_far_has_finite_forces(name, dtype):
    case = make_case(name, [12], dtype)
    along = torch.nn.functional.normalize(case.x[:, 6] - case.x[:, 5], dim=-1)
    case.x[:, 6:] += STRETCH * along
    assert_finite_to_second_order(case)


@EACH_TERM
@pytest.mark.parametrize("size", [1, 300])
def test_the_energy_is_bounded_from_below(name, size):
    """By minus the sum of |coefficients|: functions are at most 1, times a scale, or have positive coefficients."""
    case = make_case(name, [20], size=size)
    lowest = -largest_scale(case.energy.terms[name]) * sum(
        values.abs().sum() for values in case.coefficients
    )
    for shape, x in conformations(20).items():
        u = case.u(x)
        assert u.isfinite().all(), shape
        assert (u >= lowest).all(), (shape, u.min(), lowest)


def largest_scale(term: torch.nn.Module) -> float:
    """1 for a term without scales."""
    scales = [part().max().item() for part in term.modules() if isinstance(part, Scales)]
    return max(scales, default=1.0)


def conformations(length: int) -> dict[str, Tensor]:
    """Chains (B, L, 3), Angstrom, from a point to lines that are far longer than any protein."""
    chains = many_chains(length, torch.float64)
    line = torch.arange(length)[:, None] * torch.nn.functional.normalize(normal(3, seed=41), dim=-1)
    return {
        "chains": chains,
        "random points": torch.stack([size * normal(length, 3, seed=40) for size in (1, 5, 25)]),
        "collapsed": torch.stack([size * chains[0] for size in (0, 1e-6, 1e-3, 0.1)]),
        "stretched": torch.stack([size * chains[0] for size in (2, 10, 1e3, 1e6)]),
        "broken at one bond": chains[0] + 1e6 * torch.ones(length, length).tril(-1)[..., None],
        "straight": torch.stack([size * line for size in (1e-3, 3.8, 10, 1e6)]),
    }


def assert_finite_to_second_order(case: Case) -> None:
    x = case.x.detach().requires_grad_()
    u = case.u(x)
    (gradient,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((gradient**2).sum(), x)
    for values in (u, gradient, second):
        assert values.isfinite().all()


@EACH_TERM
def test_forces_are_those_of_finite_differences(name):
    case = make_case(name, [15])
    _, gradient = case.u_and_gradient()
    shifts = STEP * torch.eye(45, dtype=torch.float64).reshape(45, 15, 3)
    with torch.no_grad():
        numerical = (case.u(case.x + shifts) - case.u(case.x - shifts)) / (2 * STEP)
    assert_close(gradient.flatten(), numerical, "finite_difference")


@EACH_TERM
def test_functions_of_the_forces_can_be_differentiated(name):
    """By positions, coefficients and weights, as training does: in random directions, against finite differences."""
    case = make_case(name, [9, 6])
    weight = normal(*case.x.shape, seed=20) * case.mask.unsqueeze(-1)
    leaves = [case.x, *case.coefficients, *case.energy.parameters()]
    for leaf in leaves:
        leaf.requires_grad_()

    def value() -> Tensor:
        u = case.u(case.x)
        (gradient,) = torch.autograd.grad(u.sum(), case.x, create_graph=True)
        return (weight * gradient + gradient**2).sum()

    def value_after(shift: float) -> Tensor:
        with torch.no_grad():
            for leaf, direction in zip(leaves, directions, strict=True):
                leaf += shift * direction
        return value().detach()

    gradients = torch.autograd.grad(value(), leaves, allow_unused=True, materialize_grads=True)
    analytic, numerical = [], []
    for seed in range(4):
        directions = [normal(*leaf.shape, seed=100 * seed + k) for k, leaf in enumerate(leaves)]
        products = zip(gradients, directions, strict=True)
        analytic.append(torch.stack([(g * d).sum() for g, d in products]).sum())
        numerical.append((value_after(STEP) - value_after(-2 * STEP)) / (2 * STEP))
        value_after(STEP)  # where it was
    assert_close(torch.stack(analytic), torch.stack(numerical), "finite_difference")


@EACH_TERM
@DTYPES
def test_torchscript_equals_eager(name, dtype):
    case = make_case(name, [9, 6], dtype)
    u, gradient = case.u_and_gradient()
    scripted = case._replace(energy=torch.jit.script(case.energy))
    for _ in range(3):  # the profiling executor optimises after the first calls
        again, again_gradient = scripted.u_and_gradient()
        assert_close(again, u, "rounding")
        assert_close(again_gradient, gradient, "rounding_gradient")


@EACH_TERM
def test_the_head_gives_what_the_term_takes(name):
    mask = make_mask([9, 5], torch.float64)
    head = make_head(name).double()
    move_from_initial_values(head)  # some start from zero
    values = head(*features(mask), mask)
    declared = TERMS[name].coefficients(config_of(name))
    assert len(values) == len(declared) == Energy(config_of(name)).terms[name].n_coefficients
    for value, what in zip(values, declared, strict=True):
        assert value.shape == (2, 9, *((9,) if what.of_pairs else ()), what.channels)
        assert value[0].ne(0).any()
        there = mask[:, :, None] * mask[:, None] if what.of_pairs else mask
        assert value[there == 0].eq(0).all()


@EACH_TERM
def test_heads_scale_their_coefficients(name):
    mask = make_mask([9], torch.float64)
    h, p = features(mask)
    factor, strength = 4.0, 3.0
    before, after = make_head(name).double(), make_head(name).double()
    move_from_initial_values(before)  # some start from zero
    move_from_initial_values(after)
    after.scale(factor, strength)
    for value, scaled in zip(before(h, p, mask), after(h, p, mask), strict=True):
        ratios = (scaled / value).flatten(0, -2)
        # Channel by channel: the factor alone where it holds the chain together.
        holds = ratios.median(0).values < factor * strength**0.5
        expected = torch.where(holds, factor, factor * strength).double()
        assert_close(ratios, expected.expand_as(ratios), "scaled_head")


# Several chains

JOINING = pytest.mark.parametrize("name", [name for name in TERMS if TERMS[name].joins_chains])


def test_some_terms_join_chains_and_others_say_so():
    assert {name for name in TERMS if not TERMS[name].joins_chains} == {"learned"}
    term = TERMS["learned"](config_of("learned"))
    with pytest.raises(NotImplementedError):
        term.between(torch.zeros(1, 4, 3), torch.zeros(1, 4, 3), [], [])


def make_complex(
    name: str, lengths: list[int], dtype=torch.float64
) -> tuple[ComplexEnergy, Tensor]:
    """Energy of chains, with coefficients of a head, and chains that interpenetrate."""
    case = make_case(name, [sum(lengths)], dtype)
    coefficients = [values[0] for values in case.coefficients]
    sequence = ":".join("A" * n for n in lengths)
    energy = ComplexEnergy(case.energy, coefficients, sequence, Origin("", "", config_of(name)))
    chains = [make_chain(n, 30 + k, dtype) for k, n in enumerate(lengths)]
    x = torch.cat([chain - chain.mean(0) + 4 * k for k, chain in enumerate(chains)])
    return energy, x[None]


@JOINING
def test_chains_that_change_places_have_the_same_energy(name):
    """With the coefficients of all pairs in their new places."""
    energy, x = make_complex(name, [9, 5, 14])
    order = [*range(14, 28), *range(9), *range(9, 14)]
    parts = [
        part.value[order][:, order] if part.value.dim() == 3 else part.value[order]
        for part in energy.coefficients
    ]
    moved = ComplexEnergy(energy.network, parts, f"{'A' * 14}:{'A' * 9}:{'A' * 5}", energy.origin)
    assert_close(moved(x[:, order]), energy(x), "rounding")


@JOINING
@DTYPES
def test_the_energy_between_chains_does_not_depend_on_their_order_in_any_bit(name, dtype):
    energy, x = make_complex(name, [9, 7], dtype)
    forth, back = energy._part(0, 9, 9, 7), energy._part(9, 7, 0, 9)
    first, second = x[:, :9], x[:, 9:]
    u = energy.network.between(first, second, forth, back)
    assert u.equal(energy.network.between(second, first, back, forth))


@JOINING
def test_the_energy_of_far_chains_is_that_of_each_alone(name):
    energy, x = make_complex(name, [9, 5])
    x[:, 9:] += 200
    alone = 0
    for rows in (slice(0, 9), slice(9, 14)):
        own = [
            v[:, rows, rows] if v.dim() == 4 else v[:, rows] for v in energy.coefficient_values()
        ]
        here = x[:, rows]
        alone = alone + energy.network(here, own, torch.ones_like(here[..., 0]))
    assert_close(energy(x), alone, "rounding")


@JOINING
@DTYPES
def test_far_chains_exert_no_forces_on_each_other(name, dtype):
    energy, x = make_complex(name, [9, 5], dtype)
    x[:, 9:] += 200
    x.requires_grad_()
    u = energy.network.between(
        x[:, :9], x[:, 9:], energy._part(0, 9, 9, 5), energy._part(9, 5, 0, 9)
    )
    assert u.eq(0).all()
    if u.requires_grad:  # a term without any energy between chains does not
        assert torch.autograd.grad(u.sum(), x)[0].eq(0).all()


@JOINING
@DTYPES
def test_rigid_motions_of_a_complex_change_nothing(name, dtype):
    energy, x = make_complex(name, [9, 5, 14], dtype)
    q = random_rotation(1).to(dtype)
    moved = x @ q.T + 30 * normal(3, seed=2).to(dtype)
    assert_close(energy(moved), energy(x), "rigid_motion")


@JOINING
def test_forces_between_chains_are_those_of_finite_differences(name):
    energy, x = make_complex(name, [6, 5])
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(energy(x).sum(), x)
    shifts = STEP * torch.eye(33, dtype=torch.float64).reshape(33, 11, 3)
    with torch.no_grad():
        numerical = (energy(x + shifts) - energy(x - shifts)) / (2 * STEP)
    assert_close(gradient.flatten(), numerical, "finite_difference")


@JOINING
@DTYPES
def test_chains_in_one_place_have_finite_forces(name, dtype):
    energy, x = make_complex(name, [7, 7], dtype)
    x = torch.cat([x[:, :7], x[:, :7]], dim=1).requires_grad_()
    u = energy(x)
    (gradient,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((gradient**2).sum(), x)
    for values in (u, gradient, second):
        assert values.isfinite().all()


@JOINING
@DTYPES
def test_torchscript_of_a_complex_equals_eager(name, dtype):
    energy, x = make_complex(name, [6, 9], dtype)
    scripted = torch.jit.script(energy)
    for _ in range(3):  # as above
        assert_close(scripted(x), energy(x), "rounding")

"""Structure network and energy: invariance, smoothness, padding and export."""

import pytest
import torch

from openmm_nemo.config import NemoConfig
from openmm_nemo.energies import Energy
from openmm_nemo.models import NemoModel
from tests.tolerances import assert_close
from tests.unit.models.chains import (
    DEGENERATE_CHAINS,
    DTYPES,
    make_batch,
    make_chain,
    make_model,
    random_rotation,
)


def make_energy(length: int, preset: str = "tiny", dtype=torch.float64):
    """U(x) of one protein as a function of ``x (B, L, 3)``."""
    model = make_model(preset, dtype=dtype)
    _, s, mask = make_batch([length], 20, dtype)
    with torch.no_grad():
        out = model.sequence_network(s, mask)

    def energy(x):
        return model.energy(x, out.coefficients, mask.expand(x.shape[:2]))

    return energy


def energy_and_gradient(energy, x):
    x = x.detach().requires_grad_()
    u = energy(x)
    return u.detach(), torch.autograd.grad(u.sum(), x)[0]


def test_energy_is_two_dot_products():
    model = make_model()
    x, s, mask = make_batch([9, 6], 20)
    out = model.sequence_network(s, mask)
    f1, f2 = model.energy.terms["learned"].structure_network(x, mask)
    expected = torch.einsum("bic,bic->b", out.coefficients[0], f1) + torch.einsum(
        "bijc,bijc->b", out.coefficients[1], f2
    )
    assert_close(model.energy(x, out.coefficients, mask), expected, "rounding")


def test_features_are_bounded_but_for_the_bond_strain():
    model = make_model()
    x, _, mask = make_batch([9], 20)
    x[:, 5:] += torch.tensor([40.0, 0, 0])
    f1, f2 = model.energy.terms["learned"].structure_network(x, mask)
    b = (x[0, 1:] - x[0, :-1]).norm(dim=-1)
    assert b.max() > 30
    assert f1[0, 0, 0] == 0
    assert_close(f1[0, 1:, 0], (1 + (b - 3.8) ** 2).sqrt() - 1, "rounding")
    assert f1[..., 1:].abs().max() <= 1
    assert f2.abs().max() <= 1


@DTYPES
@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_rigid_motions_change_nothing(preset, dtype):
    energy = make_energy(30, preset, dtype)
    # Several chains: the energy of one may be close to zero, and rounding is relative to its terms.
    x = torch.stack([make_chain(30, seed, dtype) for seed in range(6)])
    u, gradient = energy_and_gradient(energy, x)
    for seed in range(3):
        q = random_rotation(seed, dtype)
        shift = 30 * torch.randn(3, dtype=dtype)
        moved, moved_gradient = energy_and_gradient(energy, x @ q.T + shift)
        assert_close(moved, u, "rigid_motion")
        assert_close(moved_gradient, gradient @ q.T, "rigid_motion_gradient")


def test_mirror_images_differ():
    energy = make_energy(30)
    x = make_chain(30, 3).unsqueeze(0)
    u, mirrored = energy(x).item(), energy(-x).item()
    assert abs(u - mirrored) > 1e-2 * abs(u)


def test_mirror_images_of_pairs_differ_in_the_pair_features():
    model = make_model()
    x, _, mask = make_batch([12], 20)
    _, f2 = model.energy.terms["learned"].structure_network(x, mask)
    _, mirrored = model.energy.terms["learned"].structure_network(-x, mask)
    assert (f2 - mirrored).abs().max() > 1e-2


@DTYPES
@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_padded_batches_equal_single_proteins(preset, dtype):
    model = make_model(preset, dtype=dtype)
    lengths = [4, 23, 11]
    torch.manual_seed(0)
    x, s, mask = make_batch(lengths, 20, dtype, padding=1e4)
    out = model.sequence_network(s, mask)
    x.requires_grad_()
    energies = model.energy(x, out.coefficients, mask)
    gradient = torch.autograd.grad(energies.sum(), x)[0]
    assert gradient[mask == 0].eq(0).all()
    for k, n in enumerate(lengths):
        alone = x[k : k + 1, :n].detach().requires_grad_()
        l1, l2 = out.coefficients
        own = [l1[k : k + 1, :n], l2[k : k + 1, :n, :n]]
        energy = model.energy(alone, own, mask[k : k + 1, :n])
        assert_close(energies[k : k + 1].detach(), energy.detach(), "rounding")
        assert_close(
            gradient[k : k + 1, :n], torch.autograd.grad(energy.sum(), alone)[0], "rounding"
        )


@pytest.mark.parametrize("garbage", [1e30, float("inf"), float("nan")])
def test_positions_of_padding_are_not_read(garbage):
    model = make_model(dtype=torch.float32)
    x, s, mask = make_batch([9, 5], 20, torch.float32)
    out = model.sequence_network(s, mask)
    expected = model.energy(x, out.coefficients, mask)
    x[1, 5:] = garbage
    x.requires_grad_()
    energies = model.energy(x, out.coefficients, mask)
    assert energies.equal(expected)
    assert torch.autograd.grad(energies.sum(), x)[0].isfinite().all()


def test_gradient_is_that_of_finite_differences():
    energy = make_energy(15, "small")
    x = make_chain(15, 2).unsqueeze(0)
    _, gradient = energy_and_gradient(energy, x)
    step = 1e-5
    shifts = step * torch.eye(45, dtype=torch.float64).reshape(45, 15, 3)
    numerical = (energy(x + shifts) - energy(x - shifts)) / (2 * step)
    assert_close(gradient.flatten(), numerical.detach(), "finite_difference")


def test_second_derivatives():
    energy = make_energy(6)
    x = make_chain(6, 4).unsqueeze(0).requires_grad_()
    assert torch.autograd.gradcheck(energy, x)
    assert torch.autograd.gradgradcheck(energy, x)


@DTYPES
@pytest.mark.parametrize("name", DEGENERATE_CHAINS)
def test_degenerate_chains_stay_finite(name, dtype):
    x = DEGENERATE_CHAINS[name].to(dtype).unsqueeze(0).requires_grad_()
    u = make_energy(x.shape[1], dtype=dtype)(x)
    (gradient,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((gradient**2).sum(), x)
    assert u.isfinite().all()
    assert gradient.isfinite().all()
    assert second.isfinite().all()


@pytest.mark.parametrize("angle", [0.0, torch.pi])
def test_energy_is_continuous_where_an_angle_becomes_straight(angle):
    """The frame of the middle point flips there."""
    energy = make_energy(9)
    x = make_chain(9, 5)
    u = (x[4] - x[3]) / 3.8
    side = torch.linalg.cross(u, x[3] - x[2])
    side = side / side.norm()

    def bent(epsilon):
        turn = torch.tensor(torch.pi - angle + epsilon)
        step = x[4] + 3.8 * (turn.cos() * u + turn.sin() * side)
        return torch.cat([x[:5], step - x[5] + x[5:]]).unsqueeze(0)

    jump = energy(bent(1e-5)) - energy(bent(-1e-5))
    assert jump.abs().item() < 1e-3


def test_energy_is_continuous_where_two_points_meet():
    energy = make_energy(9)
    x = make_chain(9, 5)
    direction = torch.nn.functional.normalize(torch.ones(3, dtype=torch.float64), dim=0)

    def near(epsilon):
        y = x.clone()
        y[7] = y[2] + epsilon * direction
        return y.unsqueeze(0)

    jump = energy(near(1e-4)) - energy(near(-1e-4))
    assert jump.abs().item() < 0.02


@pytest.mark.parametrize("preset", ["tiny", "small"])
@pytest.mark.parametrize("length", [20, 100, 200])
def test_untrained_forces_are_about_one(preset, length):
    """In kT / Angstrom, whatever the length of the chain."""
    squares = []
    for seed in range(3):
        torch.manual_seed(seed)
        model = NemoModel(NemoConfig.preset(preset))
        generator = torch.Generator().manual_seed(seed)
        index = torch.randint(0, 20, (length,), generator=generator)
        protein = model.condition("".join("ACDEFGHIKLMNPQRSTVWY"[i] for i in index))
        _, gradient = protein.energy_and_gradient(make_chain(length, seed, torch.float32))
        squares.append((gradient**2).sum(-1).mean())
    assert 0.5 < torch.stack(squares).mean().sqrt() < 2


@DTYPES
def test_torchscript_equals_eager(dtype):
    model = make_model(dtype=dtype)
    x, s, mask = make_batch([9, 6], 20, dtype)
    out = model.sequence_network(s, mask)
    x.requires_grad_()
    scripted = torch.jit.script(model.energy)
    expected = model.energy(x, out.coefficients, mask)
    force = torch.autograd.grad(expected.sum(), x)[0]
    for _ in range(3):  # the profiling executor optimises after the first calls
        u = scripted(x, out.coefficients, mask)
        assert_close(u.detach(), expected.detach(), "rounding")
        assert_close(torch.autograd.grad(u.sum(), x)[0], force, "rounding")


def test_initialisation_follows_the_seed():
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(Energy(NemoConfig.preset("tiny")).state_dict())
    assert all(states[0][key].equal(states[1][key]) for key in states[0])
    assert not states[0]["terms.learned.structure_network.pair_input.weight"].equal(
        states[2]["terms.learned.structure_network.pair_input.weight"]
    )

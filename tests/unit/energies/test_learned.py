"""Learned features: what is particular to them; `test_contract.py` has what holds for every term."""

import pytest
import torch

from openmm_nemo.config import NemoConfig
from openmm_nemo.energies.learned import LearnedFeatures
from openmm_nemo.models import NemoModel
from tests.tolerances import assert_close
from tests.unit.models.chains import make_batch, make_chain, make_model


def make_energy(length: int):
    """U(x) of one protein as a function of ``x (B, L, 3)``."""
    model = make_model()
    _, s, mask = make_batch([length], 20)
    with torch.no_grad():
        out = model.sequence_network(s, mask)

    def energy(x):
        return model.energy(x, out.coefficients, mask.expand(x.shape[:2]))

    return energy


def test_energy_is_two_dot_products():
    model = make_model()
    x, s, mask = make_batch([9, 6], 20)
    out = model.sequence_network(s, mask)
    term = model.energy.terms["learned"]
    assert type(term) is LearnedFeatures
    f1, f2 = term.structure_network(x, mask)
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


def test_mirror_images_of_pairs_differ_in_the_pair_features():
    model = make_model()
    x, _, mask = make_batch([12], 20)
    _, f2 = model.energy.terms["learned"].structure_network(x, mask)
    _, mirrored = model.energy.terms["learned"].structure_network(-x, mask)
    assert (f2 - mirrored).abs().max() > 1e-2


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

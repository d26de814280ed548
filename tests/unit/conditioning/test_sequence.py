"""Sequence network: shapes, ranges, starting values and padding."""

import copy
import math

import pytest
import torch

from openmm_nemo.conditioning import SequenceNetwork, SequenceOutput
from openmm_nemo.config import NemoConfig
from openmm_nemo.dynamics import rollout
from openmm_nemo.encoders import input_width, node_features
from openmm_nemo.geometry import bond_angles, internal_to_cartesian
from openmm_nemo.models import NemoModel
from tests.helpers import random_chain
from tests.tolerances import assert_close
from tests.unit.models.chains import DTYPES, make_batch, make_model


def tensors(out: SequenceOutput) -> list[torch.Tensor]:
    return [*out.coefficients, *out[1:]]


@pytest.mark.parametrize("profile", [False, True])
def test_shapes_and_ranges(profile):
    model = make_model(profile=profile)
    width = input_width(model.config)
    _, s, mask = make_batch([9, 6], width)
    out = model.sequence_network(s, mask)
    c1, c2 = node_features(model.config), model.config.pair_features
    assert out.coefficients[0].shape == (2, 9, c1)
    assert out.coefficients[1].shape == (2, 9, 9, c2)
    assert out.z0.shape == (2, 9, 3)
    assert out.secondary_structure.shape == (2, 9, 8)
    assert out.cartesian_step.shape == out.internal_step.shape == (2,)
    assert (out.coefficients[0][mask == 1][:, 0] > 0).all()
    for name in ("cartesian_preconditioner", "internal_preconditioner"):
        values = getattr(out, name)[mask == 1]
        assert (values > 1 / math.e).all()
        assert (values < math.e).all()
        assert values.std() > 0.01
    for value in tensors(out):
        assert value.dtype == s.dtype
        if value.dim() > 1:
            assert value[1, 6:].eq(0).all()
    assert out.coefficients[1][1, :, 6:].eq(0).all()


def test_bonds_are_never_pushed_apart():
    """The coefficient of the bond strain stays positive whatever is learned."""
    model = make_model()
    torch.nn.init.constant_(
        model.sequence_network.term_heads["learned"].node_coefficients.bias, -5.0
    )
    _, s, mask = make_batch([9], 20)
    l1 = model.sequence_network(s, mask).coefficients[0]
    assert (l1[..., 0] > 0).all()
    assert (l1[..., 1:] < 0).any()


def test_rigid_body_coordinates_of_the_initial_state_are_zero():
    model = make_model()
    _, s, mask = make_batch([8], 20)
    z0 = model.sequence_network(s, mask).z0[0]
    defined = torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0]] + [[1, 1, 1]] * 5).bool()
    assert z0.ne(0).equal(defined)


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_an_untrained_network_starts_near_real_chains(preset):
    torch.manual_seed(0)
    network = SequenceNetwork(NemoConfig.preset(preset)).eval()
    _, s, mask = make_batch([60], 20, torch.float32)
    with torch.no_grad():
        out = network(s, mask)
    b, a, d = bond_angles(internal_to_cartesian(out.z0[0]))
    assert (b - 3.8).abs().max() < 0.1
    assert (a > 1.4).all()
    assert (a < 2.3).all()
    assert d.std() > 0.2
    assert out.cartesian_step.item() == pytest.approx(0.02)
    # As a random coil's ends move: eps_z falls with the square of the length.
    assert out.internal_step.item() == pytest.approx(0.002 * (20 / len(out.z0[0])) ** 2)
    assert out.cartesian_preconditioner.eq(1).all()
    assert out.internal_preconditioner.eq(1).all()


@DTYPES
@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_padded_batches_equal_single_proteins(preset, dtype):
    model = make_model(preset, dtype=dtype)
    lengths = [4, 23, 11]
    torch.manual_seed(0)
    _, s, mask = make_batch(lengths, 20, dtype, padding=100.0)
    batch = model.sequence_network(s, mask)
    for k, length in enumerate(lengths):
        single = model.sequence_network(s[k : k + 1, :length], mask[k : k + 1, :length])
        for together, alone in zip(tensors(batch), tensors(single), strict=True):
            rows = together[k : k + 1]
            if alone.dim() > 1:
                rows = rows[:, :length]
            if alone.dim() == 4:
                rows = rows[:, :, :length]
            assert_close(rows, alone, "rounding")


def test_dihedrals_of_an_undirected_output_are_defined():
    model = make_model()
    layer = model.sequence_network.initial_state
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.constant_(layer.bias, 1e-8)
    _, s, mask = make_batch([6], 20)
    z0 = model.sequence_network(s, mask).z0
    assert z0[..., 2].eq(0).all()
    z0.sum().backward()
    assert layer.bias.grad[2:].eq(0).all()


def test_every_parameter_matters():
    model = make_model(profile=True).train()
    _, s, mask = make_batch([12, 7], 40)
    out = model.sequence_network(s, mask)
    sum((value**2).sum() for value in tensors(out)).backward()
    for name, parameter in model.sequence_network.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.ne(0).any(), name


def test_cooling_is_a_lower_temperature():
    """Untrained: a step of the cooled model is one of the other at 300 K / 5 with steps 5 times shorter."""
    torch.manual_seed(0)
    model = NemoModel(NemoConfig.preset("tiny")).double()
    cold = copy.deepcopy(model)
    cold.sequence_network.cool(5)
    sequence = "NLYIQWLKDGGPSSGRPPPS"
    protein, other = model.condition(sequence), cold.condition(sequence)
    x = random_chain(1, 20, seed=3)[0]
    parameters = protein.step_parameters()
    shorter = parameters._replace(
        cartesian_step=parameters.cartesian_step / 5, internal_step=parameters.internal_step / 5
    )
    expected = rollout(protein.energy, x[None], shorter, 1, seed=2, temperature=300 / 5).x[-1, 0]
    found = other.rollout(1, x0=x, seed=2).x[-1, 0]
    # The coefficient of the bond strain passes through a softplus, which is not linear: 4e-5 at 10 kT.
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (found - protein.rollout(1, x0=x, seed=2).x[-1, 0]).abs().max() > 0.01


def test_strength_leaves_the_bonds_alone():
    model = make_model()
    strong = copy.deepcopy(model)
    strong.sequence_network.cool(1, strength=3)
    _, s, mask = make_batch([12, 9], input_width(model.config))
    before, after = (m.sequence_network.eval()(s, mask) for m in (model, strong))
    assert_close(after.coefficients[0][..., :1], before.coefficients[0][..., :1], "rounding")
    assert_close(after.coefficients[0][..., 1:], 3 * before.coefficients[0][..., 1:], "rounding")
    assert_close(after.coefficients[1], 3 * before.coefficients[1], "rounding")

"""The whole model and a model conditioned on a protein."""

import numpy as np
import pytest
import torch

from openmm_nemo import NemoModel
from openmm_nemo.errors import InputError
from openmm_nemo.residues import AMINO_ACIDS
from tests.helpers import raises
from tests.tolerances import assert_close
from tests.unit.models.chains import DTYPES, make_chain, make_model

SEQUENCE = "ACDEFGHIKLMNPQRSTVWY"


def test_encoding_is_one_hot_and_profile():
    profile = np.random.default_rng(0).random((20, 20))
    s = make_model(profile=True).encode(" acdefghikl\nMNPQRSTVWY", profile)
    assert s.shape == (1, 20, 40)
    assert s[0, :, :20].equal(torch.eye(20, dtype=torch.float64))
    assert s[0, :, 20:].equal(torch.from_numpy(profile))
    assert AMINO_ACIDS == SEQUENCE


@pytest.mark.parametrize(
    ("with_profile", "sequence", "profile", "facts"),
    [
        (False, "ACDX", None, ["'X'", "position 4"]),
        (False, "ACD", None, ["3 residues", 4]),
        (False, "ACDE", np.ones((4, 20)), ["profile"]),
        (True, "ACDE", None, ["profile", "(4, 20)"]),
        (True, "ACDE", np.ones((5, 20)), ["(5, 20)", "(4, 20)"]),
        (True, "ACDE", np.ones((4, 21)), ["(4, 21)", "(4, 20)"]),
        (True, "ACDE", [[1.0], [1.0, 2.0]], ["profile", "numbers"]),
        (True, "ACDE", "frequencies", ["profile", "numbers"]),
        (
            True,
            "ACDE",
            np.where(np.arange(80).reshape(4, 20) == 45, np.nan, 1),
            ["profile", "residue 3"],
        ),
    ],
)
def test_bad_input_is_named(with_profile, sequence, profile, facts):
    with raises(InputError, *facts):
        make_model(profile=with_profile).condition(sequence, profile)


@DTYPES
def test_a_conditioned_model_agrees_with_the_networks(dtype):
    model = make_model(dtype=dtype)
    protein = model.condition(SEQUENCE.lower())
    assert protein.sequence == SEQUENCE
    s = model.encode(SEQUENCE)
    mask = torch.ones(1, 20, dtype=dtype)
    out = model.sequence_network(s, mask)
    for name, value in out._asdict().items():
        if name != "coefficients":
            assert getattr(protein, name).equal(value[0]), name
    for found, expected in zip(
        protein.potential.coefficient_values(), out.coefficients, strict=True
    ):
        assert found.equal(expected)
    x = torch.stack([make_chain(20, k, dtype) for k in range(6)]).reshape(2, 3, 20, 3)
    u, gradient = protein.energy_and_gradient(x)
    assert u.shape == (2, 3)
    one = x[1, 2].clone().requires_grad_()
    expected = model.energy(one.unsqueeze(0), out.coefficients, mask)
    assert_close(u[1, 2], expected[0].detach(), "rounding")
    assert_close(gradient[1, 2], torch.autograd.grad(expected.sum(), one)[0], "rounding")
    assert_close(protein.energy(x), u, "rounding")
    assert protein.energy(x[0, 0]).shape == ()
    atoms = protein.impute(x)
    assert atoms.shape == (2, 3, 20, 5, 3)
    assert_close(atoms[1, 2], model.imputation(x[1, 2][None], s, mask)[0].detach(), "rounding")


def test_gradients_need_no_context():
    protein = make_model().condition(SEQUENCE)
    with torch.no_grad():
        u, gradient = protein.energy_and_gradient(make_chain(20, 0))
    assert not u.requires_grad
    assert not gradient.requires_grad
    assert not any(parameter.requires_grad for parameter in protein.parameters())


def test_the_initial_state_is_a_centred_chain():
    x = make_model().condition(SEQUENCE).initial_state()
    assert x.shape == (20, 3)
    assert x.mean(0).abs().max() < 1e-9
    assert ((x[1:] - x[:-1]).norm(dim=-1) > 1).all()


def test_conditioning_leaves_the_model_alone():
    model = make_model(dtype=torch.float32).train()
    model.energy.eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    protein = model.condition(SEQUENCE).double()
    assert [module.training for module in model.modules()] == modes
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert next(model.energy.parameters()).dtype == torch.float32
    assert not any(module.training for module in protein.modules())
    assert protein.energy(make_chain(20, 0)).dtype == torch.float64


def test_conditioning_is_repeatable_in_training_mode():
    model = make_model().train()
    first, second = (model.condition(SEQUENCE).potential.coefficient_values() for _ in range(2))
    assert all(one.equal(other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("sequence", [list(SEQUENCE), [SEQUENCE, SEQUENCE], None, b"ACDE"])
def test_a_sequence_that_is_no_string_is_refused(sequence):
    with raises(InputError, "sequence", type(sequence).__name__, "string"):
        make_model().condition(sequence)


def test_initial_positions_of_a_rollout_may_be_an_array():
    protein = make_model().condition(SEQUENCE)
    x0 = 1.1 * protein.initial_state()
    expected = protein.rollout(2, n_chains=2, x0=x0, seed=3).x
    for given in (x0.numpy(), x0.tolist()):
        assert protein.rollout(2, n_chains=2, x0=given, seed=3).x.equal(expected)
    for wrong in (x0[:-1], x0[None], x0.numpy()[:, :2]):
        with raises(ValueError, "x0", tuple(wrong.shape), "(20, 3)"):
            protein.rollout(2, x0=wrong)


def test_inference_mode_changes_nothing():
    expected = make_model().condition(SEQUENCE)
    x0 = expected.initial_state()
    with torch.inference_mode():
        inside = make_model().condition(SEQUENCE)  # also the weights are made in it
        trajectory = inside.rollout(3, x0=x0.clone(), seed=4).x
        energy, gradient = inside.energy_and_gradient(x0.clone())
    outside = inside.rollout(3, x0=x0, seed=4).x
    assert trajectory.equal(outside)
    assert outside.equal(expected.rollout(3, x0=x0, seed=4).x)
    energy_there, gradient_there = expected.energy_and_gradient(x0)
    assert energy.equal(energy_there)
    assert gradient.equal(gradient_there)
    assert not trajectory.is_inference()


def test_installed_model_can_be_read_in_inference_mode():
    with torch.inference_mode():
        model = NemoModel.from_pretrained("nemo-tiny")
    assert not any(p.is_inference() for p in model.parameters())
    protein = model.condition(SEQUENCE)
    assert torch.isfinite(protein.rollout(2).x).all()

"""Predictions with 16 bits against those with 32."""

import pytest
import torch
from torch import nn

from openmm_nemo.models.precision import imputed_atoms, sequence_output
from openmm_nemo.training.losses import LOSSES
from openmm_nemo.training.prediction import RolloutSettings, predict
from tests.tolerances import BFLOAT16
from tests.unit.models.chains import make_model


@pytest.fixture
def model():
    return make_model(dtype=torch.float32)


def apart(found, expected) -> float:
    """Largest difference relative to the largest value; not zero, or nothing was computed with 16 bits."""
    assert found.dtype == torch.float32
    largest = float(((found - expected).abs().max() / expected.abs().max()).detach())
    assert largest > 0
    return largest


def test_networks_are_close_to_those_of_32_bits(batch, model):
    outputs = [
        sequence_output(model.sequence_network, batch.s, batch.mask, p) for p in ("bf16", "32")
    ]
    pairs = zip(*(output.coefficients for output in outputs), strict=True)
    for found, expected in pairs:
        assert apart(found, expected) < BFLOAT16["coefficients"]
    for name, found, expected in zip(
        outputs[0]._fields[1:], *(o[1:] for o in outputs), strict=True
    ):
        if name == "z0":
            # Of dihedrals, up to turns.
            turn = 2 * torch.pi * ((found - expected) / (2 * torch.pi)).round()
            found = found - turn * torch.tensor([0, 0, 1])
            assert apart(found, expected) < BFLOAT16["internal"]
        else:
            assert apart(found, expected) < BFLOAT16["coefficients"], name
    atoms = [
        imputed_atoms(model.imputation, batch.x, batch.s, batch.mask, p) for p in ("bf16", "32")
    ]
    own = [value - batch.x.unsqueeze(-2) * batch.mask[..., None, None] for value in atoms]
    assert apart(*own) < BFLOAT16["atoms"]


def test_energies_have_32_bits_and_coefficients_of_16(batch, model):
    dtypes = {"sequence_network": set(), "imputation": set(), "energy": set()}
    for part, seen in dtypes.items():
        for module in getattr(model, part).modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d):
                module.register_forward_hook(lambda _, __, y, seen=seen: seen.add(y.dtype))
    found, expected = (
        predict(model, batch, RolloutSettings(3, 3, 1), seed=2, precision=p) for p in ("bf16", "32")
    )
    assert dtypes["energy"] == {torch.float32}
    assert torch.bfloat16 in dtypes["sequence_network"] & dtypes["imputation"]
    assert apart(found.energy(batch.x), expected.energy(batch.x)) < BFLOAT16["energy"]
    for value in (found.x0, found.x, found.states, found.atoms, found.secondary_structure):
        assert value.dtype == torch.float32


def test_weights_and_gradients_have_32_bits(batch, model):
    model.train()
    prediction = predict(model, batch, RolloutSettings(3, 3, 1), seed=2, precision="bf16")
    names = ("distances", "initial_angles", "secondary_structure", "hydrogen_bonds")
    losses = [LOSSES[name]()(prediction, batch) for name in names]
    assert all(loss.dtype == torch.float32 for loss in losses)
    sum(loss.mean() for loss in losses).backward()
    for name, weight in model.named_parameters():
        assert weight.dtype == weight.grad.dtype == torch.float32, name
        assert weight.grad.isfinite().all(), name
    assert all(value.dtype == torch.float32 for value in model.buffers())

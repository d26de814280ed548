"""Imputation: equivariance, distances, padding and export."""

import pytest
import torch

from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders import input_width
from openmm_nemo.models import ATOM_NAMES, Imputation
from tests.tolerances import assert_close
from tests.unit.models.chains import (
    DEGENERATE_CHAINS,
    DTYPES,
    make_batch,
    make_chain,
    make_model,
    make_sequence_input,
    random_rotation,
)


@DTYPES
@pytest.mark.parametrize("profile", [False, True])
def test_atoms_move_with_the_chain(profile, dtype):
    model = make_model(profile=profile, dtype=dtype)
    x, s, mask = make_batch([30, 12], input_width(model.config), dtype)
    q = random_rotation(1, dtype)
    shift = 30 * torch.ones(3, dtype=dtype)
    atoms = model.imputation(x, s, mask)
    moved = model.imputation(x @ q.T + shift, s, mask)
    expected = (atoms @ q.T + shift) * mask[..., None, None]
    assert atoms.shape == (2, 30, len(ATOM_NAMES), 3)
    assert_close(moved, expected, "rigid_motion")


def test_mirror_images_get_other_atoms():
    model = make_model()
    x, s, mask = make_batch([20], 20)
    atoms, mirrored = model.imputation(x, s, mask), -model.imputation(-x, s, mask)
    assert (atoms - mirrored).norm(dim=-1).mean() > 0.1


def test_the_sequence_matters():
    model = make_model()
    x, s, mask = make_batch([20], 20)
    other = make_sequence_input(20, 20, 99).unsqueeze(0)
    difference = model.imputation(x, s, mask) - model.imputation(x, other, mask)
    assert difference.norm(dim=-1).mean() > 0.01


@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_an_untrained_network_puts_atoms_at_real_distances(preset):
    torch.manual_seed(0)
    imputation = Imputation(NemoConfig.preset(preset)).eval()
    x, s, mask = make_batch([60], 20, torch.float32)
    with torch.no_grad():
        distance = (imputation(x, s, mask) - x.unsqueeze(-2)).norm(dim=-1).mean(1)[0]
    assert distance.tolist() == pytest.approx([1.46, 0.05, 1.52, 2.4, 2.0], rel=0.1)


@DTYPES
def test_padded_batches_equal_single_proteins(dtype):
    model = make_model("small", dtype=dtype)
    lengths = [4, 23, 11]
    torch.manual_seed(0)
    x, s, mask = make_batch(lengths, 20, dtype, padding=1e4)
    x.requires_grad_()
    atoms = model.imputation(x, s, mask)
    assert torch.autograd.grad((atoms**2).sum(), x)[0][mask == 0].eq(0).all()
    assert atoms[mask == 0].eq(0).all()
    for k, n in enumerate(lengths):
        alone = model.imputation(x[k : k + 1, :n], s[k : k + 1, :n], mask[k : k + 1, :n])
        assert_close(atoms[k : k + 1, :n].detach(), alone.detach(), "rounding")


@pytest.mark.parametrize("garbage", [1e30, float("inf"), float("nan")])
def test_positions_of_padding_are_not_read(garbage):
    model = make_model(dtype=torch.float32)
    x, s, mask = make_batch([9, 5], 20, torch.float32)
    expected = model.imputation(x, s, mask)
    x[1, 5:] = garbage
    x.requires_grad_()
    atoms = model.imputation(x, s, mask)
    assert atoms.equal(expected)
    assert torch.autograd.grad((atoms**2).sum(), x)[0].isfinite().all()


def test_gradients():
    model = make_model()
    s = make_sequence_input(6, 20, 0).unsqueeze(0)
    mask = torch.ones(1, 6, dtype=torch.float64)
    x = make_chain(6, 1).unsqueeze(0).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: model.imputation(x, s, mask), x)


@DTYPES
@pytest.mark.parametrize("name", DEGENERATE_CHAINS)
def test_degenerate_chains_stay_finite(name, dtype):
    x = DEGENERATE_CHAINS[name].to(dtype).unsqueeze(0).requires_grad_()
    s = make_sequence_input(x.shape[1], 20, 0, dtype).unsqueeze(0)
    atoms = make_model(dtype=dtype).imputation(x, s, torch.ones_like(x[..., 0]))
    (gradient,) = torch.autograd.grad((atoms**2).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), x)
    assert atoms.isfinite().all()
    assert gradient.isfinite().all()
    assert second.isfinite().all()


@DTYPES
def test_torchscript_equals_eager(dtype):
    model = make_model(dtype=dtype)
    batch = make_batch([9, 6], 20, dtype)
    scripted = torch.jit.script(model.imputation)
    expected = model.imputation(*batch)
    for _ in range(3):
        assert_close(scripted(*batch).detach(), expected.detach(), "rounding")

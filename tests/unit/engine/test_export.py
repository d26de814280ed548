"""TorchScript modules against the networks they were made from."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch

from openmm_nemo.engine import export_energy, export_imputation
from tests.tolerances import assert_close
from tests.unit.engine.toys import KT

ONE = torch.tensor(1.0)


@pytest.fixture(params=["float32", "float64"])
def any_protein(request, protein, protein32):
    return protein if request.param == "float64" else protein32


@pytest.fixture
def chain_nm(any_protein):
    """A chain that is not the initial state, nm, in the model's dtype."""
    x = any_protein.initial_state() / 10
    generator = torch.Generator().manual_seed(1)
    return x + 0.05 * torch.randn(x.shape, generator=generator).to(x)


def test_energy_takes_nm_and_gives_kj_per_mol(any_protein, chain_nm):
    assert pytest.approx(2.494, abs=5e-4) == KT
    energy = export_energy(any_protein)(chain_nm, ONE)
    assert energy.shape == ()
    assert energy.dtype == chain_nm.dtype
    assert_close(energy, KT * any_protein.energy(10 * chain_nm), "rounding")


def test_energy_is_multiplied_by_the_scale(any_protein, chain_nm):
    module = export_energy(any_protein)
    scaled = module(chain_nm, torch.tensor(-2.5))
    assert_close(scaled, -2.5 * module(chain_nm, ONE), "rounding")
    assert module(chain_nm, torch.tensor(0.0)).item() == 0


def test_gradient_of_the_energy_is_that_of_the_network(any_protein, chain_nm):
    x = chain_nm.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(export_energy(any_protein)(x, ONE), x)
    _, expected = any_protein.energy_and_gradient(10 * chain_nm)
    assert_close(gradient, 10 * KT * expected, "rounding_gradient")


def test_imputation_takes_and_gives_nm(any_protein, chain_nm):
    atoms = export_imputation(any_protein)(chain_nm)
    assert atoms.shape == (*chain_nm.shape[:1], 5, 3)
    assert atoms.dtype == chain_nm.dtype
    assert_close(atoms, any_protein.impute(10 * chain_nm) / 10, "rounding")


def test_float32_model_takes_and_gives_the_float64_of_openmm(protein32):
    x = protein32.initial_state().double() / 10
    energy, atoms = export_energy(protein32)(x, ONE), export_imputation(protein32)(x)
    assert energy.dtype == atoms.dtype == torch.float64
    assert energy.item() == pytest.approx(KT * protein32.energy(10 * x.float()).item(), rel=1e-5)


@pytest.mark.parametrize("kind", [list, np.array], ids=["list", "array"])
def test_particles_are_the_residues_in_order(protein, kind):
    n = len(protein.sequence)
    order = np.random.default_rng(3).permutation(n + 5)[:n]
    x = protein.initial_state() / 10
    everything = torch.full((n + 5, 3), 7.0, dtype=torch.float64)
    everything[order] = x
    energy = export_energy(protein, kind(order.tolist()))(everything, ONE)
    assert_close(energy, KT * protein.energy(10 * x), "rounding")


def test_export_leaves_the_protein_as_it_was(protein):
    before = copy.deepcopy(protein.state_dict())
    export_energy(protein)
    export_imputation(protein)
    after = protein.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_exported_modules_hold_nothing_to_train(protein):
    for module in (export_energy(protein), export_imputation(protein)):
        assert not any(parameter.requires_grad for parameter in module.parameters())


def test_exported_modules_move_to_another_device_as_a_whole(protein):
    """As TorchForce moves them to a GPU: weights that had become constants would stay behind."""
    n_weights = len(protein.potential.network.state_dict())
    module = export_energy(protein).to("meta")
    tensors = [*module.parameters(), *module.buffers()]
    assert len(tensors) > n_weights
    assert all(tensor.is_meta for tensor in tensors)


# No import of openmm_nemo: whoever has the file needs torch only.
FRESH = """
import sys, torch
torch.set_num_threads(1)
x, scale = torch.load("input.pt")
x.requires_grad_()
energy = torch.jit.load("energy.pt")(x, scale)
(gradient,) = torch.autograd.grad(energy, x)
torch.save((energy.detach(), gradient, torch.jit.load("atoms.pt")(x.detach())), "output.pt")
assert not any(name.startswith("openmm") for name in sys.modules)
"""


@pytest.mark.integration
def test_saved_modules_give_the_same_in_a_fresh_process(protein, tmp_path):
    scale = torch.tensor(0.7, dtype=torch.float64)
    x = protein.initial_state() / 10
    export_energy(protein).save(tmp_path / "energy.pt")
    export_imputation(protein).save(tmp_path / "atoms.pt")
    torch.save((x, scale), tmp_path / "input.pt")
    subprocess.run([sys.executable, "-c", FRESH], cwd=tmp_path, check=True, timeout=120)
    energy, gradient, atoms = torch.load(tmp_path / "output.pt")
    expected, slope = protein.energy_and_gradient(10 * x)
    assert_close(energy, 0.7 * KT * expected, "rounding")
    assert_close(gradient, 7 * KT * slope, "rounding_gradient")
    assert_close(atoms, protein.impute(10 * x) / 10, "rounding")

"""TorchScript of the networks against the networks themselves, and the files that hold it."""

import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import openmm_nemo
from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.engine.torchscript import scripted_networks, write_scripted
from tests.tolerances import assert_close
from tests.unit.models.chains import make_chain, make_model

SEQUENCES = ("ACDEFGHIKLMN", "WYVPQRST")


@pytest.fixture(scope="module")
def model() -> NemoModel:
    return make_model(dtype=torch.float32)


@pytest.fixture(scope="module")
def inputs(model) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Positions, sequences and mask of two chains, the second one padded."""
    x, s = torch.zeros(2, 12, 3), torch.zeros(2, 12, 20)
    for b, sequence in enumerate(SEQUENCES):
        n = len(sequence)
        x[b, :n], s[b, :n] = make_chain(n, b, torch.float32), model.encode(sequence)[0]
    return x, s, (s.sum(-1) > 0).float()


def check(modules, model, inputs) -> None:
    """``modules`` give what the conditioned model, a path of its own, gives for every chain without padding."""
    x, s, mask = inputs
    sequence = modules["sequence.pt"](s, mask)
    x = x.clone().requires_grad_()
    energy = modules["energy.pt"](x, sequence.coefficients, mask)
    (gradient,) = torch.autograd.grad(energy.sum(), x)
    atoms = modules["imputation.pt"](x.detach(), s, mask)
    for b, letters in enumerate(SEQUENCES):
        n, protein = len(letters), model.condition(letters)
        expected, slope = protein.energy_and_gradient(x[b, :n].detach())
        assert_close(energy[b].detach(), expected, "rounding")
        assert_close(gradient[b, :n], slope, "rounding_gradient")
        assert_close(atoms[b, :n], protein.impute(x[b, :n].detach()), "rounding")
        assert_close(sequence.z0[b, :n], protein.z0, "rounding")
        assert_close(sequence.internal_step[b], protein.internal_step, "rounding")


def test_modules_of_a_model_with_fixed_functions_are_the_networks(inputs):
    model = make_model("fold", dtype=torch.float32)
    check(scripted_networks(model), model, inputs)


def test_modules_are_the_networks(model, inputs):
    model.train()
    check(scripted_networks(model), model, inputs)
    assert model.energy.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_files_hold_them_and_are_the_same_every_time(model, inputs, tmp_path):
    (tmp_path / "again").mkdir()
    here = str(Path(openmm_nemo.__file__).parents[1]).encode()
    names = write_scripted(model, tmp_path)
    write_scripted(model, tmp_path / "again")
    assert names == ["sequence.pt", "energy.pt", "imputation.pt"]
    for name in names:
        content = (tmp_path / name).read_bytes()
        assert content == (tmp_path / "again" / name).read_bytes()
        with zipfile.ZipFile(tmp_path / name) as archive:
            assert not any(here in archive.read(entry) for entry in archive.namelist())
    check({name: torch.jit.load(tmp_path / name) for name in names}, model, inputs)


# No import of openmm_nemo: whoever has the files needs torch only.
FRESH = """
import sys, torch
torch.set_num_threads(1)
x, s, mask = torch.load("inputs")
coefficients, *_ = torch.jit.load("sequence.pt")(s, mask)
torch.save(torch.jit.load("energy.pt")(x, coefficients, mask), "energies")
assert not any(name.startswith("openmm") for name in sys.modules)
"""


@pytest.mark.integration
def test_files_are_enough_for_a_process_without_the_package(model, inputs, tmp_path):
    write_scripted(model, tmp_path)
    torch.save(inputs, tmp_path / "inputs")
    subprocess.run([sys.executable, "-c", FRESH], cwd=tmp_path, check=True, timeout=120)
    x, energies = inputs[0], torch.load(tmp_path / "energies")
    for b, letters in enumerate(SEQUENCES):
        expected = model.condition(letters).energy(x[b, : len(letters)])
        assert_close(energies[b], expected, "rounding")


def test_a_baseline_has_no_energy(inputs, tmp_path):
    x, s, mask = inputs
    baseline = NemoModel(replace(NemoConfig.preset("tiny"), kind="baseline", lstm_units=8)).eval()
    (tmp_path / "energy.pt").write_bytes(b"of another model")
    assert write_scripted(baseline, tmp_path) == ["sequence.pt", "imputation.pt"]
    assert not (tmp_path / "energy.pt").exists()
    output = torch.jit.load(tmp_path / "sequence.pt")(s, mask)
    assert_close(output.z0, baseline.sequence_network(s, mask).z0.detach(), "rounding")
    atoms = torch.jit.load(tmp_path / "imputation.pt")(x, s, mask)
    assert_close(atoms, baseline.imputation(x, s, mask).detach(), "rounding")

"""Denoising score matching against closed forms: of harmonic energies and of the kernels themselves."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.errors import InputError
from openmm_nemo.geometry import cartesian_to_internal, internal_to_cartesian
from openmm_nemo.training import losses
from openmm_nemo.training.denoising import cartesian_error, internal_error, wrapped_score
from openmm_nemo.training.module import NemoTraining
from openmm_nemo.training.prediction import RolloutSettings, predict
from openmm_nemo.training.settings import read_settings
from tests.helpers import normal, raises, random_chain

N_CHAINS, N, WITHIN = 3000, 9, 7
SIZES = (0.2, 0.5)
SPREAD = 0.4  # of the data

MASK = (torch.arange(N) < WITHIN).double().expand(N_CHAINS, N)
CENTRE = cartesian_to_internal(random_chain(N, seed=2))


def expected(k: float) -> tuple[float, float]:
    """Error of U = k |x|^2 / 2 and its derivative by k, for normal data: (1 - k s^2)^2 + k^2 s^2 SPREAD^2."""
    errors = [(1 - k * s**2) ** 2 + k**2 * s**2 * SPREAD**2 for s in SIZES]
    slopes = [-2 * s**2 * (1 - k * s**2) + 2 * k * s**2 * SPREAD**2 for s in SIZES]
    return float(np.mean(errors)), float(np.mean(slopes))


def best() -> float:
    """Where the derivative is zero: sum s^2 / sum s^2 (s^2 + SPREAD^2), for one s 1 / (s^2 + SPREAD^2)."""
    return sum(s**2 for s in SIZES) / sum(s**2 * (s**2 + SPREAD**2) for s in SIZES)


def in_space(k: Tensor) -> Tensor:
    x = SPREAD * normal(N_CHAINS, N, 3, seed=1)
    x[:, WITHIN:] = math.nan  # padding is not read

    def energy(x: Tensor) -> Tensor:
        return 0.5 * k * (x[:, :WITHIN] ** 2).sum((1, 2))

    return cartesian_error(energy, x, MASK, SIZES)


def in_angles(k: Tensor) -> Tensor:
    noise = SPREAD * normal(N_CHAINS, N, 3, seed=1)
    noise[..., 0] = 0
    x = internal_to_cartesian(CENTRE + noise)
    x[:, WITHIN:] = math.nan

    def energy(x: Tensor) -> Tensor:
        z = cartesian_to_internal(x[:, :WITHIN]) - CENTRE[:WITHIN]
        d = torch.remainder(z[:, 3:, 2] + torch.pi, 2 * torch.pi) - torch.pi
        return 0.5 * k * ((z[:, 2:, 1] ** 2).sum(1) + (d**2).sum(1))

    return internal_error(energy, x, MASK, SIZES)


@pytest.mark.parametrize("error", [in_space, in_angles])
@pytest.mark.parametrize("k", [0.0, 1.0, best()])
def test_harmonic_energies_have_the_known_error_and_optimum(error, k):
    torch.manual_seed(3)
    stiffness = torch.tensor(k, dtype=torch.float64, requires_grad=True)
    found = error(stiffness)
    found.mean().backward()
    value, slope = expected(k)
    noise = 5 / math.sqrt(N_CHAINS * 9)  # of at least nine coordinates
    assert found.mean().item() == pytest.approx(value, abs=noise)
    assert stiffness.grad.item() == pytest.approx(slope, abs=noise)
    assert (abs(slope) < 1e-12) == (k == best())


def test_the_energy_of_the_kernel_about_one_structure_has_no_error():
    """Also where dihedrals wrap: then a normal density would be wrong by far."""
    size, x = 1.5, internal_to_cartesian(CENTRE).expand(40, N, 3)

    def energy(x: Tensor) -> Tensor:
        z = cartesian_to_internal(x) - CENTRE
        images = z[:, 3:, 2].unsqueeze(-1) + 2 * torch.pi * torch.arange(-6, 7)
        log_p = torch.logsumexp(-(images**2) / (2 * size**2), -1)
        return (z[:, 2:, 1] ** 2).sum(1) / (2 * size**2) - log_p.sum(1)

    torch.manual_seed(4)
    error = internal_error(energy, x, torch.ones(40, N).double(), [size])
    assert error.max() < 1e-6


@pytest.mark.parametrize("size", [0.03, 1.0, 3.0])
def test_score_of_a_wrapped_normal_density(size):
    """Finite differences of a sum over many turns."""
    turns = np.linspace(-9, 9, 13)

    def log_p(turn: np.ndarray) -> np.ndarray:
        images = turn[:, None] + 2 * np.pi * np.arange(-30, 31)
        return logsumexp(-(images**2) / (2 * size**2), axis=1)

    step = 1e-5
    differences = (log_p(turns + step) - log_p(turns - step)) / (2 * step)
    found = wrapped_score(torch.tensor(turns), torch.tensor(size).double())
    np.testing.assert_allclose(found, differences, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["denoising_x", "denoising_z"])
def test_terms_with_fixed_functions_are_differentiated_twice_in_float32(batch, name):
    """Gradients of scales and heads, against float64."""
    gradients = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(1)
        config = replace(
            NemoConfig.preset("fold"),
            node_channels=8, pair_channels=4, sequence_blocks=1, pair_blocks=1, imputation_blocks=1,
        )  # fmt: skip
        model = NemoModel(config)
        for head in ("pair-basis", "chain-basis"):
            layer = model.sequence_network.term_heads[head].coefficients
            torch.nn.init.normal_(layer.weight, std=0.5)
        model, data = model.to(dtype).eval(), batch._replace(
            s=batch.s.to(dtype), mask=batch.mask.to(dtype), backbone=batch.backbone.to(dtype)
        )  # fmt: skip
        prediction = predict(model, data, RolloutSettings(0, 0, 1), seed=1)
        noise = iter([normal(2, 20, 3, seed=6).to(dtype)])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "randn_like", lambda x, noise=noise: next(noise))
            torch.manual_seed(2)
            losses.LOSSES[name]()(prediction, data).mean().backward()
        weights = [
            *(model.energy.terms[name].scales.logarithms for name in ("pair-basis", "chain-basis")),
            *model.sequence_network.term_heads.parameters(),
        ]
        gradients.append([weight.grad.double() for weight in weights])
    smallest = 1e-4  # noise of angles does not change bonds
    for single, double in zip(*gradients, strict=True):
        assert (single - double).abs().max() < 1e-3 * double.abs().max().clamp_min(smallest)
    pairs, chain, *_ = gradients[1]
    assert min(pairs.abs().max(), chain.abs().max()) > smallest


def test_no_energy_has_an_error_of_one(batch):
    torch.manual_seed(5)
    for name in ("denoising_x", "denoising_z"):
        values = torch.stack(
            [
                losses.LOSSES[name]()(
                    losses.Prediction(*[batch.x] * 6, lambda x: 0 * x.sum((1, 2)), batch.x), batch
                )
                for _ in range(100)
            ]
        )
        # Mean squares of 100 times 60 or 39, and 35 or 21 normal numbers.
        np.testing.assert_allclose(values.mean(0), 1, atol=4 * math.sqrt(2 / 2000))


def test_sizes_are_settings(tmp_path):
    path = tmp_path / "run.toml"
    text = """description = "A test."
data = { set = "set", split = "split.json" }
stages = [{ updates = 1, losses = { denoising_z = 1.0 } }]
"""
    path.write_text(text)
    module = NemoTraining(read_settings(path))
    assert module.losses["denoising_z"].sizes == losses.INTERNAL_NOISE
    assert module.losses["denoising_x"].sizes == losses.CARTESIAN_NOISE
    path.write_text("internal_noise = [0.2]\ncartesian_noise = [2, 3]\n" + text)
    module = NemoTraining(read_settings(path))
    assert module.losses["denoising_z"].sizes == (0.2,)
    assert module.losses["denoising_x"].sizes == (2.0, 3.0)
    for bad in ("internal_noise = []", "cartesian_noise = [0.0]"):
        path.write_text(f"{bad}\n{text}")
        with raises(InputError, path, bad.partition(" ")[0]):
            read_settings(path)

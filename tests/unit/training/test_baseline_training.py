"""The baseline in training: its predictions, that it learns, and the stages that it cannot have."""

from dataclasses import replace

import pytest
import torch

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.errors import InputError
from openmm_nemo.training.losses import LOSSES
from openmm_nemo.training.prediction import RolloutSettings, predict, update_statistics
from openmm_nemo.training.settings import read_settings
from tests.helpers import raises

CONFIG = """
description = "A baseline."
[data]
set = "set"
split = "split.json"
[model]
changes = {lstm_units = 8}
[[stages]]
updates = 1
losses = {initial_angles = 1.0}
[[stages]]
updates = 1
losses = {distances = 1.0}
"""


@pytest.fixture
def model() -> NemoModel:
    torch.manual_seed(0)
    return NemoModel(replace(NemoConfig.preset("tiny"), kind="baseline", lstm_units=32))


def test_predictions_are_those_of_the_conditioned_model(batch, model):
    model.eval()
    prediction = predict(model, batch, RolloutSettings(0, 0, 3), seed=5)
    assert prediction.states.shape == (3, 2, 20, 3)
    for b, sequence in enumerate(("NLYIQWLKDGGPSSGRPPPS", "QWLKDGGPSSGRP")):
        n = len(sequence)
        protein = model.condition(sequence)
        x = protein.initial_state()
        for actual in (prediction.x0, prediction.x, *prediction.states):
            torch.testing.assert_close(actual[b, :n], x, atol=1e-4, rtol=0)
        torch.testing.assert_close(prediction.atoms[b, :n], protein.impute(x), atol=1e-3, rtol=0)
    assert prediction.x0[1, 13:].abs().max() == 0
    assert prediction.growth.tolist() == [0, 0]


@pytest.mark.integration
def test_it_learns_two_structures_by_heart(batch, model):
    model.train()
    loss, other = LOSSES["initial_angles"](), LOSSES["secondary_structure"]()
    optimizer = torch.optim.Adam(model.sequence_network.parameters(), lr=0.01)
    errors = []
    for update in range(100):
        optimizer.zero_grad()
        prediction = predict(model, batch, RolloutSettings(0, 0, 1), seed=update)
        error = loss(prediction, batch).mean() + other(prediction, batch).mean()
        error.backward()
        optimizer.step()
        update_statistics(model, batch, prediction)
        errors.append(error.item())
    assert errors[0] > 2
    assert errors[-1] < 0.4


def test_settings_of_a_baseline(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    assert read_settings(path).model.config().lstm_units == 8


@pytest.mark.parametrize(
    ("line", "changed", "facts"),
    [
        ("[data]", 'precision = "bf16"\n[data]', ["precision", "bf16", "baseline"]),
        ("losses = {d", "steps = 3\nlosses = {d", ["stages.1.steps", 3, "baseline"]),
        ("losses = {i", "losses = {likelihood = 1.0, i", ["stages.0.losses", "likelihood"]),
        ("losses = {d", "losses = {lyapunov = 1.0, d", ["stages.1.losses", "lyapunov"]),
        ("_units = 8", "_units = -8", ["model", "lstm_units", -8]),
    ],
)
def test_stages_that_need_a_simulator_are_refused(tmp_path, line, changed, facts):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.replace(line, changed))
    with raises(InputError, path, *facts):
        read_settings(path)

"""A training run with a stage that learns the forces of a simulation."""

import csv

import numpy as np
import pytest
import torch

from openmm_nemo.data import ForceFrames
from openmm_nemo.training.force_matching import FramePool
from openmm_nemo.training.train import read_checkpoint
from tests.helpers import command_line, names, random_chain, refused
from tests.sets import write_set

CONFIG = """
description = "A model of a test."
seed = 3
warm_up = 1
validate_every = 100
[data]
set = "set"
split = "split.json"
force_frames = ["one.safetensors", "two.safetensors"]
max_length = 12
batch_size = 3
validation_domains = 2
[[stages]]
updates = 11
steps = 2
backpropagated = 1
losses = {distances = 1.0, forces = 0.01}
"""


@pytest.fixture
def inputs(tmp_path):
    write_set(tmp_path)
    for name, sequence in (("one", "ACDEFGHIKL"), ("two", "GAVLK")):
        x = random_chain(6, len(sequence), seed=1).float().numpy()
        forces = np.full_like(x, 20.0)
        ForceFrames(sequence, x, forces, 300.0).write(tmp_path / f"{name}.safetensors")
    return tmp_path


def run(folder, out, config):
    (folder / "config.toml").write_text(config)
    outcome = command_line("train", folder / "config.toml", "--out", folder / out)
    assert outcome.code == 0, outcome.err
    with open(folder / out / "metrics.csv", newline="") as file:
        (row,) = [row for row in csv.DictReader(file) if row["loss/total"]]
    return row, read_checkpoint(folder / out / "last.ckpt")["current_model_state"]


def test_a_stage_with_forces(inputs, monkeypatch):
    """A run's force loss is logged and counts; equal runs draw equal frames; the model needs no frames any more."""
    drawn = []
    draw = FramePool.draw
    monkeypatch.setattr(
        FramePool, "draw", lambda self, *given: drawn.append(given) or draw(self, *given)
    )
    row, weights = run(inputs, "run", CONFIG)
    # About the square of the forces.
    assert 300 < float(row["loss/forces"]) < 600
    expected = float(row["loss/distances"]) + 0.01 * float(row["loss/forces"])
    assert float(row["loss/total"]) == pytest.approx(expected, rel=1e-5)
    again, same = run(inputs, "again", CONFIG)
    assert again == row
    assert drawn[:11] == drawn[11:]
    assert len(set(drawn)) == 11
    assert {n for n, _ in drawn} == {3}
    assert all(torch.equal(value, same[name]) for name, value in weights.items())
    _, without = run(inputs, "without", CONFIG.replace(", forces = 0.01", ""))
    name = "model.energy.terms.learned.structure_network.pair_output.weight"
    assert not torch.equal(weights[name], without[name])
    (inputs / "one.safetensors").unlink()
    outcome = command_line("export", inputs / "run" / "last.ckpt", "--out", inputs / "model")
    assert outcome.code == 0, outcome.err
    sentence = refused("train", inputs / "config.toml", "--out", inputs / "other")
    names(sentence, "one.safetensors")
    assert not (inputs / "other").exists()

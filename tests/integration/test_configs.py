"""The paper's training, as configured in the examples, at a small size."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openmm_nemo.data import DomainSet, write_domains
from openmm_nemo.data.families.profiles import ColumnFrequencies
from openmm_nemo.training.losses import LOSSES
from openmm_nemo.training.settings import read_settings
from openmm_nemo.training.train import read_checkpoint
from tests.helpers import command_line
from tests.sets import write_set

PAPER = Path("examples/configs/paper.toml")

SMALLER = {
    'alignments = "../../domain_alignments.npz"': "",
    "../../run/set/": "",
    "../../run/": "",
    'preset = "paper"': 'preset = "tiny"',
    "updates = 100000": "updates = 2",
    "validate_every = 1000": "validate_every = 2",
    "validation_domains = 64": "validation_domains = 2",
    "steps = 250\n": "steps = 5\n",
    "backpropagated = 250": "backpropagated = 5",
}

BEYOND = {"bonds", "imputation", "energy_size", "contrastive_likelihood", "initial_bonds"} | {
    "pair_likelihood", "chain_likelihood", "denoising_x", "denoising_z", "initial_tm",
    "initial_distances",
}  # fmt: skip
"""Losses that the paper does not have."""


def test_it_has_all_losses_of_the_paper():
    (stage,) = read_settings(PAPER).stages
    assert set(stage.losses) == set(LOSSES) - BEYOND
    assert stage.steps == stage.backpropagated == 250


@pytest.mark.parametrize("profile", [True, False])
def test_the_training_of_the_paper_makes_updates(tmp_path, profile):
    write_set(tmp_path)
    path = tmp_path / "set" / "domains.safetensors"
    domains = [
        replace(
            domain, profiles={"deep": ColumnFrequencies(np.full((len(domain), 20), 9, np.uint8))}
        )
        for domain in DomainSet(path)
    ]
    write_domains(path, domains)
    text = PAPER.read_text()
    changes = SMALLER if profile else SMALLER | {"profile = true": "profile = false"}
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "paper.toml").write_text(text)
    outcome = command_line("train", tmp_path / "paper.toml", "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    content = read_checkpoint(tmp_path / "run" / "last.ckpt")
    assert (content["global_step"], content["skipped"]) == (2, 0)
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        first = next(row for row in csv.DictReader(file) if row["loss/total"])
    losses = {name.removeprefix("loss/") for name in first if name.startswith("loss/")}
    assert losses == (set(LOSSES) - BEYOND) | {"total"}
    assert all(math.isfinite(float(value)) for name, value in first.items() if value)

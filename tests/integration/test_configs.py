"""The paper's training, as configured in the examples, at a small size."""

import csv
import math
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openmm_nemo.data import DomainSet, write_domains
from openmm_nemo.data.families.profiles import ColumnFrequencies
from openmm_nemo.residues import AMINO_ACIDS
from openmm_nemo.training.losses import LOSSES
from openmm_nemo.training.settings import read_settings
from openmm_nemo.training.train import read_checkpoint
from tests.helpers import command_line
from tests.sets import write_set

PAPER = Path("examples/configs/paper.toml")
SEQUENCE_ALONE = Path("examples/configs/paper-1-seq.toml")

SMALLER = {
    "../../run/set/": "",
    "../../run/": "",
    "../../domain_alignments": "domain_alignments",
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


def test_the_two_trainings_differ_in_the_profile_alone():
    with_profile, alone = (tomllib.loads(path.read_text()) for path in (PAPER, SEQUENCE_ALONE))
    assert with_profile["model"].pop("profile")
    assert not alone["model"].pop("profile")
    assert with_profile.pop("description") != alone.pop("description")
    assert alone == with_profile


def write_alignments(path: Path, sequences: dict[str, str]) -> None:
    """One homologue per protein, with the k-th letter from the end for the k-th from the beginning."""
    codes = [[AMINO_ACIDS.index(letter) for letter in text] for text in sequences.values()]
    rows = [np.array([own, np.subtract(len(AMINO_ACIDS) - 1, own)]).T.ravel() for own in codes]
    np.savez_compressed(
        path,
        id=list(sequences),
        length=[len(own) for own in codes],
        rows=[2] * len(codes),
        letters=np.array(AMINO_ACIDS + "-"),
        alignment=np.concatenate(rows).astype(np.uint8),
    )


@pytest.mark.parametrize("config", [PAPER, SEQUENCE_ALONE], ids=lambda path: path.stem)
def test_the_training_of_the_paper_makes_updates(tmp_path, config):
    write_set(tmp_path)
    path = tmp_path / "set" / "domains.safetensors"
    domains = [
        replace(
            domain, profiles={"deep": ColumnFrequencies(np.full((len(domain), 20), 9, np.uint8))}
        )
        for domain in DomainSet(path)
    ]
    write_domains(path, domains)
    write_alignments(
        tmp_path / "domain_alignments.npz", {domain.id: domain.sequence for domain in domains}
    )
    text = config.read_text()
    for old, new in SMALLER.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / config.name).write_text(text)
    outcome = command_line("train", tmp_path / config.name, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    content = read_checkpoint(tmp_path / "run" / "last.ckpt")
    assert (content["global_step"], content["skipped"]) == (2, 0)
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        first = next(row for row in csv.DictReader(file) if row["loss/total"])
    losses = {name.removeprefix("loss/") for name in first if name.startswith("loss/")}
    assert losses == (set(LOSSES) - BEYOND) | {"total"}
    assert all(math.isfinite(float(value)) for name, value in first.items() if value)

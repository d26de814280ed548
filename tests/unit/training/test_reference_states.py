"""Reference states of the energy are fitted to the training set, once, before the first update."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from openmm_nemo.energies import Energy
from openmm_nemo.models import NemoModel
from openmm_nemo.training import module
from openmm_nemo.training.module import NemoTraining
from openmm_nemo.training.settings import TrainingSettings
from tests.sets import domain

TERMS = ("pair-basis", "chain-basis", "backbone")


def settings_of(losses: dict[str, float], start: str | None = None) -> TrainingSettings:
    return TrainingSettings(
        description="A test.",
        data={"set": "set", "split": "split.json"},
        model={"changes": {"terms": TERMS}, "start": start},
        stages=[
            {"updates": 1, "losses": {"distances": 1.0}},
            {"updates": 1, "losses": losses},
        ],
    )


def references(model: NemoModel) -> list[torch.Tensor]:
    return [model.energy.terms[name].reference for name in TERMS[:2]]


@pytest.fixture
def domains():
    """Five domains, of which the first has breaks after its third residue and its ninth."""
    return [replace(domain(0, "1.10.10.10"), breaks=(2, 8))] + [
        domain(k, "1.10.10.10") for k in range(3, 7)
    ]


def fitted(chains) -> list[torch.Tensor]:
    config = settings_of({"distances": 1.0}).model.config()
    energy = Energy(config)
    energy.fit_reference([torch.tensor(np.ascontiguousarray(ca)) for ca in chains])
    return [energy.terms[name].reference for name in TERMS[:2]]


@pytest.mark.parametrize("loss", ["pair_likelihood", "chain_likelihood"])
def test_the_chains_are_the_unbroken_segments(domains, loss):
    training = NemoTraining(settings_of({loss: 1.0}))
    assert all(values.eq(0).all() for values in references(training.model))
    training.fit_reference(domains)
    # Three residues are no chain, nor is one.
    expected = fitted([domains[0].ca[3:9], *(one.ca for one in domains[1:])])
    for found, values in zip(references(training.model), expected, strict=True):
        assert found.equal(values)
        assert found.std() > 0


def test_large_sets_are_thinned_evenly(domains, monkeypatch):
    monkeypatch.setattr(module, "REFERENCE_DOMAINS", 2)
    training = NemoTraining(settings_of({"pair_likelihood": 1.0}))
    training.fit_reference(domains)
    expected = fitted([domains[0].ca[3:9], domains[3].ca])
    for found, values in zip(references(training.model), expected, strict=True):
        assert found.equal(values)


def test_other_losses_need_none(domains):
    training = NemoTraining(settings_of({"tm": 1.0}))
    training.fit_reference(domains)
    assert all(values.eq(0).all() for values in references(training.model))


def test_a_start_model_keeps_its_own(domains, tmp_path):
    first = NemoTraining(settings_of({"pair_likelihood": 1.0}))
    first.fit_reference(domains[:2])
    first.model.save_pretrained(tmp_path / "model")
    training = NemoTraining(settings_of({"pair_likelihood": 1.0}, str(tmp_path / "model")))
    training.fit_reference(domains)
    for found, values in zip(references(training.model), references(first.model), strict=True):
        assert found.equal(values)
        assert found.std() > 0

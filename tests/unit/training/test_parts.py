"""Stages that train only a part of a model."""

import pytest
import torch

from openmm_nemo.config import NemoConfig
from openmm_nemo.energies.scales import Scales
from openmm_nemo.errors import InputError
from openmm_nemo.models import NemoModel
from openmm_nemo.training.parts import PARTS, has_part, train_only
from openmm_nemo.training.settings import read_settings
from tests.helpers import raises

TERMS = ["pair-basis", "chain-basis", "backbone"]
SCALES = {
    "energy.terms.pair-basis.scales.logarithms",
    "energy.terms.chain-basis.scales.logarithms",
}


def model_of(terms: list[str], **changes) -> NemoModel:
    values = NemoConfig.preset("tiny").to_dict() | {"terms": terms} | changes
    return NemoModel(NemoConfig.from_dict(values))


def trained(model: NemoModel) -> set[str]:
    return {name for name, weight in model.named_parameters() if weight.requires_grad}


def test_parts_are_scales_and_heads():
    model = model_of([*TERMS, "learned"])
    everything = trained(model)
    train_only(model, ["scales"])
    assert trained(model) == SCALES
    train_only(model, ["heads"])
    heads = {name for name in everything if name.startswith("sequence_network.term_heads.")}
    assert trained(model) == heads != set()
    train_only(model, ["heads", "scales"])
    assert trained(model) == heads | SCALES
    train_only(model, [])
    assert trained(model) == everything


@pytest.mark.parametrize("terms", [["learned"], ["backbone"], TERMS], ids=str)
@pytest.mark.parametrize("part", PARTS)
def test_a_model_has_a_part_if_it_has_weights(part, terms):
    model = model_of(terms)
    before = torch.get_rng_state()
    expected = {"scales": terms == TERMS, "heads": terms != ["backbone"]}
    assert has_part(model.config, part) == expected[part]
    assert torch.get_rng_state().equal(before)
    assert any(isinstance(module, Scales) for module in model.modules()) == expected["scales"]


def test_a_baseline_has_none():
    config = NemoConfig.from_dict(
        NemoConfig.preset("tiny").to_dict() | {"kind": "baseline", "lstm_units": 8}
    )
    assert not any(has_part(config, part) for part in PARTS)


def written(tmp_path, stage: str, terms: list[str] = TERMS):
    path = tmp_path / "run.toml"
    path.write_text(
        f"""description = "A test."
data = {{ set = "set", split = "split.json" }}
stages = [{{ updates = 1, losses = {{ distances = 1.0 }} }}, {{ updates = 1, {stage} }}]
model = {{ changes = {{ terms = {terms} }} }}
"""
    )
    return path


def test_unknown_parts_are_refused(tmp_path):
    path = written(tmp_path, 'train = ["trunk"], losses = { likelihood = 1.0 }')
    with raises(InputError, path, "stages.1.train", "trunk", "scales", "heads"):
        read_settings(path)


@pytest.mark.parametrize(("part", "terms"), [("scales", ["learned"]), ("heads", ["backbone"])])
def test_parts_that_the_model_lacks_are_refused(tmp_path, part, terms):
    path = written(tmp_path, f'train = ["{part}"], losses = {{ likelihood = 1.0 }}', terms)
    with raises(InputError, path, "stages.1.train", part):
        read_settings(path)


def test_losses_that_do_not_depend_on_the_part_are_refused(tmp_path):
    """Pair likelihood: the coefficients, but no scales."""
    losses = "losses = { pair_likelihood = 1.0 }"
    path = written(tmp_path, f'train = ["scales"], {losses}')
    with raises(InputError, path, "stages.1.train", "scales", "likelihood"):
        read_settings(path)
    read_settings(written(tmp_path, f'train = ["heads"], {losses}'))
    losses = "losses = { distances = 1.0 }, steps = 2"
    with raises(InputError, "stages.1.train", "heads"):
        read_settings(written(tmp_path, f'train = ["heads"], {losses}'))
    read_settings(written(tmp_path, f'train = ["heads"], backpropagated = 2, {losses}'))

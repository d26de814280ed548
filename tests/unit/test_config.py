from dataclasses import replace

import pytest
import torch

from openmm_nemo.config import PRESETS, NemoConfig
from openmm_nemo.encoders import input_width, node_features
from openmm_nemo.errors import InputError
from openmm_nemo.models import NemoModel
from tests.helpers import raises


def n_parameters(config: NemoConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in NemoModel(config).parameters())


def test_paper_preset_has_the_size_the_paper_reports():
    sequence = n_parameters(NemoConfig.preset("paper"))
    profile = n_parameters(NemoConfig.preset("paper", profile=True))
    assert sequence == pytest.approx(19.1e6, rel=0.05)
    assert profile == pytest.approx(21.3e6, rel=0.05)
    assert profile - sequence == pytest.approx(2.2e6, rel=0.1)


@pytest.mark.parametrize(("units", "millions"), [(100, 5.9), (300, 8.8), (500, 13.7), (700, 21.4)])
def test_the_baselines_of_the_paper_have_about_the_sizes_that_it_reports(units, millions):
    """Table 1, for profiles."""
    config = replace(NemoConfig.preset("paper", profile=True), kind="baseline", lstm_units=units)
    assert n_parameters(config) == pytest.approx(1e6 * millions, rel=0.06)


def test_widths_of_the_paper():
    config = NemoConfig.preset("paper", profile=True)
    assert (input_width(config), node_features(config), config.pair_features) == (40, 296, 100)
    assert node_features(NemoConfig.preset("paper")) == 276


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("profile", [False, True])
def test_dictionary_round_trip(name, profile):
    config = NemoConfig.preset(name, profile)
    assert NemoConfig.from_dict(config.to_dict()) == config


def test_unknown_preset_lists_the_names():
    with raises(InputError, "huge", "tiny, small, fold, paper"):
        NemoConfig.preset("huge")


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"colour": 1}, ["key", "colour"]),
        ({"node_channels": "16"}, ["node_channels", "'16'"]),
        ({"node_channels": True}, ["node_channels", True]),
        ({"node_channels": 16.0}, ["node_channels", 16.0]),
        ({"kind": "rnn"}, ["kind", "'rnn'", "nemo"]),
        ({"encoders": []}, ["encoders"]),
        ({"encoders": ["one-hot", "one-hot"]}, ["encoders", "different"]),
        ({"terms": [1]}, ["terms", 1]),
        ({"embedding_width": 8}, ["embedding_width", 8, "encoders"]),
        ({"encoders": ["embedding"]}, ["embedding_width", 0, "encoders"]),
        ({"lstm_units": 8}, ["lstm_units", 8, "nemo"]),
        ({"kind": "baseline"}, ["lstm_units", 0, "baseline"]),
        ({"dilations": 2}, ["dilations", 2]),
        ({"dilations": [1, 0.5]}, ["dilations", 0.5]),
        ({"dilations": []}, ["dilations"]),
        ({"dropout": None}, ["dropout", None]),
        ({"dropout": 1.0}, ["dropout", 1.0]),
        ({"pair_width": 4}, ["pair_width", 4]),
        ({"sequence_blocks": 0}, ["sequence_blocks", 0]),
        ({"attention_heads": 3}, ["multiple", "attention_heads"]),
        ({"rbf_widths": [1.0]}, ["rbf_centres", "rbf_widths"]),
    ],
)
def test_bad_values_are_named(change, facts):
    with raises(InputError, *facts):
        NemoConfig.from_dict(NemoConfig.preset("tiny").to_dict() | change)


@pytest.mark.parametrize("key", list(NemoConfig().to_dict()))
def test_missing_keys_have_their_defaults(key):
    values = NemoConfig().to_dict()
    del values[key]
    assert NemoConfig.from_dict(values) == NemoConfig()


def test_whole_numbers_may_stand_for_floats():
    values = NemoConfig.preset("tiny").to_dict() | {"dropout": 0, "rbf_centres": [4, 7, 11, 18]}
    assert NemoConfig.from_dict(values).rbf_centres == (4.0, 7.0, 11.0, 18.0)

"""Model folders: round trips and every way in which one can be unusable."""

import json

import pytest
import safetensors.torch
import torch

from openmm_nemo import config as config_module
from openmm_nemo.config import CONFIG_VERSION, NemoConfig
from openmm_nemo.errors import InputError
from openmm_nemo.models import NemoModel, list_models, pretrained
from tests.helpers import raises
from tests.unit.models.chains import make_chain, make_model

CONFIG, WEIGHTS = pretrained.CONFIG_FILE, pretrained.WEIGHTS_FILE


@pytest.fixture
def folder(tmp_path):
    model = make_model(dtype=torch.float32)
    model.trained = True
    model.description = "A test."
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def rewrite(folder, weights=None, **changes):
    """Change files and set the checksum right, as a foreign writer could."""
    metadata = json.loads((folder / CONFIG).read_text()) | changes
    metadata = {key: value for key, value in metadata.items() if value is not None}
    content = (folder / WEIGHTS).read_bytes() if weights is None else weights
    metadata["sha256"] = pretrained._digest(metadata, content)
    (folder / WEIGHTS).write_bytes(content)
    (folder / CONFIG).write_text(json.dumps(metadata))


def tensors(folder):
    return safetensors.torch.load((folder / WEIGHTS).read_bytes())


@pytest.mark.parametrize("profile", [False, True])
def test_round_trip_is_exact(tmp_path, profile):
    model = make_model(profile=profile, dtype=torch.float32)
    model.trained, model.description = True, "Grüße."
    model.save_pretrained(tmp_path)
    again = NemoModel.from_pretrained(tmp_path)
    assert (again.config, again.trained, again.description) == (model.config, True, "Grüße.")
    assert not again.training
    expected = model.state_dict()
    assert list(again.state_dict()) == list(expected)
    assert all(value.equal(expected[name]) for name, value in again.state_dict().items())
    assert sorted(path.name for path in tmp_path.iterdir()) == [CONFIG, WEIGHTS]


def test_saving_twice_gives_the_same_bytes(folder, tmp_path):
    NemoModel.from_pretrained(str(folder)).save_pretrained(tmp_path / "again")
    for name in (CONFIG, WEIGHTS):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_a_failed_write_leaves_the_old_model(folder, monkeypatch):
    before = (folder / WEIGHTS).read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(pretrained.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        make_model("small", dtype=torch.float32).save_pretrained(folder)
    assert (folder / WEIGHTS).read_bytes() == before
    assert len(list(folder.iterdir())) == 2
    NemoModel.from_pretrained(folder)


def test_nemo_tiny_is_installed_and_says_that_it_is_untrained():
    assert "ntrained" in list_models()["nemo-tiny"]
    model = NemoModel.from_pretrained("nemo-tiny")
    assert not model.trained
    assert model.config == NemoConfig.preset("tiny")
    assert model.condition("ACDEFG").energy(make_chain(6, 0, torch.float32)).isfinite()
    files = pretrained.find_model("nemo-tiny").iterdir()
    assert sum(path.stat().st_size for path in files) < 500_000


def test_models_inside_an_installed_package_are_found(folder, tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "openmm_nemo"
    target = package / "torchscript_models" / "nemo-test"
    target.mkdir(parents=True)
    for name in (CONFIG, WEIGHTS):
        (target / name).write_bytes((folder / name).read_bytes())
    monkeypatch.setattr(pretrained, "__file__", str(package / "networks" / "pretrained.py"))
    assert list_models() == {"nemo-test": "A test."}
    assert NemoModel.from_pretrained("nemo-test").description == "A test."


def test_unknown_names_list_the_installed_ones():
    with raises(InputError, "nemo-huge", "nemo-mini", "nemo-tiny"):
        NemoModel.from_pretrained("nemo-huge")


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_missing_files_are_named(folder, name):
    (folder / name).unlink()
    with raises(InputError, folder, name):
        NemoModel.from_pretrained(folder)


def test_every_changed_byte_of_the_configuration_is_noticed(folder):
    content = (folder / CONFIG).read_bytes()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        (folder / CONFIG).write_bytes(changed)
        with raises(InputError, "config.json"):
            pretrained.read_model(folder)


def test_a_changed_byte_of_the_weights_is_noticed(folder):
    content = (folder / WEIGHTS).read_bytes()
    for position in (0, 7, 50, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[position] ^= 1
        (folder / WEIGHTS).write_bytes(changed)
        with raises(InputError, WEIGHTS, folder):
            pretrained.read_model(folder)


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (b"{", ["JSON"]),
        (b"\xff\xfe", ["JSON"]),
        (b"[]", ["JSON object"]),
        (b"{}", ["format version", None]),
        (b'{"format_version": 99}', ["format version 99"]),
    ],
)
def test_unreadable_configurations(folder, content, facts):
    (folder / CONFIG).write_bytes(content)
    with raises(InputError, CONFIG, *facts):
        NemoModel.from_pretrained(folder)


@pytest.mark.parametrize(
    "change", [{"trained": "yes"}, {"trained": None}, {"description": 3}, {"config": []}]
)
def test_incomplete_metadata(folder, change):
    rewrite(folder, **change)
    with raises(InputError, CONFIG, "config", "trained", "description"):
        NemoModel.from_pretrained(folder)


def test_bad_hyperparameters_name_the_file(folder):
    config = NemoConfig.preset("tiny").to_dict() | {"pair_width": 2}
    rewrite(folder, config=config)
    with raises(InputError, "config.json", "pair_width", 2):
        NemoModel.from_pretrained(folder)


def test_files_that_are_not_safetensors(folder):
    rewrite(folder, weights=b"PK\x03\x04 pickled")
    with raises(InputError, WEIGHTS, "safetensors"):
        NemoModel.from_pretrained(folder)


def test_weights_of_another_shape(folder):
    rewrite(folder, config=NemoConfig.preset("tiny").to_dict() | {"expansion_rank": 5})
    with raises(InputError, "contraction", "(4, 4, 4)", "(5, 5, 4)"):
        NemoModel.from_pretrained(folder)


def test_missing_and_unknown_tensors(folder):
    weights = tensors(folder)
    removed = weights.pop("imputation.output.bias")
    rewrite(folder, weights=safetensors.torch.save(weights))
    with raises(InputError, "imputation.output.bias"):
        NemoModel.from_pretrained(folder)
    weights |= {"imputation.output.bias": removed, "extra": torch.zeros(1)}
    rewrite(folder, weights=safetensors.torch.save(weights))
    with raises(InputError, "extra"):
        NemoModel.from_pretrained(folder)


def test_a_hyperparameter_of_a_newer_version_names_that_version(folder):
    config = NemoModel.from_pretrained(folder).config.to_dict() | {"colour": 1}
    newer = {"config": config, "config_version": 99, "written_by": "openmm_nemo 9.8.7"}
    rewrite(folder, **newer)
    with raises(InputError, folder / CONFIG, "colour", "openmm_nemo 9.8.7"):
        NemoModel.from_pretrained(folder)
    # Of this version, it is a mistake.
    rewrite(folder, config_version=CONFIG_VERSION)
    with pytest.raises(InputError, match="'colour'") as error:
        NemoModel.from_pretrained(folder)
    assert "9.8.7" not in str(error.value)


def test_a_folder_of_a_newer_format_names_the_version_that_wrote_it(folder):
    rewrite(folder, format_version=99, written_by="openmm_nemo 9.8.7")
    with raises(InputError, folder / CONFIG, "format version 99", "openmm_nemo 9.8.7"):
        NemoModel.from_pretrained(folder)


def test_a_newer_configuration_without_unknown_keys_opens(folder):
    expected = NemoModel.from_pretrained(folder).config
    rewrite(folder, config_version=99, written_by="openmm_nemo 9.8.7")
    assert NemoModel.from_pretrained(folder).config == expected


def test_a_missing_key_has_the_default_of_the_version_that_wrote_the_folder(folder, monkeypatch):
    """As if the default of max_separation had changed from 7 to 32 with version 2."""
    config = NemoModel.from_pretrained(folder).config.to_dict()
    del config["max_separation"]
    before = config_module.UPGRADES[1]
    monkeypatch.setitem(
        config_module.UPGRADES, 1, lambda values: {"max_separation": 7} | before(values)
    )
    old = {key: value for key, value in config.items() if key not in ("kind", "encoders", "terms")}
    assert NemoConfig.from_dict(old, version=1).max_separation == 7
    assert NemoConfig.from_dict(config).max_separation == 32

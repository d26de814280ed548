"""The energy of one protein as bytes: exact, checked, and nothing that could run code."""

import json
import struct
from dataclasses import replace

import pytest
import safetensors.torch
import torch

from openmm_nemo.config import CONFIG_VERSION
from openmm_nemo.energies import ComplexEnergy, Origin, ProteinEnergy, protein
from openmm_nemo.errors import InputError
from tests.helpers import DTYPES, raises
from tests.tolerances import assert_close
from tests.unit.models.chains import make_chain, make_model

SEQUENCE = "NLYIQWLKDG"


def make_energy(dtype=torch.float32) -> ProteinEnergy:
    model = make_model(dtype=dtype)
    model.name = "a model"
    return model.condition(SEQUENCE).potential


@pytest.fixture(scope="module")
def content() -> bytes:
    return make_energy().to_bytes()


def header_of(content: bytes) -> dict:
    """The JSON of safetensors: eight bytes for its length, then text."""
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size])


def rewritten(content: bytes, digest: bool = True, **changes) -> bytes:
    """With another header; its digest is set right, as a foreign writer could, unless told otherwise."""
    tensors = safetensors.torch.load(content)
    header = json.loads(header_of(content)["__metadata__"]["openmm_nemo"])
    old = header.pop("sha256")
    header |= changes
    new = protein._digest(header, tensors) if digest else old
    text = json.dumps(header | {"sha256": new}, sort_keys=True)
    return safetensors.torch.save(tensors, {"openmm_nemo": text})


@DTYPES
def test_round_trips_are_exact(dtype):
    energy = make_energy(dtype)
    again = ProteinEnergy.from_bytes(energy.to_bytes())
    expected, found = energy.state_dict(), again.state_dict()
    assert list(found) == list(expected)
    assert all(value.dtype == expected[name].dtype for name, value in found.items())
    assert all(value.equal(expected[name]) for name, value in found.items())
    assert (again.sequence, again.origin) == (SEQUENCE, energy.origin)
    assert again.origin.model == "a model"
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    x = torch.stack([make_chain(10, k, dtype) for k in range(2)])
    assert again(x).equal(energy(x))
    for values, others in zip(again.coefficient_values(), energy.coefficient_values(), strict=True):
        assert values.stride() == others.stride()
    assert again.to_bytes() == energy.to_bytes()


def test_the_energy_is_that_of_the_model_with_its_sequence():
    model = make_model()
    energy = ProteinEnergy.from_bytes(model.condition(SEQUENCE).potential.to_bytes())
    assert energy.origin == Origin("", model.fingerprint(), model.config)
    x, mask = make_chain(10, 3)[None], torch.ones(1, 10, dtype=torch.float64)
    output = model.sequence_network(model.encode(SEQUENCE), mask)
    assert_close(energy(x), model.energy(x, output.coefficients, mask).detach(), "rounding")


def test_a_profile_model_keeps_its_configuration():
    model = make_model(profile=True)
    potential = model.condition("ACDE", [[0.5] * 20] * 4).potential
    assert ProteinEnergy.from_bytes(potential.to_bytes()).origin.config == model.config


def test_bytes_are_numbers_behind_json_and_nothing_else(content):
    """The whole file is accounted for: a header of JSON, and the numbers of the tensors that it lists."""
    header = header_of(content)
    assert list(header.pop("__metadata__")) == ["openmm_nemo"]
    (size,) = struct.unpack("<Q", content[:8])
    ends = sorted(tensor["data_offsets"] for tensor in header.values())
    assert [first for first, _ in ends] == [0] + [end for _, end in ends[:-1]]
    assert ends[-1][1] == len(content) - 8 - size
    assert {tensor["dtype"] for tensor in header.values()} <= {"F32", "I64"}


def test_reading_unpickles_nothing(content, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(f"pickle.{name}", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    assert ProteinEnergy.from_bytes(content).sequence == SEQUENCE


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": "A" * 10},
        {"model": "another"},
        {"model_sha256": "0" * 64},
        {"config": replace(make_model().config, dropout=0.2).to_dict()},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_changed_names_are_noticed(content, changes):
    with pytest.raises(InputError, match="changed since it was written"):
        ProteinEnergy.from_bytes(rewritten(content, digest=False, **changes))


def test_changed_numbers_are_noticed(content):
    changed = bytearray(content)
    changed[-3] ^= 1
    with pytest.raises(InputError, match="changed since it was written"):
        ProteinEnergy.from_bytes(bytes(changed))


@pytest.mark.parametrize("changes", [{"format_version": 3}, {"format_version": 99}])
def test_newer_versions_are_named_as_such(content, changes):
    with pytest.raises(InputError, match="newer version"):
        ProteinEnergy.from_bytes(rewritten(content, **changes))


def test_hyperparameters_of_a_newer_version_are_named_as_such(content):
    config = make_model().config.to_dict() | {"colours": 3}
    newer = rewritten(content, config=config, config_version=CONFIG_VERSION + 1)
    with pytest.raises(InputError, match="newer version"):
        ProteinEnergy.from_bytes(newer)


@pytest.mark.parametrize("kept", [0, 1, 8, 9, 100, 5000, -1])
def test_cut_bytes_are_refused(content, kept):
    with pytest.raises(InputError, match="cannot be read"):
        ProteinEnergy.from_bytes(content[:kept])


GARBAGE = {
    "text": b"not safetensors" * 10,
    "a pickle": b"\x80\x04\x95" + bytes(50),
    "a huge header": struct.pack("<Q", 2**63) + b"{}",
    "no metadata": safetensors.torch.save({"a": torch.zeros(1)}),
    "other metadata": safetensors.torch.save({"a": torch.zeros(1)}, {"format": "pt"}),
    "no names": safetensors.torch.save({"a": torch.zeros(1)}, {"openmm_nemo": "{}"}),
    "a list": safetensors.torch.save({"a": torch.zeros(1)}, {"openmm_nemo": "[]"}),
    "not JSON": safetensors.torch.save({"a": torch.zeros(1)}, {"openmm_nemo": "{"}),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_other_bytes_are_refused(name):
    with pytest.raises(InputError, match="cannot be read"):
        ProteinEnergy.from_bytes(GARBAGE[name])


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "another"},
        {"format_version": "1"},
        {"format_version": None},
        {"config": None},
        {"config": []},
        {"config_version": None},
        {"config_version": "2"},
        {"config_version": 0},
        {"config": replace(make_model().config, pair_channels=8).to_dict()},
        {"config": make_model().config.to_dict() | {"terms": ["springs"]}},
        {"config": make_model().config.to_dict() | {"colours": 3}},
        {"sequence": 3},
        {"sequence": "ACDE"},
    ],
    ids=str,
)
def test_headers_of_foreign_writers_are_refused(content, changes):
    """With a right digest."""
    with pytest.raises(InputError):
        ProteinEnergy.from_bytes(rewritten(content, **changes))


def test_tensors_of_foreign_writers_are_refused(content):
    tensors = safetensors.torch.load(content)
    header = json.loads(header_of(content)["__metadata__"]["openmm_nemo"])
    del header["sha256"]
    for change in (
        {"coefficients.0.value": torch.zeros(3, 2)},
        {"coefficients.7.value": torch.zeros(3, 2)},
        {"unknown": torch.zeros(1)},
        {"coefficients.1.value": None},
    ):
        changed = {name: value for name, value in (tensors | change).items() if value is not None}
        text = json.dumps(header | {"sha256": protein._digest(header, changed)})
        with pytest.raises(InputError):
            ProteinEnergy.from_bytes(safetensors.torch.save(changed, {"openmm_nemo": text}))


# Complexes


def test_complexes_are_read_back_exactly_and_refused_by_earlier_releases():
    energy = make_model("fold").condition("NLYIQWLK:DGGPS").potential
    content = energy.to_bytes()
    again = ProteinEnergy.from_bytes(content)
    assert type(again) is ComplexEnergy
    assert (again.sequence, again.chain_lengths) == ("NLYIQWLK:DGGPS", [8, 5])
    x = torch.cat([make_chain(8, 1), make_chain(5, 2)])[None]
    assert again(x).equal(energy(x))
    assert again.to_bytes() == content
    header = json.loads(header_of(content)["__metadata__"]["openmm_nemo"])
    assert header["format_version"] == 2


def test_one_chain_is_written_as_by_earlier_releases(content):
    header = json.loads(header_of(content)["__metadata__"]["openmm_nemo"])
    assert header["format_version"] == 1
    assert header["sequence"] == SEQUENCE
    assert type(ProteinEnergy.from_bytes(content)) is ProteinEnergy


@pytest.mark.parametrize("sequence", ["NLYIQWLK:DGGP", "NLYIQWLKD:GGPSS", "NLYIQWLK:DGGPS:AAAA"])
def test_chains_of_other_lengths_are_refused(sequence):
    content = make_model("fold").condition("NLYIQWLK:DGGPS").potential.to_bytes()
    with raises(InputError, "create_system"):
        ProteinEnergy.from_bytes(rewritten(content, sequence=sequence))

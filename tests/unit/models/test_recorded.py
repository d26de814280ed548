"""Version 0.1 keeps its trajectories, its files and its random models: what it wrote is in tests/data."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import openmm as mm
import pytest
import torch

from openmm_nemo import NemoConfig, NemoModel
from tests.tolerances import TOLERANCES
from tests.unit.engine.toys import energy_of, make_context

DATA = Path(__file__).parents[2] / "data"
FOLDERS = DATA / "models-0.1"
SEQUENCE = "NLYIQWLKDGGPSSGRPPPS"
SEED, STEPS = 5, 50

FINGERPRINTS = {
    "nemo-mini": "e96d4cb042ed7cb8da202a7c0ed5a0add216828a8e082cc9062844a7302a008e",
    "nemo-tiny": "92904ebd1c53232e9b4177b947d555768a42ac50ea706db07e8334d5a76cb6bb",
    "rnn-mini": "238b3783e500cc646ef8edbd86889c5bb28802a16dd34a2bdfecac51e852f6c8",
}

# Of models made after torch.manual_seed(3), see `projection`.
RANDOM = {
    ("tiny", False): 35.7521,
    ("tiny", True): 2.0203,
    ("small", False): 114.1378,
    ("small", True): -85.3259,
    ("baseline", False): -9.3202,
}


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    with np.load(DATA / "recorded" / "trajectories.npz") as file:
        return dict(file)


def condition(name: str):
    return NemoModel.from_pretrained(FOLDERS / name).double().condition(SEQUENCE)


def check(found, expected: np.ndarray) -> None:
    """Angstrom, or kT."""
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=TOLERANCES["recorded"])


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_predictions_are_those_of_version_0_1(recorded, name):
    protein = condition(name)
    check(protein.initial_state(), recorded[f"{name} initial"])
    with torch.no_grad():
        check(protein.impute(protein.initial_state()), recorded[f"{name} atoms"])
    assert protein.has_energy == (name != "rnn-mini")


@pytest.mark.parametrize("name", ["nemo-mini", "nemo-tiny"])
def test_rollouts_are_those_of_version_0_1(recorded, name):
    trajectory = condition(name).rollout(STEPS, n_chains=2, seed=SEED)
    check(trajectory.x, recorded[f"{name} torch"])
    check(trajectory.energy, recorded[f"{name} energy"])


@pytest.mark.parametrize("name", ["nemo-mini", "nemo-tiny"])
@pytest.mark.parametrize("platform_name", ["Reference", "CPU"])
def test_simulations_in_openmm_are_those_of_version_0_1(recorded, name, platform_name):
    protein = condition(name)
    integrator = protein.create_integrator(300, seed=SEED)
    start = protein.initial_positions()._value
    context = make_context(protein.create_system(), integrator, start, platform_name)
    for expected in recorded[f"{name} {platform_name}"]:
        positions = context.getState(positions=True).getPositions(asNumpy=True)._value
        check(10 * positions, expected)
        integrator.step(1)


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_fingerprints_which_runs_are_resumed_by_are_the_same(name):
    assert NemoModel.from_pretrained(FOLDERS / name).fingerprint() == FINGERPRINTS[name]


def projection(model: NemoModel) -> float:
    """A number to which every weight contributes, each with another factor."""
    total = 0.0
    for k, parameter in enumerate(model.parameters()):
        values = parameter.detach().double().flatten()
        total += float(
            (values * torch.cos(torch.arange(len(values), dtype=torch.float64) + k)).sum()
        )
    return total


@pytest.mark.parametrize(("preset", "profile"), RANDOM)
def test_random_models_of_a_seed_are_the_same(preset, profile):
    if preset == "baseline":
        config = replace(NemoConfig.preset("tiny"), kind="baseline", lstm_units=8)
    else:
        config = NemoConfig.preset(preset, profile)
    torch.manual_seed(3)
    # Random numbers and logarithms differ by rounding between processors.
    assert abs(projection(NemoModel(config)) - RANDOM[preset, profile]) < 1e-3


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_old_folders_have_the_configuration_that_they_were_written_with(name):
    written = json.loads((FOLDERS / name / "config.json").read_text())["config"]
    config = NemoModel.from_pretrained(FOLDERS / name).config
    assert config.profile == written.pop("profile") is False
    assert config.kind == ("baseline" if name == "rnn-mini" else "nemo")
    assert written.items() <= config.to_dict().items()


def test_an_old_folder_is_the_same_model_when_it_is_written_again(tmp_path):
    model = NemoModel.from_pretrained(FOLDERS / "nemo-tiny")
    model.save_pretrained(tmp_path)
    again = NemoModel.from_pretrained(tmp_path)
    assert again.config == model.config
    assert again.fingerprint() == FINGERPRINTS["nemo-tiny"]


def test_old_xml_of_a_system_opens_and_is_written_again():
    text = gzip.decompress((DATA / "recorded" / "system-0.1.xml.gz").read_bytes()).decode()
    protein = NemoModel.from_pretrained(FOLDERS / "nemo-tiny").condition(SEQUENCE)
    start = protein.initial_positions()._value
    expected = make_context(protein.create_system(), mm.VerletIntegrator(0.001), start, "Reference")
    for _ in range(2):
        system = mm.XmlSerializer.deserialize(text)
        context = make_context(system, mm.VerletIntegrator(0.001), start, "Reference")
        assert energy_of(context) == pytest.approx(energy_of(expected), rel=1e-5)
        text = mm.XmlSerializer.serialize(system)

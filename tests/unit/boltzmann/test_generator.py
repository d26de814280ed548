"""Boltzmann generators of molecules with known distributions, their files, and what is refused."""

import hashlib
import json
import math

import numpy as np
import openmm as mm
import pytest
import torch
from scipy import stats

from openmm_nemo import NemoModel
from openmm_nemo.boltzmann import BoltzmannGenerator, FitSettings
from openmm_nemo.boltzmann.generator import CONFIG_FILE, SYSTEM_FILE, WEIGHTS_FILE
from openmm_nemo.errors import InputError
from tests.helpers import need_plugin, raises
from tests.tolerances import BOLTZMANN_GENERATOR, assert_close
from tests.unit.boltzmann.molecules import (
    ANGLE,
    BOND,
    KT,
    beads,
    beads_log_partition,
    energy,
    torsion_energy,
)

SETTINGS = FitSettings(
    hot=900,
    hot_updates=120,
    draws=2048,
    buffer=1024,
    updates=50,
    batch=256,
    last_stages=1,
    coldest=0.5,
)


@pytest.fixture(scope="session")  # tests with and without a marker are apart
def double_well() -> BoltzmannGenerator:
    return BoltzmannGenerator.fit(*beads()[:2], 300, beads()[2], SETTINGS, workers=1)


@pytest.fixture(scope="session")
def chain() -> BoltzmannGenerator:
    """Six beads with three torsions: eight combinations of wells."""
    system, topology, x = beads(6)
    return BoltzmannGenerator.fit(system, topology, 300 * mm.unit.kelvin, x, SETTINGS, workers=1)


def internal(generator, positions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lengths (n, N - 1), angles and dihedrals without the package: nm and radian."""
    bonds = np.diff(positions, axis=1)
    length = np.linalg.norm(bonds, axis=-1)
    cosine = -(bonds[:, 1:] * bonds[:, :-1]).sum(-1) / (length[:, 1:] * length[:, :-1])
    first = np.cross(bonds[:, :-2], bonds[:, 1:-1])
    second = np.cross(bonds[:, 1:-1], bonds[:, 2:])
    y = length[:, 1:-1] * (bonds[:, :-2] * second).sum(-1)
    return length, np.arccos(cosine), np.arctan2(y, (first * second).sum(-1))


def distance(values, weights, grid, density) -> float:
    """Kolmogorov-Smirnov distance of weighted samples from a density on a grid."""
    order = np.argsort(values)
    found = np.cumsum(weights[order]) / weights.sum()
    cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    expected = np.interp(values[order], grid, cumulative / cumulative[-1])
    return float(np.abs(found - expected).max())


@pytest.mark.boltzmann
@pytest.mark.parametrize("name", ["double_well", "chain"])
def test_weighted_samples_have_the_known_distribution(name, request):
    """All torsions, angles and bonds: false alarm below 1 in 10,000 with the 20,000 samples."""
    generator = request.getfixturevalue(name)
    samples = generator.sample(20_000, seed=3)
    assert samples.effective_sample_size > BOLTZMANN_GENERATOR["effective"] * 20_000
    length, angle, dihedral = internal(generator, samples.positions)
    d = np.linspace(-math.pi, math.pi, 2001)
    a = np.linspace(0.6, 3.1, 2001)
    b = np.linspace(0.3, 0.46, 2001)
    cases = [
        (dihedral, d, np.exp(-torsion_energy(d))),
        (angle, a, np.sin(a) * np.exp(-0.5 * ANGLE[1] * (a - ANGLE[0]) ** 2)),
        (length, b, b**2 * np.exp(-0.5 * BOND[1] * (b - BOND[0]) ** 2)),
    ]
    for values, grid, density in cases:
        for column in values.T:
            found = distance(column, samples.weights, grid, density)
            assert found < BOLTZMANN_GENERATOR["KS"]


@pytest.mark.boltzmann
def test_torsions_are_independent(chain):
    """Of each other, as the energy is: weights of all eight combinations of wells."""
    samples = chain.sample(20_000, seed=4)
    _, _, dihedral = internal(chain, samples.positions)
    d = np.linspace(-math.pi, math.pi, 4001)
    density = np.exp(-torsion_energy(d))
    outer = float(density[np.abs(d) > math.pi / 2].sum() / density.sum())
    found = (np.abs(dihedral) > math.pi / 2) @ [1, 2, 4]
    for combination in range(8):
        ones = combination.bit_count()
        expected = outer**ones * (1 - outer) ** (3 - ones)
        weight = samples.weights[found == combination].sum()
        # Five standard deviations of a share of as many independent samples.
        error = 5 * math.sqrt(expected * (1 - expected) / samples.effective_sample_size)
        assert weight == pytest.approx(expected, abs=error)


@pytest.mark.boltzmann
@pytest.mark.parametrize(("name", "n"), [("double_well", 4), ("chain", 6)])
def test_the_free_energy_is_that_of_quadrature(name, n, request):
    found = request.getfixturevalue(name).free_energy(20_000, seed=5)
    assert found.error < 0.05 * KT
    # Five standard errors.
    assert found.value == pytest.approx(-KT * beads_log_partition(n), abs=5 * found.error)


def test_log_weights_of_samples_are_those_of_their_positions(chain):
    """Wherever they are and however they are turned."""
    samples = chain.sample(50, seed=6)
    turn = stats.special_ortho_group(3, seed=0).rvs()
    moved = samples.positions @ turn.T + [1.0, -2.0, 0.5]
    np.testing.assert_allclose(chain.log_weights(moved), samples.log_weights, atol=1e-4)
    with_unit = moved * mm.unit.nanometer
    np.testing.assert_allclose(chain.log_weights(with_unit), samples.log_weights, atol=1e-4)


def test_log_weights_contain_the_energy(chain):
    """A System of twice the energy has other weights, by exactly that energy."""
    samples = chain.sample(5, seed=7)
    expected = [energy(chain.system, x) / KT for x in samples.positions]
    with torch.no_grad():
        d, w = chain.flow.coordinates.internal(10 * torch.from_numpy(samples.positions))
        _, log_volume = chain.flow.coordinates.cartesian(d, w)
        log_q = chain.flow.log_prob(d.float(), w.float())
    found = (log_volume - log_q).numpy() - samples.log_weights
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_same_seed_gives_the_same_samples(chain):
    first, second, other = (chain.sample(30, seed=seed) for seed in (8, 8, 9))
    assert (first.positions == second.positions).all()
    assert (first.log_weights == second.log_weights).all()
    assert (first.positions != other.positions).any()


def test_the_same_seed_gives_the_same_training():
    settings = FitSettings(hot_updates=3, draws=128, buffer=64, updates=2, batch=16, last_stages=1)
    system, topology, x = beads()
    state = torch.get_rng_state()
    first, second = (
        BoltzmannGenerator.fit(system, topology, 300, x, settings, seed=4, workers=workers)
        for workers in (1, 2)
    )
    assert (torch.get_rng_state() == state).all()
    for one, other in zip(first.flow.parameters(), second.flow.parameters(), strict=True):
        assert (one == other).all()


# Files


@pytest.fixture
def saved(double_well, tmp_path):
    double_well.save(tmp_path / "generator")
    return tmp_path / "generator"


def test_a_saved_generator_is_the_same(double_well, saved):
    assert {path.name for path in saved.iterdir()} == {CONFIG_FILE, SYSTEM_FILE, WEIGHTS_FILE}
    loaded = BoltzmannGenerator.load(saved, workers=1)
    expected, found = double_well.sample(40, seed=2), loaded.sample(40, seed=2)
    assert (found.positions == expected.positions).all()
    assert (found.log_weights == expected.log_weights).all()
    assert loaded.temperature == 300
    assert loaded.stages == double_well.stages
    assert [str(atom) for atom in loaded.topology.atoms()] == [
        str(atom) for atom in double_well.topology.atoms()
    ]
    assert loaded.topology.getNumBonds() == 3


@pytest.mark.parametrize("name", [SYSTEM_FILE, WEIGHTS_FILE])
def test_a_changed_file_is_refused(saved, name):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    with raises(InputError, name, "changed"):
        BoltzmannGenerator.load(saved)


@pytest.mark.parametrize("name", [CONFIG_FILE, SYSTEM_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_refused(saved, name):
    (saved / name).unlink()
    with raises(InputError, name):
        BoltzmannGenerator.load(saved)


@pytest.mark.parametrize("text", ["", "[]", "{}", "no JSON"])
def test_what_is_no_generator_is_refused(saved, text):
    (saved / CONFIG_FILE).write_text(text)
    with raises(InputError, CONFIG_FILE, "BoltzmannGenerator"):
        BoltzmannGenerator.load(saved)


def test_code_in_a_file_is_refused_before_it_runs(saved):
    """Also with the right digest."""
    xml = (saved / SYSTEM_FILE).read_text()
    force = '<Force type="PythonForce" version="1" pickle="00"/>'
    xml = xml.replace("</Forces>", f"{force}</Forces>")
    (saved / SYSTEM_FILE).write_text(xml)
    config = json.loads((saved / CONFIG_FILE).read_text())
    config["sha256"][SYSTEM_FILE] = hashlib.sha256(xml.encode()).hexdigest()
    (saved / CONFIG_FILE).write_text(json.dumps(config))
    with raises(InputError, SYSTEM_FILE, "PythonForce"):
        BoltzmannGenerator.load(saved)


def test_a_newer_format_is_refused(saved):
    config = json.loads((saved / CONFIG_FILE).read_text())
    config |= {"format_version": 99, "written_by": "openmm_nemo 9.9"}
    (saved / CONFIG_FILE).write_text(json.dumps(config))
    with raises(InputError, CONFIG_FILE, "openmm_nemo 9.9"):
        BoltzmannGenerator.load(saved)


@pytest.mark.parametrize("temperature", [0, -300, math.nan])
def test_impossible_temperatures_are_refused(temperature):
    system, topology, x = beads()
    with raises(InputError, "temperature"):
        BoltzmannGenerator.fit(system, topology, temperature, x)


def test_a_system_is_checked_before_anything_else():
    system, topology, x = beads()
    system.addConstraint(0, 1, 0.38)
    with raises(InputError, "constraint"):
        BoltzmannGenerator.fit(system, topology, 300, x)


def test_the_callers_system_is_left_alone(double_well):
    system, topology, x = beads()
    before = mm.XmlSerializer.serialize(system)
    settings = FitSettings(hot_updates=1, draws=64, buffer=32, updates=1, batch=8, last_stages=1)
    generator = BoltzmannGenerator.fit(system, topology, 300, x, settings, workers=1)
    assert mm.XmlSerializer.serialize(system) == before
    system.setParticleMass(0, 99.0)
    assert generator.system.getParticleMass(0)._value == 12


def test_a_nemo_chain_is_a_molecule_as_well(tmp_path):
    """Weights have the energy that the model has in PyTorch; a coarse System comes back from its file."""
    need_plugin()
    protein = NemoModel.from_pretrained("nemo-fold").condition("GSTDPN")
    settings = FitSettings(
        hot=600,
        hot_updates=60,
        draws=2048,
        buffer=64,
        updates=5,
        batch=64,
        last_stages=1,
        learning_rate=1e-2,
    )
    start = protein.initial_positions(seed=1)
    BoltzmannGenerator.fit(
        protein.create_system("native"), protein.topology, 300, start, settings, workers=1
    ).save(tmp_path)
    generator = BoltzmannGenerator.load(tmp_path, workers=1)
    samples = generator.sample(4)
    x = 10 * torch.from_numpy(samples.positions)
    with torch.no_grad():
        expected = protein.require_energy()(x.float())
        d, w = generator.flow.coordinates.internal(x)
        _, log_volume = generator.flow.coordinates.cartesian(d, w)
        log_q = generator.flow.log_prob(d.float(), w.float())
    found = log_volume - log_q - torch.from_numpy(samples.log_weights)
    assert_close(found.float(), expected, "rounding_gradient")

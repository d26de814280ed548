"""Reading of what simulations have written."""

import json
import shutil

import mdtraj as md
import numpy as np
import pytest

from openmm_nemo.dynamics import Schedule
from openmm_nemo.errors import InputError
from openmm_nemo.runs.reading import read_simulation
from openmm_nemo.runs.settings import ExchangeSettings
from tests.helpers import raises, random_chain
from tests.simulated import write_simulation

F = 5


@pytest.fixture(scope="module")
def made():
    return [(random_chain(F, 20, seed=k).numpy(), 3.5 * np.arange(F) + k) for k in (1, 20)]


@pytest.mark.parametrize("suffix", ["dcd", "xtc", "h5", "pdb"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_what_was_written_is_read(tmp_path, made, suffix, replicas):
    names = {"trajectory": f"coarse.{suffix}", "atoms": f"atoms.{suffix}"}
    folder = write_simulation(tmp_path / "rün", made[:replicas], 321, report_interval=7, **names)
    found = read_simulation(folder)
    assert [t.folder for t in found] == (
        [folder] if replicas == 1 else [folder / "replica-0", folder / "replica-1"]
    )
    for t, (x, energy) in zip(found, made, strict=False):
        assert t.temperature == 321
        np.testing.assert_array_equal(t.step, 7 * np.arange(F))
        np.testing.assert_allclose(t.energy, energy)
        np.testing.assert_allclose(t.coarse(), x, atol=0.02 if suffix == "xtc" else 2e-3)
        atoms = t.atoms()
        ca = atoms.xyz[:, atoms.top.select("name CA")]
        np.testing.assert_allclose(10 * ca, x, atol=0.02 if suffix == "xtc" else 2e-3)
        assert isinstance(atoms, md.Trajectory)


def test_replicas_that_exchange_have_temperatures_of_their_own(tmp_path, made):
    options = {"exchange": ExchangeSettings([280.0, 350.0], 5), "anneal": False}
    found = read_simulation(write_simulation(tmp_path / "run", made, 300, **options))
    assert [t.temperature for t in found] == [280, 350]
    assert [t.temperatures for t in found] == ["280 K", "350 K"]


def test_folders_without_a_simulation_are_refused(tmp_path):
    with raises(InputError, tmp_path, "openmm-nemo simulate"):
        read_simulation(tmp_path)
    (tmp_path / "series.json").write_text("{}")
    with raises(InputError, tmp_path, "several proteins"):
        read_simulation(tmp_path)


def test_one_replica_is_refused(tmp_path, made):
    folder = write_simulation(tmp_path / "run", made)
    with raises(InputError, folder / "replica-1", f"folder {folder}"):
        read_simulation(folder / "replica-1")


def test_simulation_that_has_not_ended_is_refused(tmp_path, made):
    folder = write_simulation(tmp_path / "run", made)
    table = folder / "replica-1" / "state.csv"
    partial = shutil.copy(table, table.with_name("state.partial.csv"))
    with raises(InputError, folder / "replica-1", "--resume"):
        read_simulation(folder)  # it was extended, and has the files of the run before
    table.unlink()
    with raises(InputError, folder / "replica-1", "--resume"):
        read_simulation(folder)
    partial.rename(table)
    read_simulation(folder)


@pytest.mark.parametrize("lines", ["", "\n0\n", ",energy_kj_mol\n0,warm\n", ",energy_kj_mol\n0\n"])
def test_damaged_table_is_refused(tmp_path, made, lines):
    folder = write_simulation(tmp_path / "run", made[:1])
    (folder / "state.csv").write_text("step" + lines)
    with raises(InputError, folder / "state.csv"):
        read_simulation(folder)


def test_changed_record_is_refused(tmp_path, made):
    folder = write_simulation(tmp_path / "run", made[:1])
    record = json.loads((folder / "run.json").read_text())
    record["settings"]["temperature"] = 500
    (folder / "run.json").write_text(json.dumps(record))
    with raises(InputError, folder / "run.json", "changed"):
        read_simulation(folder)


def test_missing_or_short_trajectory_is_refused(tmp_path, made):
    folder = write_simulation(tmp_path / "run", made[:1])
    short = write_simulation(tmp_path / "short", [(x[:3], e[:3]) for x, e in made[:1]])
    (folder / "atoms.dcd").unlink()
    shutil.copy(short / "coarse.dcd", folder)
    (trajectory,) = read_simulation(folder)
    with raises(InputError, folder / "atoms.dcd"):
        trajectory.atoms()
    with raises(InputError, folder / "coarse.dcd", 3, 5):
        trajectory.coarse()


def test_annealed_simulation_has_no_one_temperature(tmp_path, made):
    folder = write_simulation(tmp_path / "run", made[:1], 300, anneal=Schedule(100, 2, 0.1))
    (trajectory,) = read_simulation(folder)
    with raises(InputError, folder, "600 to 30 K", "--no-anneal"):
        _ = trajectory.temperature

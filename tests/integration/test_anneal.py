"""Simulations and samples of a model that anneals: its schedule over the whole run, unless --no-anneal is given."""

import json
import os
import signal
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from openmm_nemo import NemoLangevinIntegrator, NemoModel
from openmm_nemo.dynamics import Schedule
from openmm_nemo.runs.folder import RunFolder
from openmm_nemo.runs.series import SimulationSeries
from openmm_nemo.runs.settings import SIMULATION, SimulationSettings
from openmm_nemo.runs.simulation import SimulationRun
from openmm_nemo.sampling.ensembles import read_ensemble
from tests.helpers import command_line, contents, names, need_plugin, refused
from tests.integration.runs import complete, frames, simulate
from tests.tolerances import assert_close
from tests.unit.models.chains import make_model

SEQUENCE = "NLYIQWLKDG"
SEED = 4

pytestmark = pytest.mark.usefixtures("quick_pictures")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a model that anneals."""
    folder = tmp_path_factory.mktemp("models") / "fold"
    make_model("fold", dtype=torch.float32).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def protein(folder):
    protein = NemoModel.from_pretrained(folder).double().condition(SEQUENCE)
    assert protein.schedule(30) == Schedule(30, 2.0, 0.1)
    return protein


@pytest.fixture(scope="module")
def options(folder):
    """Every step, in float64."""
    return "--model", folder, "--sequence", SEQUENCE, "--seed", SEED, "--precision", "double"


@pytest.fixture(scope="module")
def annealed(options, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "annealed"
    outcome = simulate(out, *options, "--report-interval", 1, "--steps", 30)
    assert outcome.code == 0, outcome
    names(outcome.out, "annealed", "600 to 30 K", "30 steps")
    return out


def rollout(protein, n_steps, schedule):
    """Positions (n_steps + 1, L, 3), nm."""
    start = protein.initial_state(SEED)[None]
    trajectory = protein.copies(1).rollout(n_steps, start, seed=SEED, schedule=schedule)
    return trajectory.x[:, 0].numpy() / 10


def assert_trajectory(out, expected):
    np.testing.assert_allclose(frames(out, "coarse.dcd").xyz, expected, rtol=0, atol=1e-6)


def interrupt(step):
    """Press Ctrl-C once the first block of the schedule is over."""
    if step > 11:
        os.kill(os.getpid(), signal.SIGINT)


def recorded(out):
    return json.loads((out / "run.json").read_text())["settings"]


def test_a_simulation_follows_the_schedule_and_records_it(annealed, protein):
    assert_trajectory(annealed, rollout(protein, 30, protein.schedule(30)))
    assert recorded(annealed)["anneal"] == [30, 2.0, 0.1, 10]
    xml = (annealed / "integrator.xml").read_text()
    assert NemoLangevinIntegrator.from_xml(xml).getSchedule() == protein.schedule(30)


def test_no_anneal_keeps_the_temperature(annealed, options, protein, tmp_path):
    out = tmp_path / "run"
    outcome = simulate(out, *options, "--report-interval", 1, "--steps", 30, "--no-anneal")
    assert outcome.code == 0, outcome
    assert "annealed" not in outcome.out
    constant = rollout(protein, 30, None)
    assert_trajectory(out, constant)
    assert np.abs(constant - frames(annealed, "coarse.dcd").xyz).max() > 0.1
    assert recorded(out)["anneal"] is False
    assert "chedule" not in (out / "integrator.xml").read_text()


def test_a_model_that_does_not_anneal_runs_at_its_temperature(tmp_path):
    out = tmp_path / "run"
    outcome = simulate(out, "--sequence", SEQUENCE, "--steps", 2)
    assert outcome.code == 0, outcome
    assert "annealed" not in outcome.out
    assert recorded(out)["anneal"] is False


def test_an_interrupted_simulation_is_resumed_with_its_schedule_bit_by_bit(
    annealed, folder, tmp_path
):
    settings = SimulationSettings(
        SEQUENCE,
        str(folder),
        SEED,
        30,
        report_interval=1,
        platform="Reference",
        precision="double",
    )
    out = tmp_path / "run"
    with SimulationRun(out, settings) as run:
        assert not run.run(30, interrupt)
        assert 11 < run.step < 25
    complete(out, "--resume")
    found, expected = contents(out), contents(annealed)
    for name in ("run.json", "state.csv", "final_coarse.pdb", "integrator.xml"):
        assert found[name] == expected[name]
    np.testing.assert_array_equal(*(frames(p, "coarse.dcd").xyz for p in (out, annealed)))


def test_an_extended_simulation_stays_at_the_last_factor(options, protein, tmp_path):
    out = complete(tmp_path / "run", *options, "--report-interval", 1, "--steps", 22)
    with SimulationRun(out) as run:
        assert not run.run(40, interrupt)
        assert run.step < 30
    outcome = simulate(out, "--resume")
    assert outcome.code == 0, outcome
    names(outcome.out, "step 40", "600 to 30 K", "22 steps")
    assert_trajectory(out, rollout(protein, 40, protein.schedule(22)))
    assert recorded(out)["anneal"] == [22, 2.0, 0.1, 10]


def test_a_run_of_an_earlier_version_continues_at_its_temperature(options, protein, tmp_path):
    out = complete(tmp_path / "run", *options, "--report-interval", 1, "--steps", 5, "--no-anneal")
    run = RunFolder(out, SIMULATION)
    record = run.read_record(dict)
    del record["settings"]["anneal"], record["format_version"]
    run.write_record(record)
    complete(out, "--resume", "--steps", 12)
    assert_trajectory(out, rollout(protein, 12, None))


def test_no_anneal_is_refused_with_resume(annealed):
    names(refused("simulate", "--resume", "--no-anneal", "--out", annealed), "--no-anneal")


def test_a_series_keeps_the_schedule_it_began_with(folder, tmp_path, monkeypatch):
    (tmp_path / "two.fasta").write_text(f">a\n{SEQUENCE}\n>b\n{SEQUENCE[:7]}\n")
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(SimulationSeries, "run", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            simulate(out, "--fasta", tmp_path / "two.fasta", "--model", folder, "--steps", 11)
    outcome = simulate(out, "--resume", "--steps", 12)
    assert outcome.code == 0, outcome
    names(outcome.out, "annealed", "11 steps")
    for name in "ab":
        assert recorded(out / name)["anneal"] == [11, 2.0, 0.1, 10]


@pytest.mark.parametrize("engine", ["torch", "openmm"])
def test_samples_follow_the_schedule_unless_told_not_to(folder, tmp_path, engine):
    options = ("--model", folder, "--sequence", SEQUENCE, "--workers", 1, "--steps", 15)
    protein = NemoModel.from_pretrained(folder).condition(SEQUENCE)
    for flags in ((), ("--no-anneal",)):
        out = tmp_path / f"out{len(flags)}"
        outcome = command_line(
            "sample", *options, "-n", 1, "--engine", engine, "--out", out, *flags
        )
        assert outcome.code == 0, outcome
        ensemble = read_ensemble(out, "sequence")
        seed = int(ensemble.seeds[0])
        expected = protein.rollout(15, seed=seed, anneal=not flags).x[-1, 0]
        assert_close(torch.tensor(ensemble.x[0]), expected, "trajectory")
        assert json.loads((out / "sampling.json").read_text())["settings"]["anneal"] == (not flags)
    sentence = refused(
        "sample", *options, "-n", 2, "--engine", engine, "--no-anneal", "--out", tmp_path / "out0"
    )
    names(sentence, "anneal", True, False, tmp_path / "out0")


def test_the_system_of_a_run_that_the_plugin_computes_contains_no_torch(annealed, folder, tmp_path):
    need_plugin()
    out = tmp_path / "native"
    options = ("--model", folder, "--sequence", SEQUENCE, "--steps", 1)
    assert simulate(out, *options).code == 0
    for path, kind in ((out, "NemoBasisForce"), (annealed, "PythonForce")):
        forces = ElementTree.parse(path / "system.xml").find("Forces")
        assert [force.get("type") for force in forces] == [kind]

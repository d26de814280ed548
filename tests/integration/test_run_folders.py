"""What `simulate`, `sample` and `train` share: one run per folder, any letters in names; blocks of `simulate`."""

import json
import os
import signal
import time
from itertools import pairwise

import mdtraj as md
import numpy as np
import openmm as mm
import pytest

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.engine.forces import NemoPythonEnergy
from openmm_nemo.plugin import platform_names
from openmm_nemo.runs import simulation
from openmm_nemo.runs.folder import RunFolder
from openmm_nemo.runs.settings import SIMULATION, SimulationSettings
from openmm_nemo.runs.simulation import SimulationRun
from openmm_nemo.sampling.ensembles import ensemble_ids
from openmm_nemo.sampling.sampling import SAMPLING
from openmm_nemo.training.train import TRAINING
from tests.helpers import command_line, contents, refused
from tests.integration.runs import SEQUENCE, TRP_CAGE, complete, process, simulate, table
from tests.sets import write_set

pytestmark = pytest.mark.usefixtures("quick_pictures")

CONFIG = """
description = "A model of a test."
[data]
set = "set"
split = "split.json"
max_length = 10
batch_size = 2
validation_domains = 1
[[stages]]
updates = 2
losses = {initial_distances = 1.0}
"""


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A configuration and its data, in a folder that is not named in ASCII."""
    folder = tmp_path_factory.mktemp("é") / "Lehrstücke 試験"
    folder.mkdir()
    write_set(folder)
    (folder / "grün.toml").write_text(CONFIG)
    return folder / "grün.toml"


# One run per folder


@pytest.mark.parametrize("kind", [SIMULATION, SAMPLING, TRAINING], ids=lambda kind: kind.record)
def test_second_run_into_a_folder_ends_at_once(tmp_path, training, kind):
    verb = {
        SIMULATION: ("simulate", "--sequence", SEQUENCE),
        SAMPLING: ("sample", "--sequence", SEQUENCE, "-n", 1, "--workers", 1),
        TRAINING: ("train", training),
    }[kind]
    out = tmp_path / "run"
    with RunFolder(out, kind).lock():
        before = contents(out)
        sentence = refused(*verb, "--out", out)
        assert contents(out) == before
    assert sentence == (
        f"{out} is in use by another run (process {os.getpid()}): wait until it ends, or give another --out."
    )
    assert not out.exists()


def wait_for(condition, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_run_that_was_killed_leaves_its_folder_to_the_next(tmp_path):
    out = tmp_path / "run"
    first = process(
        "--sequence", SEQUENCE, "--platform", "Reference", "--out", out, "--steps", 10**6
    )
    wait_for((out / "state.partial.csv").exists)
    for options in (("--resume",), ("--sequence", SEQUENCE)):
        sentence = refused("simulate", "--out", out, *options)
        assert sentence.startswith(f"{out} is in use by another run (process {first.pid}): ")
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    with SimulationRun(out) as run:
        steps = run.step
    complete(out, "--resume", "--steps", steps + 5)
    assert ".lock" not in contents(out)


def test_train_needs_a_folder_that_it_may_write(tmp_path, training):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "cannot be written (" in refused("train", training, "--out", out)


# The platform


@pytest.fixture
def fastest(monkeypatch):
    """Set the order of platforms of this installation."""
    return lambda *names: monkeypatch.setattr(simulation, "preferred_platforms", lambda: names)


def test_run_resumes_on_the_platform_that_it_was_begun_on(tmp_path, fastest):
    """Although another one is the fastest by then."""
    options = ("simulate", "--sequence", SEQUENCE, "--model", "nemo-tiny", "--seed", 3)
    fastest("Reference", "CPU")
    assert command_line(*options, "--out", tmp_path / "whole", "--steps", 15).code == 0
    out = tmp_path / "run"
    assert command_line(*options, "--out", out, "--steps", 8).code == 0
    assert json.loads((out / "run.json").read_text())["settings"]["platform"] == "Reference"
    fastest("CPU", "Reference")
    outcome = command_line("simulate", "--resume", "--out", out, "--steps", 15)
    assert outcome.code == 0, outcome
    assert (out / "state.csv").read_bytes() == (tmp_path / "whole" / "state.csv").read_bytes()


def test_run_on_a_platform_that_is_gone_is_refused(tmp_path, monkeypatch):
    out = complete(tmp_path / "run", "--sequence", SEQUENCE, "--steps", 2, "--platform", "CPU")
    monkeypatch.setattr(simulation, "platform_names", lambda: ["Reference"])
    before = contents(out)
    assert refused("simulate", "--resume", "--out", out, "--steps", 3) == (
        f"The run in {out} was started on the platform CPU, which is not available here (available: Reference): "
        "resume where it is available, or start a new run with another --out."
    )
    assert contents(out) == before


def test_platform_that_fails_leaves_the_choice_to_the_next(tmp_path, fastest, monkeypatch):
    created = simulation.app.Simulation

    def fail_on_cpu(*arguments):
        if arguments[3].getName() == "CPU":
            raise mm.OpenMMException("no device")
        return created(*arguments)

    monkeypatch.setattr(simulation.app, "Simulation", fail_on_cpu)
    fastest("CPU", "Reference")
    out = tmp_path / "run"
    options = ("--sequence", SEQUENCE, "--model", "nemo-tiny", "--steps", 1)
    assert command_line("simulate", *options, "--out", out).code == 0
    assert json.loads((out / "run.json").read_text())["settings"]["platform"] == "Reference"
    fastest("CPU")
    sentence = refused("simulate", *options, "--out", tmp_path / "other")
    assert "CPU (no device)" in sentence
    assert not (tmp_path / "other").exists()


def test_opencl_on_the_processor_is_used_if_asked_for_only(tmp_path):
    if "OpenCL" not in platform_names():
        pytest.skip("OpenMM has no platform OpenCL")
    if "OpenCL" in simulation.preferred_platforms():
        pytest.skip("OpenCL has a GPU here")
    options = ("--sequence", SEQUENCE, "--model", "nemo-tiny", "--steps", 1)
    used = {}
    for asked in ((), ("--platform", "OpenCL")):
        out = tmp_path / f"run{len(asked)}"
        outcome = command_line("simulate", *options, *asked, "--out", out)
        assert outcome.code == 0, outcome
        settings = json.loads((out / "run.json").read_text())["settings"]
        used[asked] = settings["platform"]
    assert used[()] != "OpenCL"
    assert used["--platform", "OpenCL"] == "OpenCL"


# Letters


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "Prøve 試験"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("extension", ["dcd", "xtc", "h5", "pdb"])
def test_names_of_simulations_need_not_be_ascii(place, extension, monkeypatch):
    structure = place / "Käfig.pdb"
    structure.write_bytes(TRP_CAGE.read_bytes())
    NemoModel.from_pretrained("nemo-tiny").save_pretrained(place / "módel")
    out = place / "löpning"
    names = f"grob_ö.{extension}", f"fein_ö.{extension}"
    options = ("--pdb", structure, "--model", place / "módel", "--seed", 4)
    complete(out, *options, "--trajectory", names[0], "--atoms", names[1], "--steps", 13)
    complete(out, "--resume", "--steps", 20)
    plain = ("--trajectory", f"c.{extension}", "--atoms", f"a.{extension}")
    whole = complete(place.parent / "whole", *options, *plain, "--steps", 20)
    assert (out / "state.csv").read_bytes() == (whole / "state.csv").read_bytes()
    for name, expected, final in zip(
        names, plain[1::2], ("final_coarse.pdb", "final_atoms.pdb"), strict=True
    ):
        # MDTraj's readers have the same limits: read a copy.
        copy = place.parent / f"copy.{extension}"
        copy.write_bytes((out / name).read_bytes())
        top = {} if extension in ("h5", "pdb") else {"top": str(whole / final)}
        found, frames = (md.load(str(path), **top) for path in (copy, whole / expected))
        assert found.n_frames == frames.n_frames == 3
        np.testing.assert_allclose(found.xyz, frames.xyz, rtol=2e-7, atol=2e-7)
        assert (out / final).exists()


@pytest.mark.filterwarnings("error:Glyph")
def test_pictures_of_any_letters_are_drawn_without_a_warning(tmp_path):
    from openmm_nemo.runs.plots import plot_simulation

    (tmp_path / "state.csv").write_text("step,u_kt\n0,1\n1,2\n")
    x = np.random.default_rng(0).normal(size=(8, 3))
    plot_simulation(tmp_path / "state.csv", tmp_path / "é.png", "試験 ロ", x)
    assert (tmp_path / "é.png").stat().st_size > 1000


def test_names_of_samples_need_not_be_ascii(place):
    structure = place / "Käfig.pdb"
    structure.write_bytes(TRP_CAGE.read_bytes())
    NemoModel.from_pretrained("nemo-tiny").save_pretrained(place / "módel")
    options = ("--pdb", structure, "--model", place / "módel", "-n", 2, "--steps", 2)
    out = place / "prøver"
    for _ in range(2):
        outcome = command_line("sample", *options, "--workers", 1, "--out", out)
        assert outcome.code == 0, outcome
    assert ensemble_ids(out) == ["Käfig_A"]


def test_names_of_training_need_not_be_ascii(place, training):
    out = place / "læring"
    outcome = command_line("train", training, "--out", out)
    assert outcome.code == 0, outcome
    assert "already holds a run: give --resume" in refused("train", training, "--out", out)
    model = place / "módel"
    assert command_line("export", out / "last.ckpt", "--out", model).code == 0
    assert NemoModel.from_pretrained(model).trained


# Blocks of steps


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
def test_blocks_do_not_change_a_bit(tmp_path, monkeypatch, platform):
    folders = {}
    for seconds in (0, 0.2, 1000):
        monkeypatch.setattr(simulation, "BLOCK_SECONDS", seconds)
        folders[seconds] = complete(
            tmp_path / str(seconds), "--sequence", SEQUENCE, "--seed", 8, "--steps", 64,
            "--report-interval", 7, "--platform", platform, "--backend", "python",
            "--trajectory", "coarse.xtc", "--atoms", "atoms.xtc",
        )  # fmt: skip
    assert len(table(folders[0])["step"]) == 10
    for name in ("state.csv", "coarse.xtc", "atoms.xtc", "run.json"):
        one = (folders[0] / name).read_bytes()
        assert all((folder / name).read_bytes() == one for folder in folders.values()), name


def test_blocks_have_the_time_that_is_meant():
    for seconds_per_step in (1e-5, 1e-3, 0.07, 0.3, 4.0):
        block, blocks = 1, []
        for _ in range(40):
            blocks.append(block)
            block = simulation._next_block(block, block * seconds_per_step)
        assert blocks[0] == 1
        assert all(b <= 2 * a for a, b in pairwise(blocks))
        assert blocks[-1] == max(1, int(0.2 / seconds_per_step + 1e-9))
    assert simulation._next_block(1000, 10.0) == 20  # slower all of a sudden
    assert simulation._next_block(4, 0.0) == 8


def test_progress_comes_with_blocks_that_grow(tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "BLOCK_SECONDS", 1000)
    steps = []
    settings = SimulationSettings(SEQUENCE, "nemo-tiny", 1, steps=40, platform="Reference")
    with SimulationRun(tmp_path / "run", settings) as run:
        assert run.run(40, steps.append)
    assert steps == [1, 3, 7, 15, 31, 40]


def test_forces_that_fail_within_a_block_name_their_step(tmp_path, monkeypatch):
    """The same step as without blocks, and the lines up to it."""
    evaluate = NemoPythonEnergy.__call__
    evaluations = []

    def fail_late(self, state):
        evaluations.append(1)
        energy, forces = evaluate(self, state)
        return (energy, forces) if len(evaluations) <= 30 else (float("nan"), np.nan * forces)

    monkeypatch.setattr(NemoPythonEnergy, "__call__", fail_late)
    found = []
    for seconds in (0, 1000):
        evaluations.clear()
        monkeypatch.setattr(simulation, "BLOCK_SECONDS", seconds)
        out = tmp_path / str(seconds)
        outcome = simulate(
            out, "--sequence", SEQUENCE, "--seed", 5, "--report-interval", 4, "--steps", 100,
            "--backend", "python",
        )  # fmt: skip
        assert outcome.code == 2
        step = int(outcome.err.split("not finite at step ")[1].split(".")[0])
        assert table(out)["step"].tolist() == list(range(0, step + 1, 4))
        found.append(step)
    assert found[0] == found[1] > 10


@pytest.mark.usefixtures("_ctrl_c")
def test_second_ctrl_c_within_the_energy_acts_at_once(tmp_path, monkeypatch):
    """OpenMM makes another error of it."""
    evaluate = NemoPythonEnergy.__call__
    evaluations = []

    def interrupted(self, state):
        evaluations.append(1)
        if len(evaluations) == 9:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return evaluate(self, state)

    monkeypatch.setattr(NemoPythonEnergy, "__call__", interrupted)
    out = tmp_path / "run"
    options = ("--sequence", SEQUENCE, "--seed", 5, "--backend", "python", "--steps", 30)
    outcome = simulate(out, *options)
    assert (outcome.code, outcome.err.strip()) == (130, "")
    assert (out / "state.partial.csv").exists()
    monkeypatch.undo()
    complete(out, "--resume")


def test_ctrl_c_within_a_long_block_is_noticed_after_it(tmp_path, monkeypatch):
    monkeypatch.setattr(simulation, "BLOCK_SECONDS", 1000)
    settings = SimulationSettings(SEQUENCE, "nemo-tiny", 1, steps=100, platform="Reference")
    with SimulationRun(tmp_path / "run", settings) as run:
        told = []

        def tell(step):
            told.append(step)
            if step == 7:
                os.kill(os.getpid(), signal.SIGTERM)

        assert not run.run(100, tell)
        assert run.step == told[-1] == 7


def test_profile_models_resume(tmp_path):
    """The profile is part of the record."""
    NemoModel(NemoConfig.preset("tiny", profile=True)).save_pretrained(tmp_path / "model")
    profile = np.full((len(SEQUENCE), 20), 0.05).tolist()
    settings = SimulationSettings(
        SEQUENCE, str(tmp_path / "model"), 1, steps=2, platform="Reference", profile=profile
    )
    with SimulationRun(tmp_path / "run", settings) as run:
        assert run.run(2)
    complete(tmp_path / "run", "--resume", "--steps", 3)

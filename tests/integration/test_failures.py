"""Runs that cannot go on: a full disk, energies that are not finite, nobody who reads the output."""

import errno
import os
import pty
import subprocess
from pathlib import Path

import numpy as np
import pytest

from openmm_nemo.engine import reporters, trajectory
from openmm_nemo.engine.forces import NemoPythonEnergy
from openmm_nemo.runs import outputs, simulation
from tests.helpers import contents, names, refused
from tests.integration.runs import MODEL, SEQUENCE, complete, frames, process, simulate, table

pytestmark = pytest.mark.usefixtures("quick_pictures")

OPTIONS = ("--sequence", SEQUENCE, "--model", MODEL, "--seed", 5, "--report-interval", 1)


def in_format(extension):
    return "--trajectory", f"coarse.{extension}", "--atoms", f"atoms.{extension}"


def assert_same_frames(folder, expected, extension):
    assert set(contents(folder)) == set(contents(expected))
    assert (folder / "state.csv").read_bytes() == (expected / "state.csv").read_bytes()
    for name in (f"coarse.{extension}", f"atoms.{extension}"):
        actual, whole = frames(folder, name), frames(expected, name)
        assert actual.n_frames == whole.n_frames
        np.testing.assert_allclose(actual.xyz, whole.xyz, rtol=2e-7, atol=2e-7)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 20 steps in DCD to which nothing happens."""
    return complete(tmp_path_factory.mktemp("whole") / "run", *OPTIONS, "--steps", 20)


# A full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own: its folder, and a function that sets its size in KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, text=True)

    try:
        outcome = mount("-o", "size=1m")
    except FileNotFoundError:
        pytest.skip("there is no command mount")
    if outcome.returncode != 0:
        pytest.skip(f"a file system cannot be mounted here: {outcome.stderr.strip()}")

    def resize(size):
        assert mount("-o", f"remount,size={size}k").returncode == 0

    yield folder, resize
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    "extension",
    ["h5", *(pytest.param(name, marks=pytest.mark.slow) for name in ("dcd", "xtc", "pdb"))],
)
def test_full_disk_stops_a_run_that_goes_on_later(tmp_path, small_disk, extension):
    disk, resize = small_disk
    out = disk / "run"
    begun = complete(tmp_path / "begun", *OPTIONS, "--steps", 1)
    needed = sum((begun / name).stat().st_size for name in ("system.xml", "integrator.xml"))
    resize(needed // 1024 + {"dcd": 70, "xtc": 70, "h5": 120, "pdb": 130}[extension])
    running = process(
        *OPTIONS, *in_format(extension), "--platform", "Reference", "--out", out, "--steps", 150,
        setup="s.CHECKPOINT_SECONDS = 0.02",
    )  # fmt: skip
    _, err = running.communicate(timeout=100)
    assert running.returncode == 2
    (line,) = err.splitlines()
    names(line, "--resume")
    finals = {"state.csv", "state.png", "final_coarse.pdb", f"coarse.{extension}"}
    assert not finals & set(contents(out))
    if extension == "h5":
        sentence = refused("simulate", "--out", out, "--resume")
        names(sentence, out)
        assert not [name for name in contents(out) if ".new" in name]
    resize(10000)
    complete(out, "--resume", "--steps", 150)
    whole = complete(tmp_path / "whole", *OPTIONS, *in_format(extension), "--steps", 150)
    assert_same_frames(out, whole, extension)


def test_full_disk_at_the_start_leaves_no_run(tmp_path, small_disk):
    disk, resize = small_disk
    resize(20)
    sentence = refused(
        "simulate", "--out", disk / "run", "--platform", "Reference", *map(str, OPTIONS)
    )
    names(sentence, disk, "No space left on device")
    resize(10000)
    complete(disk / "run", *OPTIONS, "--steps", 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_trajectory_that_cannot_be_closed_says_so_once(tmp_path):
    path = tmp_path / "x.pdb"
    path.symlink_to("/dev/full")
    writer = trajectory.TrajectoryWriter(path, trajectory.coarse_topology(SEQUENCE))
    writer.write(np.zeros((20, 3)), 0)
    with pytest.raises(OSError, match="No space left on device"):
        writer.close()
    writer.close()


def fail(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("owner", "name", "error"),
    [
        (trajectory.DCDTrajectoryFile, "write", TypeError("'dict' object is not callable")),
        (trajectory.TrajectoryWriter, "flush", OSError(errno.ENOSPC, "No space left on device")),
        (reporters.NemoStateReporter, "report", OSError(errno.ENOSPC, "No space left on device")),
        (Path, "write_bytes", OSError(errno.ENOSPC, "No space left on device")),
    ],
    ids=["trajectory", "flush", "table", "checkpoint"],
)
def test_write_that_fails_in_the_middle_can_be_resumed(
    tmp_path, whole, monkeypatch, owner, name, error
):
    monkeypatch.setattr(simulation, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(simulation, "BLOCK_SECONDS", 0)
    write = getattr(owner, name)
    calls = []

    def fail_at_last(*args, **kwargs):
        calls.append(1)
        if len(calls) > 12:
            if owner is Path:  # half of it is there
                write(args[0], args[1][: len(args[1]) // 2])
            raise error
        return write(*args, **kwargs)

    if owner is trajectory.DCDTrajectoryFile:  # which cannot be patched

        class Failing(owner):
            write = fail_at_last

        monkeypatch.setitem(trajectory._FILES, ".dcd", Failing)
    else:
        monkeypatch.setattr(owner, name, fail_at_last)
    out = tmp_path / "run"
    outcome = simulate(out, *OPTIONS, "--steps", 20)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    names(line, "--resume")
    assert not {"state.csv", "coarse.dcd", "atoms.dcd", "state.png"} & set(contents(out))
    monkeypatch.undo()
    complete(out, "--resume")
    assert_same_frames(out, whole, "dcd")


@pytest.mark.parametrize("seconds", [0, 1000])
def test_picture_that_cannot_be_written_is_made_by_a_resume(tmp_path, whole, monkeypatch, seconds):
    """Also if the last step is old enough for a checkpoint."""
    monkeypatch.setattr(simulation, "CHECKPOINT_SECONDS", seconds)
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(outputs, "plot_simulation", fail)
        names(
            refused(
                "simulate",
                "--out",
                out,
                "--platform",
                "Reference",
                *map(str, OPTIONS),
                "--steps",
                "20",
            ),
            "No space left on device",
        )
    complete(out, "--resume")
    assert_same_frames(out, whole, "dcd")


# Energies that are not finite


@pytest.fixture
def poison(monkeypatch):
    """Have the energy fail after so many evaluations."""

    def choose(good, outcome=None):
        evaluate = NemoPythonEnergy.__call__
        calls = []

        def call(self, state):
            calls.append(1)
            energy, force = evaluate(self, state)
            if len(calls) <= good:
                return energy, force
            if isinstance(outcome, Exception):
                raise outcome
            return float("nan"), np.nan * force

        monkeypatch.setattr(NemoPythonEnergy, "__call__", call)

    return choose


@pytest.mark.parametrize("good", [1, 30])
def test_run_stops_where_the_forces_are_not_finite(tmp_path, poison, good):
    poison(good)
    out = tmp_path / "run"
    outcome = simulate(out, *OPTIONS, "--backend", "python", "--steps", 100)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    steps = int(table(out)["step"][-1])
    assert steps == (0 if good == 1 else pytest.approx(good / 2, abs=5))
    assert line == (
        f"openmm-nemo: The forces are not finite at step {steps}. The run stopped; {out} keeps "
        "what came before. Try another --seed or --start."
    )
    assert not [name for name in contents(out) if ".partial" in name or ".new" in name]
    for name in ("coarse.dcd", "atoms.dcd"):
        path = frames(out, name)
        assert path.n_frames == steps + 1
        assert np.isfinite(path.xyz).all()
    assert np.isfinite(table(out)["u_kt"][:-1]).all()
    assert (out / "state.png").exists()


def test_run_that_stopped_at_bad_forces_goes_on_if_they_are_good_again(
    tmp_path, poison, monkeypatch
):
    options = (*OPTIONS, "--backend", "python")
    with monkeypatch.context():
        poison(20)
        out = tmp_path / "run"
        assert simulate(out, *options, "--steps", 20).code == 2
        before = table(out)["step"][-1]
        assert simulate(out, "--resume").code == 2
        assert table(out)["step"][-1] == before
    monkeypatch.undo()
    complete(out, "--resume")
    whole = table(complete(tmp_path / "whole", *options, "--steps", 20))
    np.testing.assert_array_equal(
        table(out)["radius_of_gyration_angstrom"], whole["radius_of_gyration_angstrom"]
    )


def test_failure_of_the_energy_is_one_line(tmp_path, poison):
    poison(30, RuntimeError("no\nmemory"))
    outcome = simulate(tmp_path / "run", *OPTIONS, "--backend", "python", "--steps", 100)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert "no memory" in line
    assert (tmp_path / "run" / "coarse.dcd").exists()


# What reads the output, or does not

QUICK = ("--platform", "Reference", *OPTIONS, "--steps", 5)
EVERY_STEP = "p.PLAIN_SECONDS = -1; s.BLOCK_SECONDS = 0"


def test_progress_of_a_process_is_plain_lines(tmp_path):
    running = process("--out", tmp_path / "run", *QUICK, setup=EVERY_STEP)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 0
    said = [line.partition(", about ")[0] for line in err.splitlines()]
    assert said == [f"Simulating: {step} of 5" for step in range(1, 6)]


def test_progress_on_a_terminal_is_a_bar(tmp_path):
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    running = process("--out", tmp_path / "run", *QUICK, stderr=theirs, env=environment)
    out, _ = running.communicate(timeout=60)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert running.returncode == 0
    assert "Wrote 5 steps" in out
    text = shown.decode()
    assert "Simulating" in text
    assert "5/5" in text
    assert "0:00:00" in text


def test_run_does_not_need_a_reader_of_its_progress(tmp_path):
    """Standard error is a pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    running = process("--out", tmp_path / "run", *QUICK, setup=EVERY_STEP, stderr=writing)
    os.close(writing)
    out, _ = running.communicate(timeout=60)
    assert "Wrote 5 steps" in out
    assert running.returncode == 0
    assert (tmp_path / "run" / "state.png").exists()


def test_run_does_not_need_standard_streams(tmp_path):
    setup = f"import os, sys; sys.stdout = sys.stderr = None; {EVERY_STEP}"
    running = process("--out", tmp_path / "run", *QUICK, setup=setup)
    assert running.communicate(timeout=60) == ("", "")
    assert running.returncode == 0
    assert (tmp_path / "run" / "state.png").exists()


def test_last_state_counts_too(tmp_path, monkeypatch):
    """No step follows it that would notice."""
    state = simulation.app.Simulation.step

    def step(self, n):
        state(self, n)
        if self.currentStep == 3:
            poisoned = NemoPythonEnergy.__call__
            monkeypatch.setattr(
                NemoPythonEnergy,
                "__call__",
                lambda energy, at: (float("nan"), poisoned(energy, at)[1]),
            )

    monkeypatch.setattr(simulation.app.Simulation, "step", step)
    outcome = simulate(tmp_path / "run", *OPTIONS, "--backend", "python", "--steps", 3)
    assert outcome.code == 2
    assert "The energy is not finite at step 3." in outcome.err
    assert (tmp_path / "run" / "final_coarse.pdb").exists()


# Files of others


@pytest.mark.parametrize("name", ["state.csv", "coarse.dcd", "final_atoms.pdb", "system.xml"])
def test_files_that_are_there_are_not_replaced(tmp_path, name):
    (tmp_path / name).write_text("mine")
    outcome = simulate(tmp_path, *OPTIONS, "--steps", 1)
    assert outcome.code == 2
    assert outcome.err == f"openmm-nemo: {tmp_path / name} already exists: give another --out.\n"
    assert contents(tmp_path) == {name: b"mine"}

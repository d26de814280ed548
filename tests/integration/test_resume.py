"""Runs that stop and go on: the same in the end as a run that did not stop."""

import json
import os
import shutil
import signal
import time
from functools import partial

import mdtraj as md
import numpy as np
import pytest

from openmm_nemo import NemoModel
from openmm_nemo.runs.settings import SimulationSettings
from openmm_nemo.runs.simulation import SimulationRun
from tests.helpers import contents, names, refused
from tests.integration.runs import (
    FORMATS,
    SEQUENCE,
    TRP_CAGE,
    complete,
    frames,
    process,
    simulate,
    table,
)

OPTIONS = ("--pdb", TRP_CAGE, "--reference", "--start", "native", "--seed", 11)


pytestmark = pytest.mark.usefixtures("quick_pictures")


def trajectories(extension):
    return f"coarse.{extension}", f"atoms.{extension}"


def in_format(extension):
    coarse, atoms = trajectories(extension)
    return "--trajectory", coarse, "--atoms", atoms


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Folder of a run of 40 steps in a format; made once."""
    folders = {}

    def run(extension="dcd"):
        if extension not in folders:
            out = tmp_path_factory.mktemp("uninterrupted") / extension
            folders[extension] = complete(out, *OPTIONS, *in_format(extension), "--steps", 40)
        return folders[extension]

    return run


def assert_same_run(folder, expected, extension="dcd"):
    assert set(contents(folder)) == set(contents(expected))
    assert (folder / "state.csv").read_bytes() == (expected / "state.csv").read_bytes()
    for name in trajectories(extension):
        resumed, whole = frames(folder, name), frames(expected, name)
        assert resumed.n_frames == whole.n_frames
        # Twice: what the format had rounded is rounded again.
        np.testing.assert_allclose(resumed.xyz, whole.xyz, rtol=2e-7, atol=2e-7)
        if extension in ("xtc", "h5"):
            assert resumed.time.tolist() == whole.time.tolist()
    for name in ("final_coarse.pdb", "final_atoms.pdb"):
        final, whole_final = (md.load(str(place / name)) for place in (folder, expected))
        np.testing.assert_array_equal(final.xyz, whole_final.xyz)
    assert (folder / "run.json").read_bytes() == (expected / "run.json").read_bytes()


def assert_complete(folder, steps, extension="dcd"):
    """All files have their names and hold what belongs to these steps."""
    n_frames = steps // 10 + 1
    assert not [name for name in contents(folder) if ".partial" in name or ".new" in name]
    assert table(folder)["step"].tolist() == [10 * k for k in range(n_frames)]
    for name in trajectories(extension):
        assert frames(folder, name).n_frames == n_frames
    for name in ("final_coarse.pdb", "final_atoms.pdb"):
        assert md.load(str(folder / name)).n_residues == 20
    assert (folder / "state.png").stat().st_size > 0


@pytest.mark.parametrize("extension", FORMATS)
def test_resumed_run_is_the_uninterrupted_one(tmp_path, uninterrupted, extension):
    out = complete(tmp_path / "run", *OPTIONS, *in_format(extension), "--steps", 23)
    assert_complete(out, 23, extension)
    for steps in (30, 40):  # on the last frame, too
        outcome = simulate(out, "--resume", "--steps", steps)
        assert outcome.code == 0, outcome
        assert f"Simulating 20 residues, seed 11, to step {steps}." in outcome.out
        assert "untrained" in outcome.out
        assert_complete(out, steps, extension)
    assert_same_run(out, uninterrupted(extension), extension)


@pytest.mark.parametrize(
    "options",
    [
        ("--report-interval", 1, "--precision", "double", "--backend", "python"),
        ("--platform", "CPU"),
    ],
    ids=["every step, float64", "CPU"],
)
def test_resumed_run_is_the_uninterrupted_one_with_other_options(tmp_path, options):
    options = ("--sequence", SEQUENCE, "--seed", 2, *options)
    whole = complete(tmp_path / "whole", *options, "--steps", 12)
    out = complete(tmp_path / "run", *options, "--steps", 7)
    complete(out, "--resume", "--steps", 12)
    assert_same_run(out, whole)


# Interruptions


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_is_complete_and_resumes(tmp_path, uninterrupted, during, number):
    out = tmp_path / "run"
    before = signal.getsignal(number)
    during[23] = lambda: os.kill(os.getpid(), number)
    outcome = simulate(out, *OPTIONS, "--steps", 40)
    assert outcome.code == 130
    assert outcome.err == ""
    said = "Interrupted at step 23: all files are complete; --resume continues the run."
    assert outcome.out.splitlines()[-1] == said
    assert signal.getsignal(number) is before
    assert_complete(out, 23)
    # Without --steps: to where it was to go.
    assert simulate(out, "--resume").code == 0
    assert_same_run(out, uninterrupted())


def test_resumed_run_remembers_its_new_goal(tmp_path, uninterrupted, during):
    out = complete(tmp_path / "run", *OPTIONS, "--steps", 5)
    during[12] = lambda: os.kill(os.getpid(), signal.SIGINT)
    assert simulate(out, "--resume", "--steps", 40).code == 130
    complete(out, "--resume")
    assert_same_run(out, uninterrupted())


@pytest.mark.usefixtures("_ctrl_c")
def test_second_interrupt_acts_at_once(tmp_path, uninterrupted, during, checkpoint_at):
    out = tmp_path / "run"

    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    checkpoint_at(12)
    during[23] = twice
    outcome = simulate(out, *OPTIONS, "--steps", 40)
    assert outcome.code == 130
    assert outcome.err.strip() == ""
    assert (out / "coarse.partial.dcd").exists()
    assert not (out / "coarse.dcd").exists()
    during.clear()
    complete(out, "--resume")
    assert_same_run(out, uninterrupted())


@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("kind", ["resumed run", "cut in the middle of a write"])
def test_killed_run_resumes_from_its_checkpoint(
    tmp_path, uninterrupted, during, checkpoint_at, extension, kind
):
    """A copy of the folder is what a kill at that step leaves: here, two frames more than the checkpoint."""
    out, killed = tmp_path / "run", tmp_path / "killed"
    options = (*OPTIONS, *in_format(extension))
    if kind == "resumed run":
        complete(out, *options, "--steps", 5)
        options = ("--resume",)
    checkpoint_at(12)
    during[31] = partial(shutil.copytree, out, killed)
    complete(out, *options, "--steps", 40)
    assert (killed / f"coarse.partial.{extension}").exists()
    assert (killed / f"coarse.{extension}").exists() == (kind == "resumed run")
    if kind == "cut in the middle of a write":
        # HDF5 keeps what it needs in all of the file: it cannot be cut.
        whole = ("atoms.partial.h5", "coarse.partial.h5")
        for path in sorted(set(killed.glob("*.partial.*")) - {killed / name for name in whole}):
            path.write_bytes(path.read_bytes()[: -path.stat().st_size // 9])
    during.clear()
    steps = []
    during.update({step: partial(steps.append, step) for step in range(40)})
    complete(killed, "--resume")
    assert steps[0] == 13
    assert_same_run(killed, uninterrupted(extension), extension)


def test_line_that_was_cut_is_made_anew(tmp_path, uninterrupted):
    """The first digit of a step, left by a full disk, is a smaller step."""
    out = complete(tmp_path / "run", *OPTIONS, "--steps", 23)
    with (out / "state.csv").open("a") as file:
        file.write("1")
    complete(out, "--resume", "--steps", 40)
    assert_same_run(out, uninterrupted())


def test_run_that_was_killed_before_its_first_frame_resumes(tmp_path, uninterrupted):
    out = complete(tmp_path / "run", *OPTIONS, "--steps", 23)
    begun = tmp_path / "begun"
    values = json.loads((out / "run.json").read_text())["settings"]
    with SimulationRun(begun, SimulationSettings.parse(values)):
        pass
    assert set(contents(begun)) == {"run.json", "checkpoint.chk", "system.xml", "integrator.xml"}
    complete(begun, "--resume", "--steps", 40)
    assert_same_run(begun, uninterrupted())


def wait_for(path, seconds=60):
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
def test_signal_to_a_process(tmp_path, number, code):
    out = tmp_path / "run"
    running = process(
        *OPTIONS, "--platform", "Reference", "--out", out, "--steps", 10**6,
        setup="s.CHECKPOINT_SECONDS = 0.1",
    )  # fmt: skip
    wait_for(out / "state.partial.csv")
    began = (out / "checkpoint.chk").read_bytes()
    while (out / "checkpoint.chk").read_bytes() == began:
        time.sleep(0.01)
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (code, "")
    killed = number == signal.SIGKILL
    assert (out / "coarse.dcd").exists() != killed
    assert (out / "coarse.partial.dcd").exists() == killed
    lines = (out / ("state.partial.csv" if killed else "state.csv")).read_text().splitlines()
    steps = int(lines[-1].split(",")[0])
    if not killed:
        assert_complete(out, steps)
    complete(out, "--resume", "--steps", steps + 20)
    whole = complete(tmp_path / "whole", *OPTIONS, "--steps", steps + 20)
    assert_same_run(out, whole)


# Refusals: nothing may change


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return complete(tmp_path_factory.mktemp("finished") / "run", *OPTIONS, "--steps", 23)


@pytest.fixture
def run(tmp_path, finished):
    """A finished run of 23 steps, to be spoilt."""
    return shutil.copytree(finished, tmp_path / "run")


def refuse(out, *options):
    before = contents(out)
    sentence = refused("simulate", "--out", out, *map(str, options))
    assert contents(out) == before
    return sentence


def test_second_run_into_a_folder_is_refused(run):
    sentence = refuse(run, *OPTIONS, "--steps", 40)
    names(sentence, run, "--resume", "--out")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--seed", 11), ["--seed"]),
        (("--pdb", TRP_CAGE), ["--pdb"]),
        (("--temperature", 300), ["--temperature"]),
        (("--reference", "--model-index", 1), ["--reference", "--model-index"]),
        (("--report-interval", 5, "--start", "z0"), ["--report-interval", "--start"]),
    ],
)
def test_resume_with_another_option_is_refused(run, options, named):
    sentence = refuse(run, "--resume", *options)
    names(sentence, "--resume", "--steps", run, *named)


def test_resume_of_nothing_is_refused(tmp_path):
    for out in (tmp_path / "nothing", tmp_path):
        sentence = refused("simulate", "--out", out, "--resume")
        names(sentence, out, "--resume")
    assert list(tmp_path.iterdir()) == []


def test_resume_of_a_file_is_refused(run):
    path = run / "state.csv"
    sentence = refused("simulate", "--out", path, "--resume")
    names(sentence, path, "--resume")


@pytest.mark.parametrize("steps", [(), ("--steps", 23), ("--steps", 5)])
def test_resume_of_a_finished_run_is_refused(run, steps):
    sentence = refuse(run, "--resume", *steps)
    names(sentence, run, 23, "--steps")


def cut(path):
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 5])


def empty(path):
    path.write_bytes(b"")


def change(path):
    path.write_bytes(path.read_bytes().replace(b"300.0", b"310.0"))


def other_json(path):
    path.write_text("[1, 2]")


def other_bytes(path):
    path.write_bytes(bytes(range(256)))


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [cut, empty, change, other_json, other_bytes, folder])
def test_resume_with_damaged_settings_is_refused(run, damage):
    damage(run / "run.json")
    sentence = refuse(run, "--resume", "--steps", 40)
    names(sentence, run / "run.json", "--out")


def test_resume_with_the_settings_of_another_version_is_refused(run):
    path = run / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 1}))
    sentence = refuse(run, "--resume", "--steps", 40)
    names(sentence, path, "version")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "fact"),
    [
        (lambda path: path.unlink(), "No such file or directory"),
        (folder, "Is a directory"),
        (empty, "damaged"),
        (cut, "damaged"),
        (flip, "damaged"),
    ],
)
def test_resume_with_a_damaged_checkpoint_is_refused(run, damage, fact):
    damage(run / "checkpoint.chk")
    sentence = refuse(run, "--resume", "--steps", 40)
    names(sentence, run / "checkpoint.chk", fact, "--out")


def test_resume_with_the_checkpoint_of_another_protein_is_refused(run, tmp_path):
    other = complete(tmp_path / "other", "--sequence", SEQUENCE[:10], "--steps", 1)
    shutil.copy(other / "checkpoint.chk", run)
    sentence = refuse(run, "--resume", "--steps", 40)
    names(sentence, run / "checkpoint.chk")


@pytest.mark.parametrize("name", ["coarse.dcd", "atoms.dcd", "state.csv"])
@pytest.mark.parametrize("damage", [lambda path: path.unlink(), empty, cut, other_bytes])
def test_resume_with_a_damaged_output_is_refused(run, name, damage):
    damage(run / name)
    sentence = refuse(run, "--resume", "--steps", 40)
    names(sentence, run / name)


@pytest.mark.parametrize("extension", FORMATS)
def test_resume_with_too_few_frames_is_refused(tmp_path, extension):
    short, long = (
        complete(tmp_path / str(steps), *OPTIONS, *in_format(extension), "--steps", steps)
        for steps in (15, 23)
    )
    shutil.copy(short / f"coarse.{extension}", long)
    sentence = refuse(long, "--resume", "--steps", 40)
    names(sentence, long / f"coarse.{extension}", 2, 3)


@pytest.mark.parametrize("extension", FORMATS)
def test_resume_with_the_frames_of_another_protein_is_refused(tmp_path, extension):
    out = complete(tmp_path / "run", *OPTIONS, *in_format(extension), "--steps", 13)
    shutil.copy(out / f"atoms.{extension}", out / f"coarse.{extension}")
    sentence = refuse(out, "--resume", "--steps", 40)
    names(sentence, out / f"coarse.{extension}")


@pytest.mark.parametrize("part", ["energy", "imputation", "sequence_network"])
def test_resume_with_a_changed_model_is_refused(tmp_path, part):
    model = NemoModel.from_pretrained("nemo-tiny")
    model.save_pretrained(tmp_path / "model")
    out = complete(
        tmp_path / "run", "--sequence", SEQUENCE, "--model", tmp_path / "model", "--steps", 3
    )
    parameter = next(getattr(model, part).parameters())
    parameter.data.view(-1)[0] += 1e-3
    model.save_pretrained(tmp_path / "model")
    sentence = refuse(out, "--resume", "--steps", 5)
    names(sentence, tmp_path / "model", out)
    shutil.rmtree(tmp_path / "model")
    names(refuse(out, "--resume", "--steps", 5), tmp_path / "model")

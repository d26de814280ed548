"""The command line: what it lists, and what it says to bad input. Runs are tested in tests/integration."""

import errno
import io
import json
import os
import shutil
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import openmm_nemo
from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.engine import forces, torchforce_problem
from openmm_nemo.progress import progress
from tests.helpers import command_line, contents, refused

TESTS = Path(__file__).parents[1]
DATA = TESTS / "data"
TRP_CAGE = TESTS.parent / "examples" / "data" / "1l2y.pdb"
NEMO_TINY = TESTS.parent / "torchscript_models" / "nemo-tiny"
SEQUENCE = "ACDEFGHIKL"


@pytest.fixture
def refuse(tmp_path):
    """Refusal of `simulate`, which must leave no trace on disk."""

    def refuse(*options, out="run"):
        before = contents(tmp_path)
        sentence = refused("simulate", "--out", tmp_path / out, *options)
        assert contents(tmp_path) == before
        assert not os.path.isdir(tmp_path / out)
        return sentence

    return refuse


@pytest.fixture
def refuse_sequence(refuse):
    return partial(refuse, "--sequence", SEQUENCE)


# What it lists


def test_models_lists_what_is_installed():
    outcome = command_line("models")
    assert outcome.code == 0
    line = "nemo-tiny\tUntrained tiny model with random weights, for trying the software only."
    assert line in outcome.out.splitlines()


def test_threads_are_those_of_torch(refuse, monkeypatch):
    given = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    refuse("--sequence", "AC", "--threads", "3")
    refuse("--sequence", "AC")
    assert given == [3, 1]


def test_version():
    outcome = command_line("--version")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.strip() == f"openmm-nemo, version {openmm_nemo.__version__}"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_the_verbs(option):
    outcome = command_line(option)
    assert (outcome.code, outcome.err) == (0, "")
    assert "simulate  Simulate a protein, from a structure or a sequence." in outcome.out
    assert "models    List the installed models." in outcome.out


def test_help_of_simulate_names_every_option_and_default():
    outcome = command_line("simulate", "--help")
    assert (outcome.code, outcome.err) == (0, "")
    words = " ".join(outcome.out.split())
    for option in (
        "--pdb", "--sequence", "--chain", "--model-index", "--model", "--profile", "--out", "--steps",
        "--temperature", "--seed", "--start", "--reference", "--report-interval", "--trajectory", "--atoms",
        "--backend", "--platform", "--precision", "--threads", "--resume", "--residues", "--longest-segment",
        "--topology", "--frame", "--coarse", "--reference-chain", "--reference-model",
    ):  # fmt: skip
        assert f" {option} " in words
    for default in (
        "nemo-mini",
        "250, or as before",
        "300",
        "z0",
        "10",
        "coarse.dcd",
        "atoms.dcd",
        "single",
    ):
        assert f"default: {default}]" in words


def test_help_of_models():
    outcome = command_line("models", "--help")
    assert outcome.code == 0
    assert "List the installed models." in outcome.out


# Options that click refuses: its message has several lines


@pytest.mark.parametrize(
    "options",
    [
        ("--temperature", "0"),
        ("--temperature", "-3"),
        ("--temperature", "warm"),
        ("--steps", "0"),
        ("--steps", "1.5"),
        ("--seed", "0"),
        ("--seed", "2147483648"),
        ("--report-interval", "0"),
        ("--model-index", "first"),
        ("--start", "folded"),
        ("--backend", "jax"),
        ("--precision", "half"),
        ("--nonsense", "1"),
    ],
    ids=" ".join,
)
def test_bad_value_of_an_option_is_refused(tmp_path, options):
    out = tmp_path / "run"
    outcome = command_line("simulate", "--sequence", SEQUENCE, "--out", out, *options)
    assert outcome.code == 2
    assert options[0] in outcome.err
    assert "Traceback" not in outcome.err
    assert not out.exists()


def test_out_is_required():
    outcome = command_line("simulate", "--sequence", SEQUENCE)
    assert outcome.code == 2
    assert "--out" in outcome.err


def test_unknown_verb_is_refused():
    outcome = command_line("dream")
    assert outcome.code == 2
    assert "dream" in outcome.err


@pytest.mark.parametrize("temperature", ["nan", "inf"])
def test_temperature_must_be_finite(refuse_sequence, temperature):
    sentence = refuse_sequence("--temperature", temperature)
    assert sentence == f"The temperature is {temperature}: give a positive number of kelvin."


# Sequences


@pytest.mark.parametrize(
    ("sequence", "said"),
    [
        ("ACDXFG", "The sequence has 'X' at position 4: use the twenty one-letter codes"),
        ("acd1f", "The sequence has '1' at position 4: use the twenty one-letter codes"),
        ("", "The sequence has 0 residues: NEMO needs at least 4."),
        ("ACD", "The sequence has 3 residues: NEMO needs at least 4."),
    ],
)
def test_bad_sequence_is_refused(refuse, sequence, said):
    assert refuse("--sequence", sequence).startswith(said)


def test_one_of_structure_and_sequence_is_needed(refuse):
    one = "Give one of --pdb, --sequence, and --trajectory with --topology."
    assert refuse() == one
    assert refuse("--pdb", TRP_CAGE, "--sequence", SEQUENCE) == one
    assert refuse("--trajectory", "x.xtc") == one
    assert refuse("--pdb", TRP_CAGE, "--topology", TRP_CAGE, "--trajectory", "x.xtc") == one


@pytest.mark.parametrize(
    "option",
    [("--chain", "1"), ("--model-index", "1"), ("--residues", "1-9"), ("--longest-segment",)],
)
def test_choices_in_a_file_need_the_file(refuse_sequence, option):
    said = f"A sequence has no {option[0]}: these choose from a structure, give --pdb."
    assert refuse_sequence(*option) == said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--frame", 1), "--frame is one of a trajectory: give --trajectory and --topology."),
        (
            ("--topology", TRP_CAGE),
            "--topology names the atoms of a trajectory: give --trajectory, too.",
        ),
        (
            ("--topology", TRP_CAGE, "--trajectory", "x.xtc", "--model-index", 2),
            "--model-index goes with --pdb: a --trajectory has --frame.",
        ),
        (
            ("--trajectory", "a.dcd", "--coarse", "b.dcd"),
            "Without --topology, --trajectory and --coarse are one: give --coarse.",
        ),
        (
            ("--reference-chain", "A"),
            "--reference-chain and --reference-model go with --reference FILE.",
        ),
        (
            ("--pdb", TRP_CAGE, "--reference", "--reference-model", 2),
            "--reference-chain and --reference-model go with --reference FILE.",
        ),
    ],
)
def test_options_that_belong_together(refuse, options, said):
    if "--pdb" not in options and "--topology" not in options:
        options = ("--sequence", SEQUENCE, *options)
    assert refuse(*options) == said


# Structures


@pytest.fixture
def structure(tmp_path):
    """Write a file; str or bytes."""

    def write(content, name="file.pdb"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_missing_structure_is_refused(refuse, tmp_path):
    path = tmp_path / "nothing.pdb"
    assert refuse("--pdb", path) == f"{path} is not there: check the file name."


def test_folder_is_not_a_structure(refuse, tmp_path):
    sentence = refuse("--pdb", tmp_path)
    assert sentence == f"{tmp_path} is a folder: give a PDB, mmCIF or GRO file in it."


@pytest.mark.parametrize("content", ["", "\n\n", "Dear reader,\n", b"\0\1\2" * 100])
def test_file_without_atoms_is_refused(refuse, structure, content):
    path = structure(content)
    assert refuse("--pdb", path).startswith(f"{path} is ")


@pytest.mark.parametrize("left", [0.2, 0.5])
def test_cut_structure_is_refused(refuse, structure, left):
    text = TRP_CAGE.read_text()
    path = structure(text[: int(left * len(text))])
    sentence = refuse("--pdb", path)
    assert sentence.startswith(f"{path} is cut short")
    assert "fetch it again" in sentence


def test_cut_gzip_is_refused(refuse, structure):
    whole = (DATA / "22_1u78.pdb.gz").read_bytes()
    path = structure(whole[: len(whole) // 2], "cut.pdb.gz")
    sentence = refuse("--pdb", path)
    assert sentence.startswith(f"{path} is a damaged or cut gzip file")
    assert "fetch it again" in sentence


@pytest.mark.parametrize(
    ("name", "residues"),
    [
        ("15_1xqa.pdb.gz", "ALA 93 and ALA 95"),
        ("16_1naf.pdb.gz", "GLY 238 and SER 244"),
        ("17_1dul.cif.gz", "GLN 9 and LYS 23"),
    ],
)
def test_chain_break_is_refused(refuse, name, residues):
    sentence = refuse("--pdb", DATA / name)
    assert f"breaks between residues {residues} of chain A of {DATA / name}" in sentence
    assert "--residues" in sentence
    assert "--longest-segment" in sentence


def test_chain_that_is_not_there_is_refused(refuse):
    path = DATA / "20_2hpf.pdb.gz"
    sentence = refuse("--pdb", path, "--chain", "Q")
    assert sentence == f"Chain Q of {path} is not there: choose --chain from A, B, S."


@pytest.mark.parametrize("index", [0, 6, -1])
def test_model_out_of_range_is_refused(refuse, index):
    sentence = refuse("--pdb", TRP_CAGE, "--model-index", index)
    assert sentence == f"{TRP_CAGE} has no model {index}: choose --model-index from 1 to 5."


def test_residue_without_ca_is_refused(refuse, structure):
    lines = TRP_CAGE.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line[12:16] != " CA " or int(line[22:26]) != 6]
    assert len(kept) < len(lines)
    path = structure("".join(kept))
    assert f"Residue TRP 6 of chain A of {path} has no CA atom" in refuse("--pdb", path)


def test_d_residues_are_refused(refuse):
    path = DATA / "29_5gob.pdb.gz"
    sentence = refuse("--pdb", path, "--chain", "B")
    assert f"Residue 1 of chain B of {path} is the D-amino acid DNE" in sentence


def test_native_start_needs_a_structure(refuse_sequence):
    sentence = refuse_sequence("--start", "native")
    assert sentence == "--start native needs a structure: give --pdb."


def test_reference_without_a_file_needs_a_structure(refuse_sequence):
    sentence = refuse_sequence("--reference")
    assert sentence == "--reference without a file needs --pdb: give one of them."


def test_reference_of_another_sequence_is_refused(refuse):
    for protein in (("--sequence", SEQUENCE), ("--pdb", DATA / "31_d1asha_")):
        sentence = refuse(*protein, "--reference", TRP_CAGE)
        n = 10 if protein[0] == "--sequence" else 60
        assert sentence == (
            f"The 20 residues of chain A of {TRP_CAGE} do not contain the sequence of the protein ({n} residues): "
            "give a structure of the same protein, or another chain with --reference-chain."
        )


def test_missing_reference_is_refused(refuse_sequence, tmp_path):
    path = tmp_path / "native.pdb"
    sentence = refuse_sequence("--reference", path)
    assert sentence == f"{path} is not there: check the file name."


# Models


@pytest.fixture
def model(tmp_path):
    """A copy of nemo-tiny."""
    return Path(shutil.copytree(NEMO_TINY, tmp_path / "model"))


def change_metadata(model, **values):
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_unknown_model_is_refused_with_a_list(refuse_sequence):
    sentence = refuse_sequence("--model", "nemo-huge")
    assert sentence.startswith("There is no model 'nemo-huge': give the path of a model folder or")
    assert sentence.endswith("an installed name (nemo-mini, nemo-tiny, rnn-mini).")


def test_model_of_another_version_is_refused(refuse_sequence, model):
    change_metadata(model, format_version=2)
    sentence = refuse_sequence("--model", model)
    assert f"{model / 'config.json'} has format version 2" in sentence
    assert "install the version" in sentence


@pytest.mark.parametrize("position", [0, 5000, -1])
def test_model_with_a_changed_byte_is_refused(refuse_sequence, model, position):
    path = model / "model.safetensors"
    weights = bytearray(path.read_bytes())
    weights[position] ^= 1
    path.write_bytes(weights)
    sentence = refuse_sequence("--model", model)
    assert f"model.safetensors in {model} has changed since it was written: get both" in sentence


def test_model_with_changed_metadata_is_refused(refuse_sequence, model):
    change_metadata(model, trained=True)
    assert "config.json or " in refuse_sequence("--model", model)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_model_that_lacks_a_file_is_refused(refuse_sequence, model, name):
    (model / name).unlink()
    assert f"{model} has no {name}: give" in refuse_sequence("--model", model)


# Profiles


@pytest.fixture(scope="module")
def profile_model(tmp_path_factory):
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("models") / "profile"
    NemoModel(NemoConfig.preset("tiny", profile=True)).save_pretrained(folder)
    return folder


@pytest.fixture
def refuse_profile(refuse, tmp_path, profile_model):
    """Refusal of a profile of SEQUENCE with this text."""

    def refuse_text(text, name="profile.txt"):
        path = tmp_path / name
        path.write_text(text)
        options = ("--sequence", SEQUENCE, "--model", profile_model, "--profile", path)
        return refuse(*options), path

    return refuse_text


def rows(shape, separator=" "):
    lines = np.full(shape, 0.05).astype(str).tolist()
    return "\n".join(separator.join(line) for line in lines)


@pytest.mark.parametrize("shape", [(9, 20), (10, 19), (1, 20), (200, 1)])
def test_profile_of_another_shape_is_refused(refuse_profile, shape):
    sentence, _ = refuse_profile(rows(shape))
    assert sentence == f"The profile has shape {shape}: give one of (10, 20), a row a residue."


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "empty.txt"),
        (rows((10, 20)).replace("0.05", "often", 1), "words.txt"),
        (rows((10, 20)) + " 0.05", "ragged.txt"),
        (rows((10, 20)), "spaces.csv"),
        (rows((10, 20), ","), "commas.txt"),
    ],
)
def test_profile_that_is_not_a_table_is_refused(refuse_profile, text, name):
    sentence, path = refuse_profile(text, name)
    assert sentence.startswith(f"The profile {path} cannot be read (")
    assert sentence.endswith("give 20 numbers a line.")


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_profile_that_is_not_finite_is_refused(refuse_profile, value):
    sentence, _ = refuse_profile(rows((9, 20)) + "\n" + rows((1, 20)).replace("0.05", value, 1))
    assert sentence == "The profile has a number that is not finite at residue 10: correct it."


def test_profile_that_is_not_there_is_refused(refuse_sequence, tmp_path, profile_model):
    for path in (tmp_path / "nothing.txt", tmp_path):
        sentence = refuse_sequence("--model", profile_model, "--profile", path)
        assert sentence.startswith(f"The profile {path} cannot be read (")


def test_profile_model_needs_a_profile(refuse_sequence, profile_model):
    sentence = refuse_sequence("--model", profile_model)
    assert sentence == "This model needs a profile: give an array of shape (10, 20)."


def test_model_without_profile_refuses_one(refuse_sequence, tmp_path):
    path = tmp_path / "profile.txt"
    path.write_text(rows((10, 20)))
    assert refuse_sequence("--profile", path).startswith("This model takes the sequence alone")


# Files to write


@pytest.mark.parametrize("option", ["--trajectory", "--atoms"])
@pytest.mark.parametrize("name", ["path.trr", "path", ".pdb", ""])
def test_unknown_extension_is_refused(refuse_sequence, option, name):
    sentence = refuse_sequence(option, name)
    known = "has no known extension: use .dcd, .xtc, .h5, .pdb."
    assert sentence == f"The trajectory {name!r} {known}"


@pytest.mark.parametrize("option", ["--trajectory", "--atoms"])
def test_folder_in_the_name_of_a_trajectory_is_refused(refuse_sequence, option, tmp_path):
    for name in ("sub/path.dcd", "../path.dcd", str(tmp_path / "path.dcd")):
        sentence = refuse_sequence(option, name)
        assert sentence.startswith(f"The trajectory {name!r} has a folder: give a file name")


def test_one_name_for_both_trajectories_is_refused(refuse_sequence):
    sentence = refuse_sequence("--trajectory", "atoms.dcd")
    assert sentence == "Both trajectories are named 'atoms.dcd': give two different names."


@pytest.mark.parametrize("option", ["--trajectory", "--atoms"])
@pytest.mark.parametrize(
    "name", ["final_coarse.pdb", "final_atoms.pdb", "coarse.partial.dcd", "atoms.new.dcd"]
)
def test_trajectory_must_not_take_the_name_of_another_file(refuse_sequence, option, name):
    sentence = refuse_sequence(option, name)
    assert sentence.startswith(f"The run uses the name {name!r} for another file: give")


def test_out_that_is_a_file_is_refused(refuse_sequence, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert f"{tmp_path / 'file'} cannot be written (File exists)" in refuse_sequence(out="file")
    below = tmp_path / "file" / "below"
    sentence = refuse_sequence(out="file/below")
    assert f"{below} cannot be written (Not a directory): mend that or give another" in sentence


def test_out_with_too_long_a_name_is_refused(refuse_sequence):
    assert "cannot be written (File name too long)" in refuse_sequence(out="x" * 300)


def test_out_that_may_not_be_written_is_refused(refuse_sequence, tmp_path, monkeypatch):
    locked = tmp_path / "locked"
    if os.geteuid() == 0:  # who may write everywhere

        def refuse_mkdir(path, *args, **kwargs):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

        monkeypatch.setattr(Path, "mkdir", refuse_mkdir)
    else:
        locked.mkdir(mode=0o500)
    sentence = refuse_sequence(out="locked/run")
    assert sentence.startswith(f"{locked / 'run'} cannot be written (Permission denied): mend")


# OpenMM


def test_unknown_platform_is_refused_with_a_list(refuse_sequence):
    sentence = refuse_sequence("--platform", "Abacus")
    assert sentence.startswith("The platform 'Abacus' is not available here: choose one of ")
    assert "Reference, CPU" in sentence


def test_torchforce_where_it_does_not_work_is_refused(refuse_sequence, monkeypatch):
    if torchforce_problem() is None:
        monkeypatch.setattr(forces, "torchforce_problem", lambda: "it is broken")
    sentence = refuse_sequence("--backend", "torchforce")
    assert sentence.startswith("The backend 'torchforce' is not available: ")


def test_platform_that_does_not_work_is_refused(refuse_sequence, monkeypatch):
    def fail(*args):
        raise openmm_nemo.runs.simulation.mm.OpenMMException("No device\nis found")

    monkeypatch.setattr("openmm.app.Simulation", fail)
    sentence = refuse_sequence("--platform", "CPU")
    start = "OpenMM cannot simulate on CPU (No device is found): choose another --platform of "
    assert sentence.startswith(start)


# Progress


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when told: a list of one number."""
    now = [100.0]
    monkeypatch.setattr("openmm_nemo.progress.time.monotonic", lambda: now[0])
    return now


def test_progress_off_a_terminal_is_a_line_now_and_then(clock, capsys):
    with progress("Simulating", 100, 400) as tell:
        for count in range(101, 400):
            clock[0] += 0.25
            tell(count)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "Simulating: 141 of 400, about 65 s left"
    assert len(lines) == 7


def test_short_work_is_silent_off_a_terminal(capsys):
    with progress("Simulating", 0, 3) as tell:
        for count in (1, 2, 3):
            tell(count)
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_is_a_bar_with_the_remaining_time(monkeypatch):
    screen = io.StringIO()

    def terminal(stderr):
        assert stderr
        return Console(file=screen, force_terminal=True, width=80)

    monkeypatch.setattr("openmm_nemo.progress.Console", terminal)
    with progress("Simulating", 20, 60) as tell:
        for count in (30, 59):
            tell(count)
    text = screen.getvalue()
    assert "Simulating" in text
    assert "59/60" in text
    assert "━" in text
    assert ":--" in text


@pytest.mark.parametrize("stderr", [None, "closed"])
def test_progress_does_not_need_a_reader(clock, capsys, monkeypatch, stderr):
    if stderr == "closed":
        reading, writing = os.pipe()
        os.close(reading)
        stderr = open(writing, "w", buffering=1)  # noqa: SIM115
    monkeypatch.setattr(sys, "stderr", stderr)
    told = []
    with progress("Simulating", 0, 3) as tell:
        for count in (1, 2, 3):
            clock[0] += 60
            tell(count)
            told.append(count)
    assert told == [1, 2, 3]
    assert capsys.readouterr().out == ""
    if stderr is not None:
        with suppress(OSError):
            stderr.close()

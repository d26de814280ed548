"""The command line: what it lists, and what it says to bad input. Runs are tested in tests/integration."""

import errno
import json
import os
import re
import shutil
from functools import partial
from pathlib import Path

import click
import numpy as np
import pytest
import torch

import openmm_nemo
from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.cli import VERBS, cli
from openmm_nemo.engine import torchforce_problem, torchscript
from tests.helpers import command_line, contents, names, refused

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
    for verb in VERBS:
        assert re.search(rf"^  {verb} +[A-Z]", outcome.out, re.M)


@pytest.mark.parametrize("verb", VERBS)
def test_the_summary_of_a_verb_is_the_first_line_of_its_own_help(verb):
    _, summary = VERBS[verb]
    assert cli.get_command(click.Context(cli), verb).help.splitlines()[0] == summary


def test_help_of_simulate_names_every_option_and_default():
    outcome = command_line("simulate", "--help")
    assert (outcome.code, outcome.err) == (0, "")
    words = " ".join(outcome.out.split())
    for option in (
        "--pdb", "--sequence", "--chain", "--model-index", "--model", "--profile", "--embedding", "--out", "--steps",
        "--temperature", "--seed", "--start", "--reference", "--report-interval", "--trajectory", "--atoms",
        "--backend", "--platform", "--precision", "--threads", "--resume", "--residues", "--longest-segment",
        "--topology", "--frame", "--coarse", "--fasta", "--reference-chain", "--reference-model",
    ):  # fmt: skip
        assert f" {option} " in words
    for default in (
        "nemo-fold",
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
    names(outcome.out, "models")


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
    names(sentence, "temperature", temperature)


# Sequences


@pytest.mark.parametrize(
    ("sequence", "facts"),
    [
        ("ACDXFG", ["'X'", "position 4"]),
        ("acd1f", ["'1'", "position 4"]),
        ("", ["0 residues", 4]),
        ("ACD", ["3 residues", 4]),
    ],
)
def test_bad_sequence_is_refused(refuse, sequence, facts):
    names(refuse("--sequence", sequence), *facts)


def test_one_of_structure_and_sequence_is_needed(refuse):
    one = "Give one of --pdb, --sequence, --fasta, and --trajectory with --topology."
    assert refuse() == one
    assert refuse("--pdb", TRP_CAGE, "--sequence", SEQUENCE) == one
    assert refuse("--trajectory", "x.xtc") == one
    assert refuse("--fasta", "x", "--sequence", SEQUENCE) == one
    assert refuse("--fasta", "x", "--pdb", TRP_CAGE) == one
    assert refuse("--pdb", TRP_CAGE, "--topology", TRP_CAGE, "--trajectory", "x.xtc") == one


@pytest.mark.parametrize(
    "option",
    [("--chain", "1"), ("--model-index", "1"), ("--residues", "1-9"), ("--longest-segment",)],
)
def test_choices_in_a_file_need_the_file(refuse_sequence, option):
    said = f"A sequence has no {option[0]}, which select from a structure: give --pdb."
    assert refuse_sequence(*option) == said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--frame", 1), "--frame belongs to a trajectory: give --trajectory and --topology."),
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
            "Without --topology, --trajectory means the same as --coarse: give only --coarse.",
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
    names(refuse("--pdb", path), path)


def test_folder_is_not_a_structure(refuse, tmp_path):
    sentence = refuse("--pdb", tmp_path)
    assert sentence == f"{tmp_path} is a folder: give a PDB, mmCIF or GRO file in it."


@pytest.mark.parametrize("content", ["", "\n\n", "Dear reader,\n", b"\0\1\2" * 100])
def test_file_without_atoms_is_refused(refuse, structure, content):
    path = structure(content)
    names(refuse("--pdb", path), path)


@pytest.mark.parametrize("left", [0.2, 0.5])
def test_cut_structure_is_refused(refuse, structure, left):
    text = TRP_CAGE.read_text()
    path = structure(text[: int(left * len(text))])
    sentence = refuse("--pdb", path)
    names(sentence, path, "cut short")


def test_cut_gzip_is_refused(refuse, structure):
    whole = (DATA / "22_1u78.pdb.gz").read_bytes()
    path = structure(whole[: len(whole) // 2], "cut.pdb.gz")
    sentence = refuse("--pdb", path)
    names(sentence, path, "gzip")


@pytest.mark.parametrize(
    ("name", "residues"),
    [
        ("15_1xqa.pdb.gz", ("ALA 93", "ALA 95")),
        ("16_1naf.pdb.gz", ("GLY 238", "SER 244")),
        ("17_1dul.cif.gz", ("GLN 9", "LYS 23")),
    ],
)
def test_chain_break_is_refused(refuse, name, residues):
    sentence = refuse("--pdb", DATA / name)
    names(sentence, *residues, "chain A", DATA / name, "--residues", "--longest-segment")


def test_chain_that_is_not_there_is_refused(refuse):
    path = DATA / "20_2hpf.pdb.gz"
    sentence = refuse("--pdb", path, "--chain", "Q")
    names(sentence, "chain Q", path, "--chain", "A, B, S")


@pytest.mark.parametrize("index", [0, 6, -1])
def test_model_out_of_range_is_refused(refuse, index):
    sentence = refuse("--pdb", TRP_CAGE, "--model-index", index)
    names(sentence, TRP_CAGE, f"model {index}", "--model-index", 1, 5)


def test_residue_without_ca_is_refused(refuse, structure):
    lines = TRP_CAGE.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line[12:16] != " CA " or int(line[22:26]) != 6]
    assert len(kept) < len(lines)
    path = structure("".join(kept))
    names(refuse("--pdb", path), "TRP 6", "chain A", path, "CA")


def test_d_residues_are_refused(refuse):
    path = DATA / "29_5gob.pdb.gz"
    sentence = refuse("--pdb", path, "--chain", "B")
    assert f"Residue 1 of chain B of {path} is the D-amino acid DNE" in sentence


def test_native_start_needs_a_structure(refuse_sequence):
    sentence = refuse_sequence("--start", "native")
    names(sentence, "--start native", "--pdb")


def test_reference_without_a_file_needs_a_structure(refuse_sequence):
    sentence = refuse_sequence("--reference")
    names(sentence, "--reference", "--pdb")


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
    names(sentence, path)


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
    names(
        sentence, "nemo-huge", "nemo-fold, nemo-fold-seq, nemo-mini, nemo-tiny, rnn-fold, rnn-mini"
    )


def test_model_of_another_version_is_refused(refuse_sequence, model):
    change_metadata(model, format_version=99)
    sentence = refuse_sequence("--model", model)
    names(sentence, model / "config.json", "version 99")


@pytest.mark.parametrize("position", [0, 5000, -1])
def test_model_with_a_changed_byte_is_refused(refuse_sequence, model, position):
    path = model / "model.safetensors"
    weights = bytearray(path.read_bytes())
    weights[position] ^= 1
    path.write_bytes(weights)
    sentence = refuse_sequence("--model", model)
    names(sentence, "model.safetensors", model)


def test_model_with_changed_metadata_is_refused(refuse_sequence, model):
    change_metadata(model, trained=True)
    names(refuse_sequence("--model", model), "config.json")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_model_that_lacks_a_file_is_refused(refuse_sequence, model, name):
    (model / name).unlink()
    names(refuse_sequence("--model", model), model, name)


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
    names(sentence, "profile", shape, "(10, 20)")


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
    names(sentence, "profile", path, 20)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_profile_that_is_not_finite_is_refused(refuse_profile, value):
    sentence, _ = refuse_profile(rows((9, 20)) + "\n" + rows((1, 20)).replace("0.05", value, 1))
    names(sentence, "profile", "finite", "residue 10")


def test_profile_that_is_not_there_is_refused(refuse_sequence, tmp_path, profile_model):
    for path in (tmp_path / "nothing.txt", tmp_path):
        sentence = refuse_sequence("--model", profile_model, "--profile", path)
        names(sentence, "profile", path)


def test_profile_model_needs_a_profile(refuse_sequence, profile_model):
    sentence = refuse_sequence("--model", profile_model)
    names(sentence, "profile", "(10, 20)")


def test_model_without_profile_refuses_one(refuse_sequence, tmp_path):
    path = tmp_path / "profile.txt"
    path.write_text(rows((10, 20)))
    names(refuse_sequence("--model", "nemo-mini", "--profile", path), "profile")


# Files to write


@pytest.mark.parametrize("option", ["--trajectory", "--atoms"])
@pytest.mark.parametrize("name", ["path.trr", "path", ".pdb", ""])
def test_unknown_extension_is_refused(refuse_sequence, option, name):
    sentence = refuse_sequence(option, name)
    names(sentence, repr(name), ".dcd", ".xtc", ".h5", ".pdb")


@pytest.mark.parametrize("option", ["--trajectory", "--atoms"])
def test_folder_in_the_name_of_a_trajectory_is_refused(refuse_sequence, option, tmp_path):
    for name in ("sub/path.dcd", "../path.dcd", str(tmp_path / "path.dcd")):
        sentence = refuse_sequence(option, name)
        names(sentence, repr(name), "folder")


def test_one_name_for_both_trajectories_is_refused(refuse_sequence):
    sentence = refuse_sequence("--trajectory", "atoms.dcd")
    names(sentence, "atoms.dcd", "two")


@pytest.mark.parametrize("option", ["--trajectory", "--atoms"])
@pytest.mark.parametrize(
    "name", ["final_coarse.pdb", "final_atoms.pdb", "coarse.partial.dcd", "atoms.new.dcd"]
)
def test_trajectory_must_not_take_the_name_of_another_file(refuse_sequence, option, name):
    sentence = refuse_sequence(option, name)
    names(sentence, repr(name))


def test_out_that_is_a_file_is_refused(refuse_sequence, tmp_path):
    (tmp_path / "file").write_text("mine")
    names(refuse_sequence(out="file"), tmp_path / "file", "File exists")
    below = tmp_path / "file" / "below"
    sentence = refuse_sequence(out="file/below")
    names(sentence, below, "Not a directory")


def test_out_with_too_long_a_name_is_refused(refuse_sequence):
    names(refuse_sequence(out="x" * 300), "File name too long")


def test_out_that_may_not_be_written_is_refused(refuse_sequence, tmp_path, monkeypatch):
    locked = tmp_path / "locked"
    if os.geteuid() == 0:  # who may write everywhere

        def refuse_mkdir(path, *args, **kwargs):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

        monkeypatch.setattr(Path, "mkdir", refuse_mkdir)
    else:
        locked.mkdir(mode=0o500)
    sentence = refuse_sequence(out="locked/run")
    names(sentence, locked / "run", "Permission denied")


# OpenMM


def test_unknown_platform_is_refused_with_a_list(refuse_sequence):
    sentence = refuse_sequence("--platform", "Abacus")
    names(sentence, "Abacus", "Reference, CPU")


@pytest.mark.integration
def test_torchforce_where_it_does_not_work_is_refused(refuse_sequence, monkeypatch):
    if torchforce_problem() is None:
        monkeypatch.setattr(torchscript, "torchforce_problem", lambda: "it is broken")
    sentence = refuse_sequence("--backend", "torchforce")
    names(sentence, "torchforce")


def test_platform_that_does_not_work_is_refused(refuse_sequence, monkeypatch):
    def fail(*args):
        raise openmm_nemo.runs.simulation.mm.OpenMMException("No device\nis found")

    monkeypatch.setattr("openmm.app.Simulation", fail)
    sentence = refuse_sequence("--platform", "CPU")
    names(sentence, "CPU", "No device is found", "--platform")

"""The commands in README.md: all have options that exist, and those whose files are shipped run as written."""

import re
import shlex
import shutil
from pathlib import Path

import click
import pytest

from openmm_nemo.cli import cli
from openmm_nemo.training.curves import read_metrics
from tests.helpers import command_line

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def commands(text):
    """Arguments of all commands in indented blocks of a text."""
    lines = re.sub(r" *\\\n +", " ", text).splitlines()
    written = (line for line in lines if line.startswith("    openmm-nemo "))
    return [shlex.split(line, comments=True)[1:] for line in written]


def section(title):
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_block(title):
    """Commands of the first block of a section."""
    return commands(re.search(r"(?m)(^    .*\n)+", section(title))[0])


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder that has what the commands need of a fresh clone."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(arguments):
    outcome = command_line(*arguments)
    assert outcome.code == 0, (arguments, outcome)


@pytest.mark.parametrize("arguments", commands(README), ids=" ".join)
def test_every_command_has_options_that_exist(arguments):
    command, context = cli, click.Context(cli)
    while isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.get_command(context, name)
        assert command is not None, name
    command.make_context(name, arguments)


def test_first_simulations(clone):
    for arguments in first_block("On the command line"):
        run(arguments)
    assert (clone / "run" / "trp-cage" / "final_atoms.pdb").exists()
    assert (clone / "run" / "sequence" / "state.csv").read_text().count("\n") == 52


def test_first_training(clone):
    training = first_block("Training")
    assert [arguments[0] for arguments in training] == [
        "data",
        "data",
        "train",
        "export",
        "simulate",
    ]
    for arguments in training:
        run(arguments)
    losses = read_metrics(clone / "run" / "small" / "metrics.csv")["loss/initial_distances"][:, 1]
    assert losses[-1] < losses[0]
    assert (clone / "run" / "trained" / "final_atoms.pdb").exists()


def test_the_commands_in_the_first_settings_are_those_of_readme():
    """A comment in the file repeats them."""
    text = (ROOT / "examples" / "configs" / "small.toml").read_text()
    assert commands(re.sub("(?m)^# ?", "", text)) == first_block("Training")[:3]

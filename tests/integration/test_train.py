"""Training runs by the command line: what they write, and that a run that was killed goes on as if it had not been."""

import csv
import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest
import torch

from openmm_nemo import NemoModel
from openmm_nemo.data.splits import Split
from openmm_nemo.training.export import CARD_FILE
from openmm_nemo.training.module import NemoTraining
from openmm_nemo.training.stream import DomainData
from openmm_nemo.training.train import read_checkpoint, read_run_settings
from tests.helpers import command_line, contents, names, refused
from tests.sets import write_set
from tests.tolerances import assert_close

CONFIG = """
description = "A model of a test."
seed = 3
warm_up = 2
validate_every = 4
renormalisation = [1, 6]
[data]
set = "set"
split = "split.json"
max_length = 12
batch_size = 3
validation_domains = 3
[[stages]]
updates = 4
losses = {initial_distances = 1.0, secondary_structure = 0.1}
[[stages]]
updates = 5
steps = 4
backpropagated = 3
states = 2
losses = {distances = 1.0, angles = 0.5, likelihood = 0.01, tm = 1.0, lyapunov = 0.1}
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """A folder with a set, a split and a configuration."""
    folder = tmp_path_factory.mktemp("inputs")
    write_set(folder)
    (folder / "config.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def run(inputs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "whole"
    outcome = command_line("train", inputs / "config.toml", "--out", out)
    assert outcome.code == 0, outcome.err
    return out


def test_a_run_writes_checkpoint_metrics_and_curves(run):
    content = read_checkpoint(run / "last.ckpt")
    assert content["global_step"] == 9
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    validated = [row for row in rows if row["validation/tm"]]
    assert [int(row["step"]) for row in validated] == [3, 7]
    # Before the second stage the prediction is z(0).
    assert validated[0]["validation/tm"] == validated[0]["validation/tm_z0"]
    assert validated[1]["validation/tm"] != validated[1]["validation/tm_z0"]
    assert all(
        0 < float(row["validation/tm"]) < 1 < float(row["validation/rmsd"]) for row in validated
    )
    assert matplotlib.image.imread(run / "curves.png")[..., :3].std() > 0.05
    assert json.loads((run / "settings.json").read_text())["settings"]["seed"] == 3


def test_contacts_that_leave_the_crops_are_reported(inputs, tmp_path, monkeypatch):
    """As the mean over the windows of each batch."""
    monkeypatch.setattr("openmm_nemo.training.train.LOG_EVERY", 1)
    path = inputs / "crops.toml"
    stage = CONFIG.split("[[stages]]")[1]
    path.write_text(f"{CONFIG.partition('[[stages]]')[0]}[[stages]]{stage}")
    outcome = command_line("train", path, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        rows = [row["data/outside_contacts"] for row in csv.DictReader(file)]
    batches = itertools.islice(
        DomainData(read_run_settings(tmp_path / "run")).train_dataloader(), 4
    )
    expected = [float(batch.outside_contacts.mean()) for batch in batches]
    assert [float(value) for value in rows if value] == pytest.approx(expected, rel=1e-6)
    assert max(expected) > 0


def test_reference_states_are_fitted_once_and_kept_in_the_checkpoint(inputs, tmp_path):
    """The averaged weights and the current ones have the same."""
    path = inputs / "direct.toml"
    head, _, _ = CONFIG.partition("[[stages]]")
    path.write_text(
        f"""{head}
[[stages]]
updates = 2
losses = {{pair_likelihood = 1.0, chain_likelihood = 1.0}}
[model]
changes = {{terms = ["pair-basis", "chain-basis", "backbone"], trunk = "dilated"}}
"""
    )
    out = tmp_path / "run"
    outcome = command_line("train", path, "--out", out)
    assert outcome.code == 0, outcome.err
    settings = read_run_settings(out)
    expected = NemoTraining(settings)
    expected.fit_reference(DomainData(settings).train)
    content = read_checkpoint(out / "last.ckpt")
    for term in ("pair-basis", "chain-basis"):
        reference = expected.model.energy.terms[term].reference
        assert reference.std() > 0
        name = f"model.energy.terms.{term}.reference"
        assert torch.equal(content["current_model_state"][name], reference)
        assert_close(content["state_dict"][name], reference, "rounding")  # a mean of equal numbers


def test_likelihood_learns_scales_and_then_heads(inputs, tmp_path):
    """A 'fold' model of crops; all other weights stay as the direct stage left them."""
    head, _, _ = CONFIG.partition("[[stages]]")
    path = inputs / "likelihood.toml"
    stages = [
        "updates = 2\nlosses = {pair_likelihood = 1.0, chain_likelihood = 1.0}",
        'updates = 2\nsteps = 6\ntrain = ["scales"]\nlosses = {contrastive_likelihood = 1.0}',
        'updates = 2\nsteps = 6\ntrain = ["heads"]\nfrom_data = 0.5\nlosses = {contrastive_likelihood = 1.0}',
    ]
    weights = []
    for n in (1, 2, 3):
        path.write_text(
            head
            + "".join(f"[[stages]]\n{stage}\n" for stage in stages[:n])
            + """[model]
preset = "fold"
changes = {node_channels = 8, pair_channels = 4, sequence_blocks = 1, pair_blocks = 1, imputation_blocks = 1}
"""
        )
        out = tmp_path / f"run{n}"
        outcome = command_line("train", path, "--out", out)
        assert outcome.code == 0, outcome.err
        weights.append(read_checkpoint(out / "last.ckpt")["current_model_state"])
    parts = ("scales.logarithms", "term_heads")
    for before, after, part in zip(weights, weights[1:], parts, strict=False):
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        # Normalisations follow the batches in all stages.
        changed = {name for name in changed if ".running_" not in name}
        assert changed
        assert all(part in name for name in changed)
    with open(out / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["energy/gap"]]
    assert [int(row["step"]) for row in rows] == [5]
    assert 0 <= float(rows[0]["energy/natives_below"]) <= 1
    assert math.isclose(float(rows[0]["energy/gap"]), float(rows[0]["loss/contrastive_likelihood"]))


def test_the_exported_model_has_the_averaged_weights_and_the_split(inputs, run, tmp_path):
    outcome = command_line("export", run / "last.ckpt", "--out", tmp_path / "model")
    assert outcome.code == 0, outcome.err
    model = NemoModel.from_pretrained(tmp_path / "model")
    assert model.trained
    assert model.description == "A model of a test."
    assert (tmp_path / "model" / "split.json").read_bytes() == (inputs / "split.json").read_bytes()
    content = read_checkpoint(run / "last.ckpt")
    averaged = content["state_dict"][
        "model.energy.terms.learned.structure_network.pair_output.weight"
    ]
    current = content["current_model_state"][
        "model.energy.terms.learned.structure_network.pair_output.weight"
    ]
    exported = model.energy.terms["learned"].structure_network.pair_output.weight
    assert torch.equal(exported, averaged)
    assert not torch.equal(exported, current)


def test_the_model_card_tells_what_the_run_came_to(run, tmp_path):
    notes = tmp_path / "notes.md"
    notes.write_text("## Limits\n\nOf a *test*: none.\n")
    out = tmp_path / "nemo-card"
    tables = tmp_path / "compare.md"
    tables.write_text("# Comparison\n\n## test\n\n| model | RMSD (Å) |\n", encoding="utf-8")
    added = ("--notes", notes, "--comparison", tables)
    assert command_line("export", run / "last.ckpt", "--out", out, *added).code == 0
    card = (out / CARD_FILE).read_text(encoding="utf-8")
    assert "\n\n## Comparison\n\n### test\n\n| model | RMSD (Å) |\n\n## Data\n" in card
    assert card.startswith("# nemo-card\n\n**A model of a test.**\n")
    assert card.endswith(notes.read_text())
    with open(run / "metrics.csv", newline="") as file:
        *_, last = (row for row in csv.DictReader(file) if row["validation/tm"])
    assert "After update 8: means over one structure for each of 3 held-out domains" in card
    assert f"| TM-score | {float(last['validation/tm']):.3f} |" in card
    assert f"| RMSD of z(0), Angstrom | {float(last['validation/rmsd_z0']):.3f} |" in card
    assert "| updates | 9 of 9, 0 of them skipped |" in card
    assert "| seed | 3 |" in card
    assert Split.read(out / "split.json").folds
    assert "that contain the fold of a domain held out at C, A or T were left out." in card
    assert "processes: 1 |" in card
    assert f"torch {torch.__version__.partition('+')[0]}" in card
    n_parameters = sum(weight.numel() for weight in NemoModel.from_pretrained(out).parameters())
    assert f"| parameters | {n_parameters:,} |" in card
    split = Split.read(run / "split.json")
    assert f"| train |  | {len(split.ids('train'))} |" in card
    assert (
        "| 2 | 5 | 4 | 0 |  | 3 | 2 | 0.0 |  | 0.001 | distances 1, angles 0.5, likelihood 0.01,"
        in card
    )
    # Every file that it shows is there.
    for name in re.findall(r"\]\(([^)]+)\)|`(\w+\.pt)`", card):
        assert (out / "".join(name)).stat().st_size > 100
    assert (out / "training.toml").read_text() == CONFIG
    assert matplotlib.image.imread(out / "curves.png")[..., :3].std() > 0.05


def test_models_are_exported_the_same_every_time(run, tmp_path):
    for name in ("one", "two", "two"):
        assert command_line("export", run / "last.ckpt", "--out", tmp_path / name / "m").code == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_training_can_begin_with_the_weights_of_a_model(inputs, run, tmp_path):
    """With next to no learning rate, they are what is exported, although the model is gone by then."""
    folder = shutil.copytree(inputs, tmp_path / "inputs")
    assert command_line("export", run / "last.ckpt", "--out", folder / "first").code == 0
    config = folder / "more.toml"
    first, _ = CONFIG.split("[[stages]]", 1)
    stage = "[[stages]]\nupdates = 2\nlearning_rate = 1e-12\nlosses = {initial_distances = 1.0}\n"

    def settings(model: str) -> None:
        config.write_text(first.replace("seed = 3", "seed = 4") + f"[model]\n{model}\n" + stage)

    settings('start = "first"')
    outcome = command_line("train", config, "--out", tmp_path / "run")
    assert outcome.code == 0, outcome.err
    before = NemoModel.from_pretrained(folder / "first")
    shutil.rmtree(folder / "first")
    assert command_line("export", tmp_path / "run" / "last.ckpt", "--out", tmp_path / "m").code == 0
    after = NemoModel.from_pretrained(tmp_path / "m")
    for old, new in zip(before.parameters(), after.parameters(), strict=True):
        assert_close(new, old, "rounding")
    assert "| began with | the weights of `first` |" in (tmp_path / "m" / "README.md").read_text()

    refusals = {
        'start = "first"': (folder / "first",),
        'start = "nemo-tiny"\nchanges = {pair_channels = 8}': ("pair_channels", 4, 8),
    }
    for model, facts in refusals.items():
        settings(model)
        names(refused("train", config, "--out", tmp_path / "other"), *facts)
    assert not (tmp_path / "other").exists()


def test_notes_and_checkpoints_that_cannot_be_read_are_refused(run, tmp_path):
    out = tmp_path / "out"
    options = ("--out", out, "--notes", tmp_path / "none.md")
    names(refused("export", run / "last.ckpt", *options), "none.md")
    options = ("--out", out, "--comparison", tmp_path / "none.md")
    names(refused("export", run / "last.ckpt", *options), "--comparison", "none.md")
    names(refused("export", run / "none.ckpt", "--out", out), "none.ckpt")
    names(
        refused(
            "export",
            shutil.copytree(run, tmp_path / "run", ignore=lambda *_: ["metrics.csv"]) / "last.ckpt",
            "--out",
            out,
        ),
        "metrics.csv",
    )
    assert not out.exists()


KILLED = """
import os, signal, sys
from openmm_nemo.training.module import NemoTraining
def killed(self, *_):
    if self.global_step == 6:
        self.trainer.save_checkpoint(sys.argv[4] + "/last.ckpt")
    if self.global_step == 7:
        os.kill(os.getpid(), signal.SIGKILL)
NemoTraining.on_train_batch_end = killed
from openmm_nemo.cli import main
main()
"""


def run_program(program: str, inputs: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """A training run in a process of its own, by a program that takes the command line."""
    command = [sys.executable, "-c", program, "train", inputs / "config.toml", "--out", out]
    return subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )


def test_a_run_that_was_killed_goes_on_as_the_one_that_was_not(inputs, run, tmp_path):
    out = tmp_path / "out"
    done = run_program(KILLED, inputs, out)
    assert done.returncode == -signal.SIGKILL, done.stderr
    names(refused("train", inputs / "config.toml", "--out", out), "--resume")
    outcome = command_line("train", inputs / "config.toml", "--out", out, "--resume")
    assert outcome.code == 0, outcome.err
    whole, resumed = (read_checkpoint(folder / "last.ckpt") for folder in (run, out))
    assert resumed["global_step"] == 9
    for kind in ("state_dict", "current_model_state"):
        for name, value in whole[kind].items():
            assert torch.equal(value, resumed[kind][name]), name
    assert (out / "metrics.csv").read_text() == (run / "metrics.csv").read_text()
    assert [sitting["updates"] for sitting in resumed["sittings"]] == [6, 9]
    assert all(0 < sitting["seconds"] < 100 for sitting in resumed["sittings"])


def test_a_run_with_16_bits_learns_and_goes_on_as_if_it_had_not_stopped(
    inputs, run, tmp_path, monkeypatch
):
    config = inputs / "bf16.toml"
    config.write_text(CONFIG.replace("seed = 3", 'seed = 3\nprecision = "bf16"'))
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert command_line("train", config, "--out", whole).code == 0

    def stop(self, *arguments):
        if self.global_step == 6:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(NemoTraining, "on_train_batch_end", stop, raising=False)
        assert command_line("train", config, "--out", stopped).code != 0
    assert read_checkpoint(stopped / "last.ckpt")["global_step"] == 6
    outcome = command_line("train", config, "--out", stopped, "--resume")
    assert outcome.code == 0, outcome.err
    one, other = (read_checkpoint(folder / "last.ckpt") for folder in (whole, stopped))
    for kind in ("state_dict", "current_model_state"):
        for name, value in one[kind].items():
            assert value.dtype == torch.float32
            assert torch.equal(value, other[kind][name]), name
    assert one["skipped"] == 0
    # Not the run with 32 bits.
    found, expected = (
        read_checkpoint(folder / "last.ckpt")["state_dict"][
            "model.sequence_network.initial_state.weight"
        ]
        for folder in (whole, run)
    )
    assert not torch.equal(found, expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("hook", "updates"), [("on_train_batch_end", 7), ("on_before_optimizer_step", 8)]
)
def test_an_interrupted_run_says_so_and_goes_on_as_the_one_that_was_not(
    inputs, run, tmp_path, number, hook, updates
):
    """After update 7, or in the middle of the next one, which then still counts."""
    out = tmp_path / "out"
    program = KILLED.replace("signal.SIGKILL", f"signal.{number.name}")
    program = program.replace("on_train_batch_end", hook)
    program = program.replace("save_checkpoint", "strategy.barrier")  # Lightning saves it by itself
    # Programs that a shell runs in the background ignore SIGINT.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + program
    done = run_program(program, inputs, out)
    assert done.returncode == 130, done.stderr
    names(done.stdout, updates, "--resume")
    outcome = command_line("train", inputs / "config.toml", "--out", out, "--resume")
    assert outcome.code == 0, outcome.err
    whole, resumed = (read_checkpoint(folder / "last.ckpt") for folder in (run, out))
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name]), name
    assert (out / "metrics.csv").read_text() == (run / "metrics.csv").read_text()


def test_bad_settings_are_refused(inputs, run, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(inputs, folder)
    config = folder / "config.toml"

    def refusal(text: str) -> str:
        config.write_text(text)
        return refused("train", config, "--out", tmp_path / "out")

    names(
        refusal(CONFIG.replace("secondary_structure", "secondary")), "stages.0.losses", "secondary"
    )
    names(refusal(CONFIG.replace("seed = 3", "seed = -3")), "seed")
    names(refusal(CONFIG.replace("seed = 3", "sed = 3")), "sed")
    names(refusal(CONFIG.replace("seed = 3", "seed = ")), "config.toml")
    names(refusal(CONFIG.replace("seed = 3", 'precision = "16"')), "precision")
    names(refusal(CONFIG + '[model]\npreset = "huge"\n'), "preset", "huge")
    names(refusal(CONFIG.replace("split.json", "nothing.json")), "nothing.json")
    assert not (tmp_path / "out").exists()
    other = CONFIG.replace("seed = 3", "seed = 4")
    config.write_text(other)
    names(refused("train", config, "--out", run, "--resume"), "seed", 3, 4)
    names(
        refused("train", config, "--out", tmp_path / "none", "--resume"),
        tmp_path / "none",
        "--resume",
    )


@pytest.mark.parametrize("verb", ["train", "export"])
def test_missing_packages_are_named(inputs, tmp_path, monkeypatch, verb):
    for name in [name for name in sys.modules if name.startswith("openmm_nemo.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightning", None)
    sentence = refused(verb, inputs / "config.toml", "--out", tmp_path / "out")
    names(sentence, "lightning", "openmm-nemo[train]")

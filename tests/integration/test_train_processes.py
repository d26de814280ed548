"""Training by two processes that share each update, on the processor."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from openmm_nemo.training.losses import LOSSES
from openmm_nemo.training.module import NemoTraining
from openmm_nemo.training.prediction import RolloutSettings, predict, update_statistics
from openmm_nemo.training.processes import running_statistics
from openmm_nemo.training.settings import read_settings
from openmm_nemo.training.stream import DomainData
from openmm_nemo.training.train import read_checkpoint
from tests.helpers import command_line, names, refused
from tests.integration.test_train import CONFIG, inputs  # noqa: F401
from tests.tolerances import assert_close

# What each process sees and ends with, for the test to look at; and a kill of all processes at once.
SCRIPT = """
import copy, os, signal, sys, torch
from openmm_nemo.training.module import NemoTraining
out, dies = sys.argv[4], "DIES" in os.environ
seen = {"ids": []}

def on_train_batch_end(self, outputs, batch, index):
    seen["ids"].append(batch.ids)
    if self.global_step == 1:
        seen["optimizer"] = copy.deepcopy(self.trainer.optimizers[0].state_dict())
        seen["state"] = {name: value.clone() for name, value in self.state_dict().items()}
    if dies and self.global_step == 6:
        self.trainer.save_checkpoint(out + "/last.ckpt")
    if dies and self.global_step == 7 and self.global_rank == 0:
        os.killpg(os.getpgid(0), signal.SIGKILL)

def on_train_end(self):
    seen["last"] = self.state_dict()
    torch.save(seen, f"{out}/rank{self.global_rank}.pt")

NemoTraining.on_train_batch_end = on_train_batch_end
NemoTraining.on_train_end = on_train_end
from openmm_nemo.cli import main
main()
"""


def run_two(folder: Path, out: Path, *options: str, dies: bool = False) -> None:
    """Train with two processes, in a group of their own."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, script, "train", folder / "two.toml", "--out", out, "--devices", "2"]
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, [*command, *options])),
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=300,
        env=environment | ({"DIES": ""} if dies else {}),
    )
    assert done.returncode == (-signal.SIGKILL if dies else 0), done.stderr


@pytest.fixture(scope="module")
def folder(inputs) -> Path:  # noqa: F811
    text = CONFIG.replace("[data]", "[model]\nchanges = {dropout = 0.0}\n[data]")
    (inputs / "two.toml").write_text(text)
    return inputs


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "two"
    run_two(folder, out)
    return out


@pytest.fixture(scope="module")
def ranks(run) -> list[dict]:
    return [torch.load(run / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_they_take_different_batches_and_end_with_the_same_weights(run, ranks):
    one, other = (rank["ids"] for rank in ranks)
    assert len(one) == len(other) == 9
    assert all(set(a) != set(b) for a, b in zip(one, other, strict=True))
    for name, value in ranks[0]["last"].items():
        assert torch.equal(value, ranks[1]["last"][name]), name
        assert value.isfinite().all()


def test_they_write_one_table_and_one_checkpoint(run):
    with open(run / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["validation/tm"]]
    assert [int(row["step"]) for row in rows] == [3, 7]
    assert all(0 < float(row["validation/tm"]) < 1 for row in rows)
    assert (run / "curves.png").stat().st_size > 10_000
    content = read_checkpoint(run / "last.ckpt")
    assert content["global_step"] == 9
    assert [sitting["processes"] for sitting in content["sittings"]] == [2]
    assert command_line("export", run / "last.ckpt", "--out", run / "model").code == 0
    assert "--out run --devices 2" in (run / "model" / "README.md").read_text()


def test_an_update_follows_the_mean_of_their_gradients(folder, ranks):
    """The first update, whose stage is deterministic, against one process that goes through both batches."""
    settings = read_settings(folder / "two.toml")
    module, batches = NemoTraining(settings), iter(DomainData(settings).train_dataloader())
    statistics = []
    for rank in ranks:
        batch = next(batches)
        assert batch.ids == rank["ids"][0]
        fresh = NemoTraining(settings)
        fresh.load_state_dict(module.state_dict())
        prediction = predict(fresh.model, batch, RolloutSettings(0, 0, 1), seed=0)
        update_statistics(fresh.model, batch, prediction)
        statistics.append(running_statistics(fresh.model))
        loss = sum(
            weight * LOSSES[name]()(prediction, batch).mean() / 2
            for name, weight in settings.stages[0].losses.items()
        )
        loss.backward()
        for total, part in zip(module.parameters(), fresh.parameters(), strict=True):
            if part.grad is not None:
                total.grad = part.grad if total.grad is None else total.grad + part.grad
    torch.nn.utils.clip_grad_norm_(module.parameters(), settings.max_gradient_norm)
    for rank in ranks:
        moments = rank["optimizer"]["state"]
        for number, parameter in enumerate(module.parameters()):
            assert (number in moments) == (parameter.grad is not None)
            if parameter.grad is not None:
                # Of Adam, whose first moment forgets 0.9.
                found = moments[number]["exp_avg"] / (1 - 0.9)
                assert_close(found, parameter.grad, "rounding_gradient")
        found = NemoTraining(settings)
        found.load_state_dict(rank["state"])
        for value, one, other in zip(running_statistics(found.model), *statistics, strict=True):
            assert_close(value, (one + other) / 2, "rounding")


def test_they_go_on_as_if_nobody_had_killed_them(folder, run, ranks, tmp_path):
    out = tmp_path / "out"
    run_two(folder, out, dies=True)
    names(refused("train", folder / "two.toml", "--out", out, "--resume"), 2, 1, "processes")
    run_two(folder, out, "--resume")
    whole, resumed = (read_checkpoint(path / "last.ckpt") for path in (run, out))
    for kind in ("state_dict", "current_model_state"):
        for name, value in whole[kind].items():
            assert torch.equal(value, resumed[kind][name]), name
    assert (out / "metrics.csv").read_text() == (run / "metrics.csv").read_text()
    for rank in (0, 1):
        seen = torch.load(out / f"rank{rank}.pt", weights_only=True)["ids"]
        assert seen == ranks[rank]["ids"][6:]


def test_more_processes_than_gpus_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    sentence = refused("train", folder / "two.toml", "--out", tmp_path / "o", "--devices", "3")
    names(sentence, "--devices", 3, 2)

"""Updates whose gradients explode: left out without a trace, counted, written down and told."""

import csv
import shutil
from pathlib import Path

import pytest
import torch

from openmm_nemo.training import train
from openmm_nemo.training.module import NemoTraining
from openmm_nemo.training.processes import running_statistics
from openmm_nemo.training.train import read_checkpoint
from tests.helpers import command_line, names
from tests.integration.test_train import inputs  # noqa: F401

EXPLOSIONS = {2: 1e6, 5: float("inf")}
"""Update and what its loss is multiplied by: too large, and not finite, in the backward pass alone."""


@pytest.fixture
def seen(monkeypatch) -> dict[int, list[torch.Tensor]]:
    """Weights and statistics after each update of the runs of a test, of which some explode."""
    weighted, states = NemoTraining._weighted, {}

    def exploding(self, *arguments):
        loss = weighted(self, *arguments)
        if self.global_step in EXPLOSIONS:
            loss.register_hook(lambda gradient: gradient * EXPLOSIONS[self.global_step])
        return loss

    def look(self, *arguments):
        tensors = [*self.parameters(), *running_statistics(self.model)]
        states[self.global_step] = [tensor.detach().clone() for tensor in tensors]
        out = Path(self.trainer.logger.save_dir)
        if self.global_step == 6 and out.name == "whole":
            # As they were when a process was killed a little later.
            self.trainer.save_checkpoint(out / "last.ckpt")
            (out / "last.ckpt").rename(out.parent / "killed.ckpt")
        if self.global_step == 7 and out.name == "whole":
            shutil.copytree(out, out.parent / "killed")
            (out.parent / "killed.ckpt").rename(out.parent / "killed" / "last.ckpt")

    monkeypatch.setattr(train, "LOG_EVERY", 1)
    monkeypatch.setattr(NemoTraining, "_weighted", exploding)
    monkeypatch.setattr(NemoTraining, "on_train_batch_end", look)
    return states


def test_exploding_updates_are_left_out_and_told(inputs, seen, tmp_path):  # noqa: F811
    out = tmp_path / "whole"
    with pytest.warns(UserWarning, match="gradients were not finite or larger than 1000") as told:
        outcome = command_line("train", inputs / "config.toml", "--out", out)
    assert outcome.code == 0, outcome.err
    lines = [str(warning.message) for warning in told if "updates before" in str(warning.message)]
    assert [line.split(" were")[0] for line in lines] == [
        "1 of the updates before 4",
        "1 of the updates before 8",
    ]
    last = outcome.out.splitlines()[-1]
    names(last, 9, 2)
    for update in range(1, 9):
        same = all(map(torch.equal, seen[update], seen[update + 1]))
        assert same == (update in EXPLOSIONS), update
    content = read_checkpoint(out / "last.ckpt")
    assert content["skipped"] == 2
    with open(out / "gradient_norms.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # The first stage has no steps: of it, nothing but what was left out is in the table.
    assert [(int(row["update"]), row["skipped"]) for row in rows] == [
        (2, "1"), (4, "0"), (5, "1"), (6, "0"), (7, "0"), (8, "0"),
    ]  # fmt: skip
    assert not rows[0]["step -1"]
    for row in rows[1:]:
        norms = [float(row[f"step -{k}"]) for k in (1, 2, 3)]
        assert all(0 < norm < 1e3 for norm in norms) == (row["skipped"] == "0")
    with open(out / "metrics.csv", newline="") as file:
        counts = [row["gradient/skipped"] for row in csv.DictReader(file)]
    assert [float(count) for count in counts if count] == [0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert command_line("export", out / "last.ckpt", "--out", tmp_path / "m").code == 0
    assert "| updates | 9 of 9, 2 of them skipped |" in (tmp_path / "m" / "README.md").read_text()

    killed = tmp_path / "killed"
    assert len((killed / "gradient_norms.csv").read_text().splitlines()) == 5
    outcome = command_line("train", inputs / "config.toml", "--out", killed, "--resume")
    names(outcome.out, 2)
    resumed = read_checkpoint(killed / "last.ckpt")
    for kind in ("state_dict", "current_model_state"):
        for name, value in content[kind].items():
            assert torch.equal(value, resumed[kind][name]), name
    for name in ("gradient_norms.csv", "metrics.csv"):
        assert (killed / name).read_text() == (out / name).read_text()

"""examples/training/learning_curves.py: short trainings, compared."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from openmm_nemo.data import DomainSet, write_domains
from openmm_nemo.data.families.profiles import ColumnFrequencies
from openmm_nemo.data.splits import Split
from openmm_nemo.training.train import read_checkpoint
from tests.sets import write_set

SCRIPT = Path(__file__).parents[2] / "examples" / "training" / "learning_curves.py"


def _run(folder: Path) -> str:
    outcome = subprocess.run(
        [sys.executable, SCRIPT, "set", "split.json", "out", "--updates", "4", "--domains", "3"],
        capture_output=True,
        text=True,
        cwd=folder,
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout + outcome.stderr


@pytest.mark.slow
def test_each_variant_is_trained_once_and_compared(tmp_path):
    write_set(tmp_path)
    path = tmp_path / "set" / "domains.safetensors"
    # One in two is near what is held out.
    domains = [
        replace(
            domain,
            profiles={"deep": ColumnFrequencies(np.full((len(domain), 20), 9, np.uint8))},
            near_held_out=k % 2 == 0,
        )
        for k, domain in enumerate(DomainSet(path))
    ]
    write_domains(path, domains)
    text = _run(tmp_path)
    table = dict(re.findall(r"^(.+): TM-score ([\d.]+).* seeds?\)$", text, re.MULTILINE))
    assert len(table) == 11
    assert all(0 < float(tm) < 1 for tm in table.values())
    assert len(set(table.values())) > 6
    assert plt.imread(tmp_path / "out" / "learning_curves.png").std() > 0.05
    assert len(list((tmp_path / "out").glob("*/model/config.json"))) == 17

    def updates(name: str) -> int:
        return read_checkpoint(tmp_path / "out" / name / "run" / "last.ckpt")["global_step"]

    assert [updates(f"{part}, seed 1") for part in ("base", "1 of 2 of the updates")] == [4, 2]
    whole = Split.read(tmp_path / "split.json")
    eighth = Split.read(
        tmp_path / "out" / "1 of 8 of the clusters, seed 1" / "model" / "split.json"
    )
    assert len(eighth.ids("train")) == round(len(whole.ids("train")) / 8)
    assert eighth.ids("validation") == whole.ids("validation")

    models = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/run/last.ckpt")}
    again = _run(tmp_path)
    assert models == {path: path.stat().st_mtime_ns for path in models}
    assert re.findall("^base.*", again, re.MULTILINE) == re.findall("^base.*", text, re.MULTILINE)

"""Folders of version 0.1 are resumed, to where version 0.1 went (tests/data/runs-0.1, made on a platform CPU)."""

import csv
import gzip
import json
import shutil
from pathlib import Path

import mdtraj as md
import numpy as np
import pytest

from openmm_nemo import NemoModel
from openmm_nemo.runs.plots import read_table
from openmm_nemo.sampling.ensembles import ensemble_ids, read_ensemble
from openmm_nemo.sampling.sampling import Protein, SamplingSettings, sample_ensembles
from openmm_nemo.training.train import read_checkpoint
from tests.helpers import command_line, need_plugin
from tests.integration.runs import frames
from tests.sets import write_set

OLD = Path(__file__).parents[1] / "data" / "runs-0.1"
WHOLE = OLD / "expected"

ROUNDING = {"rtol": 0, "atol": 1e-4}
"""float32 networks on other processors, nm."""

pytestmark = pytest.mark.usefixtures("quick_pictures")


@pytest.fixture
def old(tmp_path):
    return lambda kind: Path(shutil.copytree(OLD / kind, tmp_path / kind))


def test_simulation(old):
    """Its record does not name the platform, which was the fastest; its checkpoint does."""
    need_plugin()
    out = old("simulate")
    assert json.loads((out / "run.json").read_text())["settings"]["platform"] is None
    outcome = command_line("simulate", "--out", out, "--resume", "--steps", 25)
    assert outcome.code == 0, outcome
    assert json.loads((out / "run.json").read_text())["settings"]["platform"] == "CPU"
    found, expected = (md.load(str(place / "final_coarse.pdb")).xyz for place in (out, WHOLE))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4)
    table, whole = (read_table(place / "state.csv") for place in (out, WHOLE))
    assert table.keys() == whole.keys()
    for name, column in whole.items():
        np.testing.assert_allclose(table[name], column, rtol=1e-3, atol=1e-3)
    assert frames(out, "coarse.dcd").n_frames == 6


def test_samples(old, tmp_path):
    out = old("sample")
    model = NemoModel.from_pretrained("nemo-tiny")
    proteins = [Protein("a", "NLYIQWLKDG"), Protein("b", "NLYIQWLKD")]
    settings = SamplingSettings("nemo-tiny", n_samples=2, steps=5)
    before = (out / "a" / "coarse.h5").read_bytes()
    assert sample_ensembles(out, model, proteins, settings, 1) == (["b"], {})
    assert ensemble_ids(out) == ["a", "b"]
    assert (out / "a" / "coarse.h5").read_bytes() == before
    ensemble = read_ensemble(out, "b")
    expected = md.load(str(WHOLE / "coarse.h5")).xyz
    np.testing.assert_allclose(ensemble.x / 10, expected, **ROUNDING)
    # The record is now one that is read back.
    assert sample_ensembles(out, model, proteins, settings, 1) == ([], {})


def metrics(folder: Path) -> list[dict[str, float]]:
    """Lines of the table of a training run; 0 where there is no number."""
    with open(folder / "metrics.csv", newline="") as file:
        return [
            {name: float(value or 0) for name, value in row.items()} for row in csv.DictReader(file)
        ]


def test_training(old, tmp_path):
    out = old("train")
    write_set(tmp_path)
    shutil.copy(out / "training.toml", tmp_path)
    path = out / "settings.json"
    path.write_text(path.read_text().replace("FOLDER", str(tmp_path)))
    (out / "last.ckpt").write_bytes(gzip.decompress((out / "last.ckpt.gz").read_bytes()))
    outcome = command_line("train", tmp_path / "training.toml", "--out", out, "--resume")
    assert outcome.code == 0, outcome
    assert read_checkpoint(out / "last.ckpt")["global_step"] == 4
    found, whole = (metrics(place) for place in (out, WHOLE))
    assert len(found) == len(whole)
    for row, expected in zip(found, whole, strict=True):
        row.pop("data/outside_contacts")  # version 0.1 did not report them
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(row[name], value, rtol=1e-3, err_msg=name)
    assert command_line("export", out / "last.ckpt", "--out", tmp_path / "model").code == 0

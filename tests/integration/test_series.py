"""FASTA files in `openmm-nemo simulate` and `sample`: a folder for each protein; an interrupted series continues."""

import json
import os

import numpy as np
import pytest
import safetensors.numpy
import torch

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.runs.series import SimulationSeries
from openmm_nemo.runs.simulation import SimulationRun
from openmm_nemo.sampling.ensembles import ensemble_ids, read_ensemble
from openmm_nemo.sampling.sampling import sample_seeds
from tests.helpers import command_line, contents, names, refused
from tests.integration.runs import SEQUENCE, complete, frames, simulate

FASTA = f">sp|P1|TRP cage\n{SEQUENCE}*\n>b\n{SEQUENCE[:12]}\n>c\n{SEQUENCE[:9].lower()}\n"
FOLDERS = {"sp_P1_TRP": SEQUENCE, "b": SEQUENCE[:12], "c": SEQUENCE[:9]}
OPTIONS = ("--steps", 20, "--seed", 3)

pytestmark = pytest.mark.usefixtures("quick_pictures")


@pytest.fixture
def fasta(tmp_path):
    (tmp_path / "proteins.fasta").write_text(FASTA)
    return tmp_path / "proteins.fasta"


def positions(folder):
    return frames(folder, "coarse.dcd").xyz


def test_each_protein_has_a_run_of_its_own(fasta, tmp_path):
    out = tmp_path / "out"
    outcome = simulate(out, "--fasta", fasta, *OPTIONS)
    assert outcome.code == 0, outcome
    assert sorted(os.listdir(out)) == sorted([*FOLDERS, "series.json"])
    names(outcome.out.splitlines()[-1], "3 proteins", out)
    seeds = {name: sample_seeds(3, name, 1)[0] for name in FOLDERS}
    assert len(set(seeds.values())) == 3
    for name, sequence in FOLDERS.items():
        alone = (tmp_path / name, "--sequence", sequence, "--steps", 20, "--seed", seeds[name])
        single = complete(*alone)
        found, expected = (json.loads((p / "run.json").read_text()) for p in (out / name, single))
        assert found == expected
        for file in ("state.csv", "final_atoms.pdb"):
            assert (out / name / file).read_bytes() == (single / file).read_bytes()
        np.testing.assert_array_equal(positions(out / name), positions(single))


def test_samples_of_each_protein(fasta, tmp_path):
    out = tmp_path / "out"
    options = ("--model", "nemo-tiny", "--steps", 20, "--seed", 3, "--out")
    outcome = command_line("sample", "--fasta", fasta, "-n", 2, *options, out)
    assert outcome.code == 0, outcome
    assert ensemble_ids(out) == sorted(FOLDERS)
    assert simulate(tmp_path / "runs", "--fasta", fasta, *OPTIONS).code == 0
    for name, sequence in FOLDERS.items():
        ensemble = read_ensemble(out, name)
        assert ensemble.sequence == sequence
        # The first sample is the simulation.
        np.testing.assert_allclose(
            ensemble.x[0] / 10, positions(tmp_path / "runs" / name)[-1], atol=1e-4
        )


def test_an_interrupted_series_continues(fasta, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    assert simulate(whole, "--fasta", fasta, *OPTIONS).code == 0
    out = tmp_path / "out"
    run = SimulationRun.run

    def interrupted(self, steps, progress):
        if len(self.protein.sequence) == 12:
            run(self, 10, progress)
            return False
        return run(self, steps, progress)

    with monkeypatch.context() as patch:
        patch.setattr(SimulationRun, "run", interrupted)
        outcome = simulate(out, "--fasta", fasta, *OPTIONS)
    assert outcome.code == 130
    names(outcome.out.splitlines()[-1], "b", "step 10", "--resume")
    assert sorted(os.listdir(out)) == ["b", "series.json", "sp_P1_TRP"]
    outcome = simulate(out, "--resume")
    assert outcome.code == 0, outcome
    names(outcome.out.splitlines()[-1], "2 proteins")
    for name in FOLDERS:
        np.testing.assert_array_equal(positions(out / name), positions(whole / name))
    names(refused("simulate", "--resume", "--out", out), "3 simulations", "--steps")
    assert simulate(out, "--resume", "--steps", 30).code == 0
    assert all(len(positions(out / name)) == 4 for name in FOLDERS)


def test_a_series_that_was_killed_while_a_run_began_continues(fasta, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(SimulationSeries, "run", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            simulate(out, "--fasta", fasta, *OPTIONS)
    assert os.listdir(out) == ["series.json"]
    assert simulate(out, "--resume", "--steps", 10).code == 0
    assert all(len(positions(out / name)) == 2 for name in FOLDERS)


def test_a_protein_that_fails_does_not_stop_the_others(fasta, tmp_path, monkeypatch):
    run = SimulationRun._problem_now

    def fails(self):
        return "Bad luck." if len(self.protein.sequence) == 12 else run(self)

    monkeypatch.setattr(SimulationRun, "_problem_now", fails)
    outcome = simulate(tmp_path / "out", "--fasta", fasta, *OPTIONS)
    assert outcome.code == 2
    assert any(line.startswith("Not simulated: b: Bad luck.") for line in outcome.out.splitlines())
    names(outcome.err.splitlines()[-1], "1 of 3 proteins")
    assert len(positions(tmp_path / "out" / "c")) == 3


def test_a_series_does_not_overwrite(fasta, tmp_path):
    out = tmp_path / "out"
    assert simulate(out, "--fasta", fasta, *OPTIONS).code == 0
    before = contents(out)
    names(refused("simulate", "--fasta", fasta, "--out", out), out, "--resume", "--out")
    names(refused("simulate", "--sequence", SEQUENCE, "--out", out), out, "series.json", "--out")
    names(refused("simulate", "--fasta", fasta, "--out", out / "c"), out / "c", "--out")
    (tmp_path / "other" / "b").mkdir(parents=True)
    sentence = refused("simulate", "--fasta", fasta, "--out", tmp_path / "other")
    names(sentence, tmp_path / "other" / "b", "--out")
    assert contents(out) == before


@pytest.mark.parametrize("verb", ["simulate", "sample"])
def test_bad_records_are_named_before_anything_runs(verb, tmp_path):
    path, out = tmp_path / "x.fasta", tmp_path / "out"
    path.write_text(">a\nGAVL\n>b\nGAXL\n")
    names(refused(verb, "--fasta", path, "--out", out), "record 2", "b", path, "'X'", "position 3")
    path.write_text(">a\nGAVL\n>b\nGAXL\n>a\nGAVL\n>c\nG--A\n>d\n")
    outcome = command_line(verb, "--fasta", path, "--out", out)
    assert outcome.code == 2
    lines = outcome.out.splitlines()
    facts = (["b", "'X'"], ["a", "record 1"], ["c", "gap"], ["d", "0 residues"])
    for number, (line, fact) in enumerate(zip(lines, facts, strict=True), start=2):
        names(line, f"record {number}", path, *fact)
    names(outcome.err, "4 of 5", path)
    assert not out.exists()


def test_profiles_and_embeddings_by_name(fasta, tmp_path):
    config = NemoConfig.preset("tiny").to_dict()
    config |= {"encoders": ["one-hot", "embedding"], "embedding_width": 3}
    torch.manual_seed(20)
    NemoModel(NemoConfig.from_dict(config)).eval().save_pretrained(tmp_path / "model")
    rows = {
        name: np.random.default_rng(len(sequence)).normal(size=(len(sequence), 3))
        for name, sequence in zip(("sp|P1|TRP", "b", "c"), FOLDERS.values(), strict=True)
    }
    safetensors.numpy.save_file(rows, tmp_path / "embeddings")
    common = ("--fasta", fasta, "--model", tmp_path / "model", "--steps", 2)
    given = (*common, "--embedding", tmp_path / "embeddings")
    assert simulate(tmp_path / "out", *given).code == 0
    record = json.loads((tmp_path / "out" / "b" / "run.json").read_text())
    np.testing.assert_array_equal(record["settings"]["embedding"], rows["b"])
    outcome = command_line("sample", *given, "-n", 1, "--out", tmp_path / "samples")
    assert outcome.code == 0, outcome
    for verb in ("simulate", "sample"):
        outcome = command_line(verb, *common, "--out", tmp_path / verb)
        assert outcome.code == 2
        names(outcome.err.splitlines()[-1], "sp_P1_TRP", "embedding")
        assert not (tmp_path / verb).exists()


def test_what_a_series_cannot_have_is_refused(fasta, tmp_path):
    alone = ("simulate", "--fasta", fasta, "--out", tmp_path / "out")
    for option, *facts in (
        (("--reference", "x.pdb"), "--reference", "--pdb"),
        (("--start", "native"), "--start", "--pdb"),
        (("--chain", "A"), "--chain", "--pdb"),
        (("--model", "rnn-mini"), "baseline", "sample"),
    ):
        outcome = command_line(*alone, *option)
        assert outcome.code == 2
        names(outcome.err.splitlines()[-1], *facts)
    assert not (tmp_path / "out").exists()
    given = ("sample", "--fasta", fasta, "--sequence", SEQUENCE, "--out", tmp_path / "out")
    names(refused(*given), "--fasta", "--sequence")

"""``openmm-nemo evaluate``: from ensembles on disk to the report, with the figures of independent computations."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from openmm_nemo.data.splits import Place, Split
from openmm_nemo.evaluation import evaluate as evaluating
from openmm_nemo.evaluation.evaluate import evaluate
from openmm_nemo.residues import AMINO_ACIDS
from openmm_nemo.sampling.ensembles import Ensemble, write_ensemble
from openmm_nemo.sampling.sampling import RECORD_FILE
from tests.helpers import command_line, contents, names, normal, random_chain, refused

FIGURES = ["rg.png", "tm_by_clusters.png", "tm_by_identity.png", "tm_by_level.png"]
N_CLOSE, N_FAR = 3, 2
NOISE = {"a": 0.3, "b": 0.5, "c": 0.3, "alone": 0.3}


def ensemble(id: str, noise: float, native: bool = True, length: int = 40) -> Ensemble:
    """Three structures close to the native, and two close to another chain: two clusters."""
    seed = 10 * len(id) + ord(id[0])
    chains = [random_chain(length, seed=seed)] * N_CLOSE + [
        random_chain(length, seed=seed + 500)
    ] * N_FAR
    x = [chain + noise * normal(length, 3, seed=k) for k, chain in enumerate(chains)]
    x = np.stack(x).astype(np.float32)
    return Ensemble(
        id,
        (AMINO_ACIDS * 2)[:length],
        x,
        np.repeat(x[:, :, None], 5, axis=2),
        np.arange(len(x), 0, -1, np.float32) % 4,  # the second one is the lowest
        chains[0].numpy().astype(np.float32) if native else None,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    for id, noise in NOISE.items():
        write_ensemble(folder, ensemble(id, noise, native=id != "alone"))
    return folder


@pytest.fixture
def samples(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "samples")
    return tmp_path / "samples"


def write_split(path: Path, **places: Place) -> Path:
    shares = {"validation": 0.1, "test": 0.1}
    Split(seed=1, **shares, held_out={}, domains_sha256="", places=places).write(path)
    return path


def table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="") as file:
        return {next(iter(row.values())): row for row in csv.DictReader(file)}


def tm_of_tmtools(mobile: np.ndarray, native: np.ndarray) -> float:
    from tmtools import tm_align

    letters = "A" * len(native)
    return tm_align(mobile, native, letters, letters, alignment=(letters, letters)).tm_norm_chain2


def test_evaluate(samples, tmp_path):
    record = {"settings": {"model": "small", "n_samples": 5}, "trained": False}
    (samples / RECORD_FILE).write_text(json.dumps(record))
    split = write_split(
        tmp_path / "split.json",
        a=Place("test", "C", 0.1),
        b=Place("test", "H", 0.3),
        c=Place("train"),
        other=Place("test", "T", 0.2),
    )
    out = tmp_path / "out"
    outcome = command_line("evaluate", samples, "--out", out, "--split", split, "--workers", 1)
    assert outcome.code == 0, outcome.err
    assert sorted(contents(out)) == sorted([*FIGURES, "proteins.csv", "report.html", "table.csv"])
    for name in FIGURES:
        assert matplotlib.image.imread(out / name)[..., :3].std() > 0.05

    proteins = table(out / "proteins.csv")
    assert sorted(proteins) == sorted(NOISE)
    assert {id: row["level"] for id, row in proteins.items()} == {
        "a": "C",
        "b": "H",
        "c": "train",
        "alone": "",
    }
    assert (proteins["a"]["identity"], proteins["c"]["identity"]) == ("0.1", "nan")
    for id, row in proteins.items():
        assert (row["structures"], row["clusters"], row["largest_cluster"]) == ("5", "2", "3")
        assert int(row["representative"]) < N_CLOSE
        if id != "alone":
            given = ensemble(id, NOISE[id])
            x, native = given.x.astype(float), given.native.astype(float)
            expected = [tm_of_tmtools(structure, native) for structure in x]
            assert float(row["tm"]) == pytest.approx(expected[int(row["representative"])], abs=1e-3)
            lowest = expected[int(given.energy.argmin())]
            assert float(row["lowest_energy_tm"]) == pytest.approx(lowest, abs=1e-3)
            assert float(row["best_tm"]) == pytest.approx(max(expected), abs=1e-3)

    rows = table(out / "table.csv")
    assert list(rows) == ["total", "C", "H", "train"]
    assert float(rows["C"]["tm"]) == pytest.approx(float(proteins["a"]["tm"]), abs=1e-5)
    mean = (float(proteins["a"]["tm"]) + float(proteins["b"]["tm"])) / 2
    assert float(rows["total"]["tm"]) == pytest.approx(mean, abs=1e-5)

    lines = outcome.out.splitlines()
    assert lines[1].split()[:3] == ["total", "3", f"{mean:.3f}"]
    assert lines[-3:] == [
        "Not in split.json, so their level is unknown: alone.",
        "Without native structure: alone.",
        f"Wrote {out / 'report.html'}.",
    ]
    page = (out / "report.html").read_text()
    assert "<h1>Evaluation of small (untrained)</h1>" in page
    assert "Sampled with model small, n samples 5." in page
    assert all(line in page for line in lines[-3:-1])


def test_processes_change_nothing(samples, tmp_path):
    told = []
    evaluate(samples, tmp_path / "one", workers=1, progress=told.append)
    assert told == [1, 2, 3, 4]
    evaluate(samples, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_figures_of_an_earlier_evaluation_do_not_stay(samples, tmp_path):
    out = tmp_path / "out"
    split = write_split(tmp_path / "split.json", a=Place("test", "A", 0.2))
    evaluate(samples, out, split, workers=1)
    assert (out / "tm_by_level.png").exists()
    evaluate(samples, out, workers=1)
    assert not (out / "tm_by_level.png").exists()
    assert (out / "rg.png").exists()


def test_damaged_ensembles_are_left_out(samples, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluating, "NAMED", 1)
    for id in ("b", "c"):
        (samples / id / "coarse.h5").write_bytes(b"nothing")
    outcome = command_line("evaluate", samples, "--out", tmp_path / "out", "--workers", 1)
    assert outcome.code == 0, outcome.err
    first, others = outcome.out.splitlines()[2:4]
    names(first, "b", "coarse.h5")
    names(others, "c")
    assert sorted(table(tmp_path / "out" / "proteins.csv")) == ["a", "alone"]


def test_what_cannot_be_evaluated_is_refused(samples, tmp_path, monkeypatch):
    out = tmp_path / "out"
    names(refused("evaluate", tmp_path, "--out", out), tmp_path, "ensembles")
    split = write_split(tmp_path / "split.json", x=Place("test", "C", 0.1))
    sentence = refused("evaluate", samples, "--out", out, "--split", split)
    names(sentence, "split.json", samples)
    none = tmp_path / "none.json"
    names(refused("evaluate", samples, "--out", out, "--split", none), "none.json")
    (tmp_path / "file").write_text("")
    sentence = refused("evaluate", samples, "--out", tmp_path / "file" / "out")
    names(sentence, tmp_path / "file" / "out")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tmtools", None)
        names(refused("evaluate", samples, "--out", out), "TM-align", "pip install")
    assert not out.exists()
    for id in NOISE:
        (samples / id / "coarse.h5").write_bytes(b"nothing")
    sentence = refused("evaluate", samples, "--out", out, "--workers", 1)
    names(sentence, 4, "ensembles")
    assert list(out.iterdir()) == []


def test_an_interrupted_evaluation_leaves_the_one_before(samples, tmp_path, monkeypatch):
    out = tmp_path / "out"
    evaluate(samples, out, workers=1)
    before = contents(out)
    assess, calls = evaluating.assess, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return assess(*arguments)

    monkeypatch.setattr(evaluating, "assess", interrupted)
    assert command_line("evaluate", samples, "--out", out, "--workers", 1).code == 130
    assert contents(out) == before


KILLED = """
import os, signal, sys
from pathlib import Path
from openmm_nemo.evaluation import evaluate
from openmm_nemo.errors import InputError

def assess(ensemble, level, identity, original=evaluate.assess):
    if ensemble.id == "b":
        os.kill(os.getpid(), signal.SIGKILL)
    return original(ensemble, level, identity)

evaluate.assess = assess
if __name__ == "__main__":
    try:
        evaluate.evaluate(Path(sys.argv[1]), Path(sys.argv[2]), workers=2)
    except InputError as error:
        print(error)
"""


def test_a_process_that_is_killed_is_told(samples, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    done = subprocess.run(
        [sys.executable, script, samples, tmp_path / "out"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        timeout=120,
    )
    names(done.stdout, "killed")
    assert list((tmp_path / "out").iterdir()) == []


SLOW = """
import os, sys, time
from pathlib import Path
from openmm_nemo.cli import main
from openmm_nemo.evaluation import evaluate

def assess(ensemble, level, identity):
    Path(os.environ["PIDS"], str(os.getpid())).touch()
    time.sleep(600)

evaluate.assess = assess
if __name__ == "__main__":
    main()
"""


@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are listed in /proc")
@pytest.mark.usefixtures("_ctrl_c")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_all_processes_end_with_the_command(samples, tmp_path, stop):
    script, pids = tmp_path / "slow.py", tmp_path / "pids"
    script.write_text(SLOW)
    pids.mkdir()
    run = subprocess.Popen(
        [sys.executable, script, "evaluate", samples, "--out", tmp_path / "out", "--workers", "2"],
        env=os.environ | {"PYTHONPATH": os.getcwd(), "PIDS": str(pids)},
    )
    until(lambda: len(list(pids.iterdir())) == 2)
    run.send_signal(stop)
    assert run.wait(timeout=60) == (130 if stop == signal.SIGINT else -signal.SIGKILL)
    until(lambda: not any(runs(path.name) for path in pids.iterdir()))
    assert list((tmp_path / "out").iterdir()) == []


def runs(pid: str) -> bool:
    """Whether there is such a process and it is no zombie."""
    try:
        return Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(condition: Callable[[], bool]) -> None:
    """Wait for something, for a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)

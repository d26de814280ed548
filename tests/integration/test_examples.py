"""Every example runs as its docstring says, in a folder of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from tests.helpers import names
from tests.tolerances import EXAMPLES as BOUNDS

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def _check_deployment(text: str) -> None:
    """Losses went down, and OpenMM gives the trajectory of the simulator that the model was trained in."""
    losses = re.findall(r"mean error (\S+) Angstrom at the start, (\S+) at the end", text)
    assert len(losses) == 2
    assert all(float(end) < float(start) for start, end in losses)
    assert float(losses[0][1]) < 0.7 * float(losses[0][0])
    assert float(re.search(r"difference between positions is (\S+) Angstrom", text)[1]) < 1e-4
    assert float(re.search(r"residues moved by (\S+) Angstrom", text)[1]) > 0.1


def _numbers(pattern: str, text: str) -> list[tuple[float, ...]]:
    """Groups of each match."""
    found = re.findall(pattern, text)
    assert found, text
    return [tuple(map(float, groups)) for groups in found]


def _check_metadynamics(text: str) -> None:
    """It gives the free energy of a plain simulation, and covers more on both sides."""
    biased, plain = _numbers(r"gyration from (\S+) to (\S+) nm", text)
    assert biased[0] < plain[0] - 0.05
    assert biased[1] > plain[1] + 0.05
    (difference,) = re.findall(r"differ by (\S+) kT", text)
    assert float(difference) < BOUNDS["metadynamics"]


def _check_tempering(text: str) -> None:
    """Two starts agree with each other, and with other ladders, but not with plain simulations."""
    starts = _numbers(r"plain (\S+), tempering (\S+) kJ/mol", text)
    assert len(starts) == 2
    for plain, tempered in starts:
        assert tempered == pytest.approx(-729.7, abs=BOUNDS["tempering"])
        assert plain > tempered


def _check_restraint(text: str) -> None:
    """Contacts are formed, and with them the structure comes closer to the native."""
    (free, _, few), (restrained, _, many) = _numbers(
        r"RMSD (\S+) Angstrom on average, (\S+) at best; (\S+)% of", text
    )
    assert restrained < free - 2
    assert few < 20
    assert many > 80


def _check_exchange(text: str) -> None:
    """MBAR and the integral of the mean energy agree."""
    values = _numbers(r"(\d+) K: f = (\S+) ± (\S+) by MBAR, (\S+) by integration", text)
    assert [row[0] for row in values] == [300, 340, 390, 450]
    for _, f, _, integral in values:
        assert f == pytest.approx(integral, abs=BOUNDS["exchange"])


def _check_docking(text: str) -> None:
    """Native halves find their places, from 35 Angstrom apart; folded ones do not."""
    native = _numbers(r"native chains, seed \d: (\S+) kT, .* complex (\S+) Angstrom", text)
    folded = _numbers(r"folded chains, seed \d: (\S+) kT, .* complex (\S+) Angstrom", text)
    assert len(native) == len(folded) == 3
    assert max(error for _, error in native) < 2
    assert min(error for _, error in folded) > 4


CHECKS = {
    "contact_restraint": _check_restraint,
    "dock_two_chains": _check_docking,
    "metadynamics": _check_metadynamics,
    "replica_exchange_openmmtools": _check_exchange,
    "simulated_tempering": _check_tempering,
    "train_then_deploy": _check_deployment,
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path):
    assert f"python examples/{path.name}" in path.read_text()
    outcome = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, cwd=tmp_path, timeout=600
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.strip()
    if path.stem in CHECKS:
        CHECKS[path.stem](outcome.stdout)
    for picture in re.findall(r"Wrote (\S+\.png)", outcome.stdout):
        assert plt.imread(tmp_path / picture).std() > 0.05  # not blank


STAND_IN = """#!/bin/sh
echo "$@" >> calls
trap 'touch "$4/last.ckpt"; exit 130' INT
[ "$2" != bad.toml ] || exit 2
while :; do sleep 0.1; done
"""


def test_an_example_without_its_package_says_so(tmp_path):
    (tmp_path / "openmmtools.py").write_text("raise ImportError('No module named openmmtools')")
    path = ROOT / "examples" / "replica_exchange_openmmtools.py"
    outcome = subprocess.run(
        [sys.executable, path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"},
        timeout=300,
    )
    assert outcome.returncode == 1
    assert "Traceback" not in outcome.stderr
    names(outcome.stderr, "openmmtools", "pip install")


def test_training_on_a_gpu_stops_in_time_and_goes_on(tmp_path):
    """The script, with a stand-in for openmm-nemo that runs until it is interrupted."""
    program = tmp_path / "openmm-nemo"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    (tmp_path / "run").mkdir()

    def call(config: str) -> int:
        return subprocess.run(
            [ROOT / "examples" / "train_on_gpu.sh", config, "run", "1"],
            cwd=tmp_path,
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            timeout=30,
        ).returncode

    assert [call("good.toml"), call("good.toml"), call("bad.toml")] == [0, 0, 2]
    first = "train good.toml --out run"
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls == [first, f"{first} --resume", "train bad.toml --out run --resume"]

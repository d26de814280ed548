"""Every example runs as its docstring says, in a folder of its own."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path):
    assert f"python examples/{path.name}" in path.read_text()
    outcome = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.strip()
    if path.stem == "train_then_deploy":
        _check_deployment(outcome.stdout)


def _check_deployment(text: str) -> None:
    """Losses went down, and OpenMM gives the trajectory of the simulator that the model was trained in."""
    losses = re.findall(r"mean error (\S+) Angstrom at the start, (\S+) at the end", text)
    assert len(losses) == 2
    assert all(float(end) < float(start) for start, end in losses)
    assert float(losses[0][1]) < 0.7 * float(losses[0][0])
    assert float(re.search(r"difference between positions is (\S+) Angstrom", text)[1]) < 1e-4
    assert float(re.search(r"residues moved by (\S+) Angstrom", text)[1]) > 0.1


STAND_IN = """#!/bin/sh
echo "$@" >> calls
trap 'touch "$4/last.ckpt"; exit 130' INT
[ "$2" != bad.toml ] || exit 2
while :; do sleep 0.1; done
"""


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

"""Every example runs as its docstring says, in a folder of its own."""

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

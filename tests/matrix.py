"""Run the unit tests against every Python and torch that can be installed here: ``make test-matrix``.

Writes a table to ``build/test-matrix.md``. What cannot be installed is skipped, and the table says why. It needs no
package itself: each combination has an environment of its own, ``.venv-matrix-*``, of several GB.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "build" / "test-matrix.md"
NEEDED_GB = 12
"""Free disk without which nothing is installed: a CUDA build of torch takes about 8 GB."""


class Result(NamedTuple):
    """What became of a combination."""

    python: str
    torch: str
    outcome: str
    good: bool = True


def interpreter(version: str) -> str | None:
    """A Python of a version, from the path or from pyenv."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    for candidate in filter(None, found):
        shown = output([candidate, "--version"])
        if shown.returncode == 0 and f" {version}." in shown.stdout:
            return str(candidate)
    return None


def output(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    """Run a command quietly."""
    return subprocess.run(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def install(python: str, requirement: str, folder: Path) -> str | None:
    """Make an environment, or say why there can be none."""
    if (folder / "ready").exists():
        return None
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < NEEDED_GB:
        return f"{free:.0f} GB of disk are free, {NEEDED_GB} are needed"
    made = output([python, "-m", "venv", "--clear", folder])
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet"]
    if made.returncode == 0:
        made = output([*pip, requirement])
    if made.returncode == 0:
        made = output([*pip, "--editable", ".[test]", requirement])
    if made.returncode != 0:
        errors = [line for line in made.stdout.splitlines() if "ERROR" in line]
        return (errors or made.stdout.splitlines() or ["it failed silently"])[-1]
    (folder / "ready").touch()
    return None


def run(version: str, torch: str) -> Result:
    """Install a combination and test it."""
    python = interpreter(version)
    if python is None:
        return Result(version, torch, f"skipped: there is no Python {version} here")
    requirement = "torch" if torch == "newest" else f"torch=={torch}"
    folder = ROOT / f".venv-matrix-{version}-torch-{torch.removesuffix('.*')}"
    problem = install(python, requirement, folder)
    if problem is not None:
        return Result(version, torch, f"skipped: it cannot be installed ({problem})")
    name = "import torch; print(torch.__version__)"
    torch = output([folder / "bin" / "python", "-c", name]).stdout.strip()
    tests = output([folder / "bin" / "python", "-m", "pytest", "-m", "unit", "-n", "2"])
    print(tests.stdout)
    *_, last = tests.stdout.splitlines() or ["pytest said nothing"]
    return Result(version, torch, re.sub(r"=+", "", last).strip(), tests.returncode == 0)


def main() -> int:
    """Test all combinations; 1 if tests of one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", default=["3.11", "3.12", "3.13", "3.14"])
    parser.add_argument("--torch", nargs="+", default=["2.9.*", "newest"])
    options = parser.parse_args()
    lines = ["| Python | torch | unit tests |", "|---|---|---|"]
    good = True
    for version in options.python:
        for torch in options.torch:
            result = run(version, torch)
            good = good and result.good
            lines.append(f"| {result.python} | {result.torch} | {result.outcome} |")
            TABLE.parent.mkdir(exist_ok=True)
            TABLE.write_text("\n".join(lines) + "\n")
    print(TABLE.read_text())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

"""Run the unit tests against every Python and torch that can be installed here: ``make test-matrix``.

Writes a table to ``build/test-matrix.md``. What cannot be installed is skipped, and the table says why. It needs no
package itself: each combination has an environment of its own, ``.venv-matrix-*``, of several GB. With ``--here``, it
tests the environment that runs it instead.

What was tested is also kept in ``docs/results/test-matrix.json``, for the documentation.
"""

import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "build" / "test-matrix.md"
TESTED = ROOT / "docs" / "results" / "test-matrix.json"
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
    return test(folder / "bin" / "python")


DESCRIBE = """
import json, platform, openmm, torch
from openmm_nemo.engine import torchforce_problem
from openmm_nemo.plugin import platform_names, plugin_problem
backends = ["python"]
if plugin_problem() is None:
    backends.insert(0, "native")
if torchforce_problem() is None:
    backends.append("torchforce")
print(json.dumps({
    "python": platform.python_version(),
    "torch": torch.__version__.split("+")[0],
    "openmm": openmm.__version__,
    "platforms": platform_names(),
    "backends": backends,
}))
"""


def test(python: str | Path) -> Result:
    """Run the unit tests in an environment, and keep what was tested."""
    shown = output([python, "-W", "ignore", "-c", DESCRIBE])
    if shown.returncode != 0:
        return Result(str(python), "", f"the package cannot be imported: {shown.stdout}", False)
    tested = json.loads(shown.stdout.splitlines()[-1])
    tests = output([python, "-m", "pytest", "-m", "unit", "-n", "2"])
    print(tests.stdout)
    *_, last = tests.stdout.splitlines() or ["pytest said nothing"]
    outcome = re.sub(r"=+| in [\d.]+s.*", "", last).strip()
    keep({**tested, "outcome": outcome, "date": datetime.date.today().isoformat()})
    return Result(tested["python"], tested["torch"], outcome, tests.returncode == 0)


def keep(tested: dict[str, object]) -> None:
    """Add a combination to the file for the documentation, in place of an earlier result of the same versions."""
    versions = ("python", "torch", "openmm")
    known = json.loads(TESTED.read_text()) if TESTED.exists() else []
    others = [r for r in known if any(r[name] != tested[name] for name in versions)]
    TESTED.write_text(json.dumps([*others, tested], indent=2) + "\n")


def main() -> int:
    """Test all combinations; 1 if tests of one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", nargs="+", default=["3.11", "3.12", "3.13", "3.14"])
    parser.add_argument("--torch", nargs="+", default=["2.9.*", "newest"])
    parser.add_argument("--here", action="store_true", help="test only this environment")
    options = parser.parse_args()
    lines = ["| Python | torch | unit tests |", "|---|---|---|"]
    good = True
    combinations = [(version, torch) for version in options.python for torch in options.torch]
    for combination in [None] if options.here else combinations:
        result = run(*combination) if combination else test(sys.executable)
        good = good and result.good
        lines.append(f"| {result.python} | {result.torch} | {result.outcome} |")
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text("\n".join(lines) + "\n")
    print(TABLE.read_text())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

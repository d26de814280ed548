"""The wheel, as others install it."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from openmm_nemo import NemoModel, __version__
from tests.integration.runs import SEQUENCE

ROOT = Path(__file__).parents[2]
SOURCES = (
    "pyproject.toml",
    "setup.py",
    "README.md",
    "LICENSE",
    "openmm_nemo",
    "torchscript_models",
    "tests",
)

pytestmark = pytest.mark.slow


def run(*command, **options):
    outcome = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of the sources, which pip would litter."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "data")
    for name in SOURCES:
        source, copy = ROOT / name, folder / "sources" / name
        if source.is_dir():
            # The package has a folder data, too.
            shutil.copytree(source, copy, ignore=ignored if name == "tests" else None)
        else:
            copy.parent.mkdir(exist_ok=True)
            shutil.copy(source, copy)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", folder / "wheels", folder / "sources")
    (path,) = (folder / "wheels").iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Folder in which the wheel is installed, and the environment in which Python finds it first."""
    folder = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--no-deps", "--target", folder, wheel)
    return folder, os.environ | {"PYTHONPATH": str(folder)}


def test_wheel_holds_package_and_models_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"openmm_nemo", f"openmm_nemo-{__version__}.dist-info"}
    model = "openmm_nemo/torchscript_models/nemo-tiny"
    for name in ("config.json", "model.safetensors", "README.md"):
        assert f"{model}/{name}" in names
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "openmm_nemo").rglob("*.py")}
    assert modules <= names
    assert not [name for name in names if "test" in name or "__pycache__" in name]


def test_wheel_registers_command_and_potential(installed):
    (folder,) = installed[0].glob("openmm_nemo-*.dist-info")
    distribution = PathDistribution(folder)
    entries = {entry.group: (entry.name, entry.value) for entry in distribution.entry_points}
    assert entries == {
        "console_scripts": ("openmm-nemo", "openmm_nemo.cli:main"),
        "openmmml.potentials": ("nemo", "openmm_nemo.engine.openmmml:NemoPotentialImplFactory"),
    }
    assert distribution.version == __version__
    assert "MIT" in str(distribution.metadata["License-Expression"])


def test_installed_model_is_that_of_the_sources(installed, tmp_path):
    folder, environment = installed
    program = (
        "import openmm_nemo; print(openmm_nemo.__file__)\n"
        "model = openmm_nemo.NemoModel.from_pretrained('nemo-tiny')\n"
        f"protein = model.condition({SEQUENCE!r})\n"
        "print(float(protein.energy(protein.initial_state())))"
    )
    place, energy = run(sys.executable, "-c", program, cwd=tmp_path, env=environment).split()
    assert Path(place).is_relative_to(folder)
    protein = NemoModel.from_pretrained("nemo-tiny").condition(SEQUENCE)
    assert float(energy) == pytest.approx(float(protein.energy(protein.initial_state())), rel=1e-4)


def test_installed_command_simulates(installed, tmp_path):
    folder, environment = installed
    command = (sys.executable, folder / "bin" / "openmm-nemo")
    listed = run(*command, "models", cwd=tmp_path, env=environment)
    assert listed.startswith("nemo-tiny\t")
    options = ("--sequence", SEQUENCE, "--steps", 5, "--platform", "Reference", "--out", "run")
    run(*command, "simulate", *options, cwd=tmp_path, env=environment)
    assert (tmp_path / "run" / "state.png").exists()

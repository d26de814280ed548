"""The wheel, as others install it."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PathDistribution
from pathlib import Path

import openmm as mm
import pytest

from openmm_nemo import NemoModel, __version__
from tests.integration.runs import SEQUENCE

ROOT = Path(__file__).parents[2]
SOURCES = (
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
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


PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A copy of the sources, which pip would litter, without what was built in them."""
    folder = tmp_path_factory.mktemp("sources")
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "data")
    with_data = shutil.ignore_patterns("__pycache__", "*.so")
    for name in SOURCES:
        source, copy = ROOT / name, folder / name
        if source.is_dir():
            # The package has a folder data, too.
            shutil.copytree(source, copy, ignore=ignored if name == "tests" else with_data)
        else:
            shutil.copy(source, copy)
    return folder


def build(sources, folder, **environment):
    run(*PIP, "wheel", "--no-deps", "--wheel-dir", folder, sources, env=os.environ | environment)
    (path,) = folder.iterdir()
    shutil.rmtree(sources / "build")
    return path


def install(wheel, folder):
    """Environment in which Python finds what was installed first."""
    run(*PIP, "install", "--no-deps", "--target", folder, wheel)
    return os.environ | {"PYTHONPATH": str(folder)}


@pytest.fixture(scope="module")
def wheel(sources, tmp_path_factory):
    return build(sources, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Folder in which the wheel is installed, and its environment."""
    folder = tmp_path_factory.mktemp("installed")
    return folder, install(wheel, folder)


def test_wheel_holds_package_and_models_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"openmm_nemo", f"openmm_nemo-{__version__}.dist-info"}
    for model in ("nemo-fold", "nemo-fold-seq", "nemo-mini", "nemo-tiny", "rnn-fold", "rnn-mini"):
        for name in ("config.json", "model.safetensors", "README.md"):
            assert f"openmm_nemo/torchscript_models/{model}/{name}" in names
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "openmm_nemo").rglob("*.py")}
    assert modules <= names
    assert not [name for name in names if "test" in name or "__pycache__" in name]


def test_wheel_registers_command_and_potential(installed):
    (folder,) = installed[0].glob("openmm_nemo-*.dist-info")
    distribution = PathDistribution(folder)
    entries = {entry.group: (entry.name, entry.value) for entry in distribution.entry_points}
    assert entries == {
        "console_scripts": ("openmm-nemo", "openmm_nemo.__main__:main"),
        "openmmml.potentials": ("nemo", "openmm_nemo.models.openmmml:NemoPotentialImplFactory"),
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
    assert listed.startswith("nemo-fold\t")
    options = ("--sequence", SEQUENCE, "--steps", 5, "--platform", "Reference", "--out", "run")
    run(*command, "simulate", *options, cwd=tmp_path, env=environment)
    assert (tmp_path / "run" / "state.png").exists()


def test_installed_command_writes_a_report(installed, tmp_path):
    folder, environment = installed
    command = (sys.executable, folder / "bin" / "openmm-nemo")
    cage = ROOT / "examples" / "data" / "1l2y.pdb"
    options = ("--pdb", cage, "-n", 2, "--steps", 2, "--workers", 1, "--out", "samples")
    run(*command, "sample", *options, cwd=tmp_path, env=environment)
    options = ("samples", "--workers", 1, "--out", "report")
    run(*command, "evaluate", *options, cwd=tmp_path, env=environment)
    assert "3Dmol" in (tmp_path / "report" / "report.html").read_text()


def test_installed_integrator_is_compiled(installed, wheel, tmp_path):
    folder, environment = installed
    assert "-py3-none-" in wheel.name
    lines = run(
        sys.executable, folder / "bin" / "openmm-nemo", "doctor", cwd=tmp_path, env=environment
    )
    assert (
        f"+ {'integrator':24} compiled for OpenMM {mm.version.short_version}" in lines.splitlines()
    )
    program = "from openmm_nemo import plugin; print(plugin.FOLDER)"
    assert Path(
        run(sys.executable, "-c", program, cwd=tmp_path, env=environment).strip()
    ).is_relative_to(folder)


def test_installation_without_a_compiler_uses_python(sources, tmp_path):
    without = {"CC": "no-compiler", "CXX": "no-compiler", "OPENMM_NEMO_REQUIRE_PLUGIN": ""}
    wheel = build(sources, tmp_path / "wheel", **without)
    assert not [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")]
    environment = install(wheel, tmp_path / "installed")
    command = (sys.executable, tmp_path / "installed" / "bin" / "openmm-nemo")
    (line,) = [
        line
        for line in run(*command, "doctor", cwd=tmp_path, env=environment).splitlines()
        if line.startswith("- integrator")
    ]
    assert "driven from Python" in line
    assert "install a C++ compiler (g++)" in line
    options = ("--sequence", SEQUENCE, "--steps", 5, "--platform", "Reference", "--out", "run")
    run(*command, "simulate", *options, cwd=tmp_path, env=environment)
    assert (tmp_path / "run" / "state.png").exists()


def test_installation_that_must_have_the_plugin_fails_without_a_compiler(sources, tmp_path):
    environment = {"CC": "no-compiler", "CXX": "no-compiler", "OPENMM_NEMO_REQUIRE_PLUGIN": "1"}
    outcome = subprocess.run(
        [*PIP, "wheel", "--no-deps", "--wheel-dir", tmp_path, sources],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    assert outcome.returncode != 0
    assert "libOpenMMNemo was not built" in outcome.stderr

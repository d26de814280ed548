"""The version is kept in one place."""

import tomllib
from pathlib import Path

import openmm_nemo
from openmm_nemo.version import __version__


def test_the_package_and_its_build_take_it_from_there():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert openmm_nemo.__version__ == __version__
    assert "version" in project["project"]["dynamic"]
    source = project["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert source == "openmm_nemo.version.__version__"

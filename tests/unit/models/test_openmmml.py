"""OpenMM-ML finds NEMO by name, whichever of them is imported first."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from openmm_nemo.models.openmmml import NemoPotentialImplFactory


def test_the_name_nemo_is_registered_with_openmmml() -> None:
    (nemo,) = entry_points(group="openmmml.potentials", name="nemo")
    assert nemo.load() is NemoPotentialImplFactory


@pytest.mark.integration
@pytest.mark.parametrize(
    "first", ["openmm_nemo.models.openmmml", "openmm_nemo.models.mlpotential", "openmmml"]
)
def test_modules_can_be_imported_in_any_order(first) -> None:
    script = (
        f"import {first}\nfrom openmmml import MLPotential\nMLPotential('nemo', model='nemo-tiny')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

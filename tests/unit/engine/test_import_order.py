"""TorchForce's kernels need torch before OpenMM: the package sees to it, whatever came first."""

import subprocess
import sys

import pytest

from tests.helpers import need_torchforce

pytestmark = pytest.mark.integration

ORDERS = [
    "openmm, torch, openmm_nemo",
    "torch, openmm, openmm_nemo",
    "openmm_nemo",
    "openmm, openmm_nemo",
]

SCRIPT = """
import {order}
import sys, openmm, torch
from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.engine import choose_backend, torchforce_problem

assert torchforce_problem() is None, torchforce_problem()
assert choose_backend("torchforce", "CPU") == "torchforce"
torch.set_num_threads(1)
torch.manual_seed(1)
protein = NemoModel(NemoConfig.preset("tiny")).condition("GSAVLK")
for name in ("Reference", "CPU"):
    energies = []
    for backend in ("torchforce", "python"):
        platform = openmm.Platform.getPlatformByName(name)
        integrator = protein.create_integrator(seed=1)
        context = openmm.Context(protein.create_system(backend), integrator, platform)
        context.setPositions(protein.initial_positions())
        integrator.step(2)
        energies.append(context.getState(energy=True).getPotentialEnergy()._value)
    assert abs(energies[0] - energies[1]) < 1e-3 * abs(energies[1]), energies
print("works")
"""


@pytest.mark.parametrize("order", ORDERS)
def test_torchforce_works_after_importing(order):
    need_torchforce()
    script = SCRIPT.format(order=order)
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "works"


def test_package_works_without_torchforce():
    script = (
        "import sys; sys.modules['openmmtorch'] = None\n"
        "from openmm_nemo.engine import choose_backend, torchforce_problem\n"
        "assert 'openmmtorch' in torchforce_problem()\n"
        "assert choose_backend() == 'python'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr

"""One small protein, and the platforms, backends and implementations of the integrator that tests run on."""

import copy
from pathlib import Path

import pytest
import torch

import openmm_nemo.engine.system
from openmm_nemo import ConditionedModel, NemoConfig, NemoModel
from openmm_nemo.engine.integrator import CompiledIntegrator, PythonIntegrator
from tests.helpers import need_plugin, need_torchforce

FOLDER = Path(__file__).parent
SEQUENCE = "GSAVLKDEFWYPTNQH"


# The integrator on every platform: each context on OpenCL compiles its kernels.
INTEGRATION = (
    "test_compiled_",
    "test_cuda",
    "test_integrator",
    "test_metropolis",
    "test_native",
    "test_platforms",
    "test_plugin_guards",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the integrator into the integration tier."""
    for item in items:
        if item.path.parent == FOLDER and item.path.name.startswith(INTEGRATION):
            item.add_marker("integration")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def protein32() -> ConditionedModel:
    torch.manual_seed(20)
    return NemoModel(NemoConfig.preset("tiny")).condition(SEQUENCE)


@pytest.fixture(scope="session")
def protein(protein32) -> ConditionedModel:
    return copy.deepcopy(protein32).double()


@pytest.fixture(params=["Reference", "CPU"])
def platform_name(request) -> str:
    return request.param


@pytest.fixture(params=["torchforce", "python"])
def backend(request) -> str:
    if request.param == "torchforce":
        need_torchforce()
    return request.param


@pytest.fixture
def plugin() -> None:
    """Needs the compiled integrator."""
    need_plugin()


@pytest.fixture(params=[CompiledIntegrator, PythonIntegrator], ids=["compiled", "python"])
def implementation(request, monkeypatch) -> type:
    """Puts an implementation in the place of NemoLangevinIntegrator, in the test module and in create_integrator."""
    if request.param is CompiledIntegrator:
        need_plugin()
    for module in (request.module, openmm_nemo.engine.system):
        if hasattr(module, "NemoLangevinIntegrator"):
            monkeypatch.setattr(module, "NemoLangevinIntegrator", request.param)
    return request.param

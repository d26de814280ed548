"""One small protein, and the platforms and backends that every test of forces runs on."""

import copy

import pytest
import torch

from openmm_nemo import ConditionedModel, NemoConfig, NemoModel
from tests.helpers import need_torchforce

SEQUENCE = "GSAVLKDEFWYPTNQH"


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

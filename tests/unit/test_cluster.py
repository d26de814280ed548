"""Work shared among Dask workers, here threads of this process, and each way in which they can fail."""

import pickle
import sys
from concurrent.futures import CancelledError

import pytest

from openmm_nemo import cluster
from openmm_nemo.cluster import run_on_cluster
from openmm_nemo.errors import InputError
from tests.helpers import raises

distributed = pytest.importorskip("distributed")


def add(shared: bytes, task: int) -> int:
    return pickle.loads(shared) + task


def fail(shared: bytes, task: int) -> int:
    raise pickle.loads(shared)


@pytest.fixture(scope="module")
def address():
    """Address of a scheduler with two workers."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as local:
        yield local.scheduler_address


def test_every_task_is_done_once_with_what_is_shared(address):
    found = list(run_on_cluster(add, pickle.dumps(10), range(5), address))
    assert sorted(found) == [(task, 10 + task) for task in range(5)]


def test_no_tasks_are_no_work(address):
    assert list(run_on_cluster(add, b"", [], address)) == []


@pytest.mark.parametrize("error", [ImportError("no module named x"), OSError(5, "broken pipe")])
def test_workers_that_lack_something_or_are_lost_are_named(address, error):
    with raises(InputError, address):
        list(run_on_cluster(fail, pickle.dumps(error), [1], address))


def test_tasks_that_were_cancelled_are_work_that_was_lost(address, monkeypatch):
    def cancelled(self, *arguments):
        raise CancelledError

    monkeypatch.setattr(distributed.Future, "result", cancelled)
    with raises(InputError, address, "CancelledError"):
        list(run_on_cluster(add, pickle.dumps(1), [1], address))


def test_errors_of_tasks_are_raised(address):
    with pytest.raises(ZeroDivisionError):
        list(run_on_cluster(fail, pickle.dumps(ZeroDivisionError()), [1], address))


def test_a_scheduler_without_workers_is_refused():
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as local,
        raises(InputError, local.scheduler_address, "dask worker"),
    ):
        list(run_on_cluster(add, b"", [1], local.scheduler_address))


@pytest.mark.parametrize("nowhere", ["tcp://127.0.0.1:1", "nonsense"])
def test_a_scheduler_that_does_not_answer_is_refused(monkeypatch, nowhere):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with raises(InputError, nowhere, "dask scheduler"):
        list(run_on_cluster(add, b"", [1], nowhere))


def test_without_dask_its_installation_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    with raises(InputError, "--scheduler", "openmm-nemo[dask]"):
        list(run_on_cluster(add, b"", [1], "tcp://127.0.0.1:1"))

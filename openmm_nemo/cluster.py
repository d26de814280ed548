"""Work distributed to the workers of a Dask cluster, the counterpart of `openmm_nemo.processes` for many machines."""

import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from typing import Any, TypeVar

import torch

from openmm_nemo.errors import InputError

CONNECT_SECONDS = 10

Task = TypeVar("Task")


def run_on_cluster(
    function: Callable[[bytes, Task], Any], shared: bytes, tasks: Sequence[Task], address: str
) -> Generator[tuple[Task, Any], None, None]:
    """Call a function on each task, with data that all tasks share and that is sent only once.

    Parameters
    ----------
    function : callable
        Function of a module that the workers can also import.
    shared : bytes
    tasks : sequence
    address : str
        Address of the scheduler.

    Yields
    ------
    object
        A task, in the order of completion.
    object
        Its result.

    Raises
    ------
    InputError
        If Dask is not installed, no scheduler answers, or its workers are missing, lost or lack packages.
    """
    try:
        from dask import distributed
    except ImportError:
        raise InputError(
            "--scheduler needs Dask: pip install 'openmm-nemo[dask]', here and on the workers."
        ) from None
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS)
    except Exception as error:  # of any kind, if something other than a scheduler answers
        raise InputError(
            f"No Dask scheduler answers at {address} ({type(error).__name__}): start one with 'dask scheduler', "
            "which prints its address."
        ) from None
    with client:
        if not client.nthreads():
            raise InputError(
                f"The Dask scheduler at {address} has no workers: start some with 'dask worker {address}'."
            )
        try:
            # Sent by a task, not scattered: scattered data is lost with the workers that hold it.
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # about its size
                there = client.submit(bytes, shared, pure=False)
            futures = client.map(_run_on_worker, tasks, function=function, shared=there, pure=False)
            pending = dict(zip(futures, tasks, strict=True))
            del futures
            for future in distributed.as_completed(list(pending)):
                yield pending.pop(future), future.result()
        except ImportError as error:
            raise InputError(
                f"The Dask workers at {address} cannot work ({error}): install the same packages there as here."
            ) from None
        except (OSError, CancelledError, distributed.KilledWorker) as error:
            raise InputError(
                f"The scheduler or the workers of Dask at {address} were lost ({type(error).__name__}): "
                "rerun the same command to continue."
            ) from None


def _run_on_worker(task: Task, function: Callable[[bytes, Task], Any], shared: bytes) -> Any:
    torch.set_num_threads(1)
    return function(shared, task)

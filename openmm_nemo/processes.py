"""Work distributed to single-threaded processes on this machine, which end with the process that started them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

import torch


def run_tasks(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: int | None = None
) -> Generator[tuple[int, Any], None, None]:
    """Call a function with the arguments of each task.

    Close the generator (`contextlib.closing`) to make sure that the processes end if the work is abandoned.

    Parameters
    ----------
    function : callable
        Function defined at the top level of a module.
    tasks : sequence of tuple
        Arguments.
    workers : int, optional
        Number of processes; with 1, everything runs in this one. Default: one per processor.

    Yields
    ------
    int
        Index of a task, in the order of completion.
    object
        Its result.

    Raises
    ------
    concurrent.futures.process.BrokenProcessPool
        If a process was killed.
    """
    workers = min(workers or os.cpu_count() or 1, len(tasks))
    if workers <= 1:
        for number, task in enumerate(tasks):
            yield number, function(*task)
        return
    # Not by fork, which does not copy torch's threads.
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    with ProcessPoolExecutor(workers, context, _end_with, (theirs,)) as pool:
        try:
            with _ctrl_c_for_us_alone():
                pending = {pool.submit(function, *task): i for i, task in enumerate(tasks)}
            for future in as_completed(pending):
                yield pending.pop(future), future.result()
        finally:  # also after Ctrl-C: do not wait for running tasks
            pool.shutdown(wait=False, cancel_futures=True)
            ours.close()


def run_in_batches(
    function: Callable[..., Sequence[Any]],
    items: Sequence[Any],
    size: int,
    shared: tuple[Any, ...],
    workers: int | None,
    progress: Callable[[int], None],
) -> list[Any]:
    """Call a function with batches of items, each followed by the same arguments.

    Parameters
    ----------
    function : callable
        Returns one result for each item of a batch. Defined at the top level of a module.
    items : sequence
    size : int
        Items per batch.
    shared : tuple
        Arguments after the batch.
    workers : int, optional
        See `run_tasks`.
    progress : callable
        Called with the number of items done so far.

    Returns
    -------
    list
        Results in the order of the items.

    Raises
    ------
    concurrent.futures.process.BrokenProcessPool
        If a process was killed.
    """
    tasks = [(items[start : start + size], *shared) for start in range(0, len(items), size)]
    batches: dict[int, Sequence[Any]] = {}
    with closing(run_tasks(function, tasks, workers)) as results:
        for number, found in results:
            batches[number] = found
            progress(sum(map(len, batches.values())))
    return [result for number in range(len(tasks)) for result in batches[number]]


@contextmanager
def _ctrl_c_for_us_alone() -> Iterator[None]:
    """Processes started inside do not get SIGINT, not even while they import."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(parent: Connection) -> None:
    """Prepare a process: it ends when the parent closes the pipe, or is killed."""
    torch.set_num_threads(1)

    def end() -> None:
        wait([parent])
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()

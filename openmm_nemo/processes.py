"""Work shared among processes of this machine, of one thread each, which end with the one that began them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

import torch


def run_tasks(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: int | None = None
) -> Generator[tuple[int, Any], None, None]:
    """Call a function with the arguments of each task.

    Close the generator (`contextlib.closing`) to be sure that the processes end if the work is given up.

    Parameters
    ----------
    function : callable
        Of a module.
    tasks : sequence of tuple
        Arguments.
    workers : int, optional
        Processes; with one, all is done in this one. Default: one for each processor.

    Yields
    ------
    int
        Number of a task, as they are done.
    object
        What the function returned.

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
    # Not by fork: torch's threads are not in the child.
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    with ProcessPoolExecutor(workers, context, _end_with, (theirs,)) as pool:
        try:
            with _ctrl_c_for_us_alone():
                pending = {pool.submit(function, *task): i for i, task in enumerate(tasks)}
            for future in as_completed(pending):
                yield pending.pop(future), future.result()
        finally:  # after Ctrl-C, too: what runs is not waited for
            pool.shutdown(wait=False, cancel_futures=True)
            ours.close()


@contextmanager
def _ctrl_c_for_us_alone() -> Iterator[None]:
    """Processes that begin inside do not get SIGINT, not even while they import."""
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

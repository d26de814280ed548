"""Progress of long work: a bar with the remaining time on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

Progress = Callable[[str, int, int], AbstractContextManager[Callable[[int], None]]]
"""A function like `progress` and `silent`."""

PLAIN_SECONDS = 10.0


@contextmanager
def progress(label: str, start: int, total: int) -> Iterator[Callable[[int], None]]:
    """Show progress on standard error.

    Parameters
    ----------
    label : str
        What is being done.
    start, total : int
        Initial and final count.

    Yields
    ------
    callable
        To be called with the current count, as often as is convenient.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=console) as bar:
            task = bar.add_task(label, total=total, completed=start)
            yield lambda count: bar.update(task, completed=count)
        return
    began = said = time.monotonic()

    def update(count: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said > PLAIN_SECONDS and count > start:
            said = now
            left = (now - began) / (count - start) * (total - count)
            # The reader may be gone.
            with suppress(OSError):
                click.echo(f"{label}: {count} of {total}, about {left:.0f} s left", err=True)

    yield update


@contextmanager
def silent(label: str, start: int, total: int) -> Iterator[Callable[[int], None]]:
    """Show nothing; arguments as for `progress`."""
    yield lambda count: None

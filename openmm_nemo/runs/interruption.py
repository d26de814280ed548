"""What Ctrl-C does while a run works, and while modules are imported."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any

EXIT_CODE = 130
"""Exit code of a program that was interrupted, by the convention of shells."""


class Interrupts:
    """Which signals came.

    Attributes
    ----------
    came : bool
        Whether SIGINT or SIGTERM came.
    again : bool
        Whether another one followed, which had its usual effect: an exception, unless somebody has caught that.
    """

    came = False
    again = False


@contextmanager
def deferred_interrupts() -> Iterator[Interrupts]:
    """Let SIGINT and SIGTERM wait until somebody looks at what came. A second one has its usual effect at once.

    Threads other than the main one do not get signals.
    """
    interrupts = Interrupts()
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: Any) -> None:
        if interrupts.came:
            interrupts.again = True
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)
        interrupts.came = True

    if current_thread() is main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, handle)
    try:
        yield interrupts
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)


@contextmanager
def exit_on_interrupt() -> Iterator[None]:
    """End the process on Ctrl-C, at once and without a word.

    For imports: an exception in the middle of one would be printed, or hidden, by compiled modules that were not
    expecting it, and there is nothing to clean up.
    """
    default = signal.default_int_handler
    if signal.getsignal(signal.SIGINT) is not default or current_thread() is not main_thread():
        yield  # ignored, or handled by somebody else
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_CODE))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, default)

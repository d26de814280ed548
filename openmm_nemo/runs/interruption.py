"""Handling of Ctrl-C during a run and during imports."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any

EXIT_CODE = 130
"""Exit code of an interrupted program, by the convention of shells."""


class Interrupts:
    """The signals received.

    Attributes
    ----------
    came : bool
        Whether SIGINT or SIGTERM came.
    again : bool
        Whether another one followed, which had its usual effect: an exception, which may have been caught.
    """

    came = False
    again = False


@contextmanager
def deferred_interrupts() -> Iterator[Interrupts]:
    """Defer SIGINT and SIGTERM until the caller checks for them. A second one has its usual effect at once.

    Only the main thread receives signals.
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
    """End the process on Ctrl-C, immediately and silently.

    For imports: compiled modules that do not expect an exception would print or hide it, and there is nothing to clean
    up.
    """
    default = signal.default_int_handler
    if signal.getsignal(signal.SIGINT) is not default or current_thread() is not main_thread():
        yield  # ignored, or handled elsewhere
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_CODE))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, default)

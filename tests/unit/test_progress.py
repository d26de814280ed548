"""Progress of long work, for people and for files."""

import io
import os
import sys
from contextlib import suppress

import pytest
from rich.console import Console

from openmm_nemo.progress import progress


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when told: a list of one number."""
    now = [100.0]
    monkeypatch.setattr("openmm_nemo.progress.time.monotonic", lambda: now[0])
    return now


def test_progress_off_a_terminal_is_a_line_now_and_then(clock, capsys):
    with progress("Simulating", 100, 400) as update:
        for count in range(101, 400):
            clock[0] += 0.25
            update(count)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "Simulating: 141 of 400, about 65 s left"
    assert len(lines) == 7


def test_short_work_is_silent_off_a_terminal(capsys):
    with progress("Simulating", 0, 3) as update:
        for count in (1, 2, 3):
            update(count)
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_is_a_bar_with_the_remaining_time(monkeypatch):
    screen = io.StringIO()

    def terminal(stderr):
        assert stderr
        return Console(file=screen, force_terminal=True, width=80)

    monkeypatch.setattr("openmm_nemo.progress.Console", terminal)
    with progress("Simulating", 20, 60) as update:
        for count in (30, 59):
            update(count)
    text = screen.getvalue()
    assert "Simulating" in text
    assert "59/60" in text
    assert "━" in text
    assert ":--" in text


@pytest.mark.parametrize("stderr", [None, "closed"])
def test_progress_does_not_need_a_reader(clock, capsys, monkeypatch, stderr):
    if stderr == "closed":
        reading, writing = os.pipe()
        os.close(reading)
        stderr = open(writing, "w", buffering=1)  # noqa: SIM115
    monkeypatch.setattr(sys, "stderr", stderr)
    told = []
    with progress("Simulating", 0, 3) as update:
        for count in (1, 2, 3):
            clock[0] += 60
            update(count)
            told.append(count)
    assert told == [1, 2, 3]
    assert capsys.readouterr().out == ""
    if stderr is not None:
        with suppress(OSError):
            stderr.close()


def test_on_a_terminal_the_bar_starts_where_the_work_does(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(
        "openmm_nemo.progress.Console", lambda stderr: Console(file=screen, force_terminal=True)
    )
    with progress("Simulating", 20, 60):
        pass
    assert "20/60" in screen.getvalue()


def test_the_time_that_is_left_is_that_of_the_work_so_far(clock, capsys):
    """From where it starts: what an earlier run did took none of it."""
    with progress("Simulating", 900, 1000) as update:
        clock[0] += 30
        update(900)
        update(910)
    assert capsys.readouterr().err == "Simulating: 910 of 1000, about 270 s left\n"


def test_an_error_inside_ends_the_bar_and_is_raised(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(
        "openmm_nemo.progress.Console", lambda stderr: Console(file=screen, force_terminal=True)
    )
    with pytest.raises(ZeroDivisionError), progress("Simulating", 0, 60):
        raise ZeroDivisionError
    assert screen.getvalue().endswith("\x1b[?25h")  # the cursor is shown again

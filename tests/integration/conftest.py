"""What makes many small simulations quick, and what happens to them on their way."""

from contextlib import contextmanager
from functools import partial

import pytest

from openmm_nemo.runs import exchange, outputs, simulation


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """In other processes, too."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OMP_NUM_THREADS", "1")
        environment.setenv("OPENMM_CPU_THREADS", "1")
        yield


@pytest.fixture
def quick_pictures():
    """Pictures take half of the time of a small simulation; those who use this test other things."""

    def draw(table, file, **_):
        file.write_text("a picture")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "plot_simulation", draw)
        patch.setattr(exchange, "plot_exchange", lambda file, *_: file.write_text("a picture"))
        yield


@pytest.fixture
def during(monkeypatch):
    """Functions to call when a run has taken so many steps, of which each is then a block."""
    calls = {}
    monkeypatch.setattr(simulation, "BLOCK_SECONDS", 0)

    @contextmanager
    def progress(*_):
        yield lambda step: calls.get(step, lambda: None)()

    monkeypatch.setattr("openmm_nemo.cli.series.progress", progress)
    return calls


@pytest.fixture
def checkpoint_at(during, monkeypatch):
    """Choose the one step, before the last, at which a run writes its checkpoint."""

    def choose(step):
        for when, seconds in ((step - 1, 0), (step, 1000)):
            during[when] = partial(monkeypatch.setattr, simulation, "CHECKPOINT_SECONDS", seconds)

    return choose

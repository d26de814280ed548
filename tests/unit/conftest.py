"""The unit tier: what is fast, because it starts no programs."""

import multiprocessing.process
import subprocess

import pytest


@pytest.fixture(autouse=True)
def _no_programs(request, monkeypatch):
    """Tests that start processes are of another tier, and say so."""

    def refuse(*arguments, **options):
        pytest.fail("A test that starts a process is not of the unit tier: mark it 'integration'.")

    if request.node.get_closest_marker("unit"):
        monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
        monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", refuse)

"""What holds for all tests."""

import os
import signal

# Threads that wait for each other make small networks slow, and very slow where other programs run.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture
def _ctrl_c():
    """Programs that run in the background, and those that they start, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)

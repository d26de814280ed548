"""What holds for all tests."""

import os
import signal
from pathlib import Path

# Threads that wait for each other make small networks slow, and very slow where other programs run.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)


TIERS = ("integration", "boltzmann", "slow")
"""Markers of what comes after the unit tests, in this order."""

INTEGRATION = Path(__file__).parent / "integration"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the unit tests first, then the other tiers.

    What is in ``integration``, or needs a browser or TorchForce, which compiles, is of that one.
    """
    for item in items:
        compiles = "torchforce" in item.name
        if item.path.is_relative_to(INTEGRATION) or "chromium" in item.fixturenames or compiles:
            item.add_marker("integration")
        if _tier(item) == 0:
            item.add_marker("unit")
    items.sort(key=_tier)


def _tier(item: pytest.Item) -> int:
    return max((k for k, name in enumerate(TIERS, 1) if item.get_closest_marker(name)), default=0)


@pytest.fixture
def _ctrl_c():
    """Programs that run in the background, and those that they start, ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)

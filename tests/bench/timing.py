"""Timing on noisy machines: medians of interleaved repeats."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import openmm
import torch

SEQUENCE = "ACDEFGHIKLMNPQRSTVWY" * 10


def machine() -> str:
    """One line about where the figures come from."""
    names = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores; "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; OpenMM {openmm.__version__}"
    )


def interleaved(
    functions: dict[str, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median time of each function, seconds, called in turns so that noise hits all alike.

    With ``time.process_time`` as the clock, it is that of the processor: on a busy machine, that of a single thread is
    closer to what an idle one would take.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for name in functions:
        functions[name]()
        functions[name]()
    for _ in range(repeats):
        for name, function in functions.items():
            start = clock()
            function()
            times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}

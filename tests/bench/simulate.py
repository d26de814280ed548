"""Steps per second and peak memory of the command 'openmm-nemo simulate', CPU platform, and the integrator's share."""

import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import openmm as mm
import torch

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.engine import choose_backend
from tests.bench.results import row
from tests.bench.timing import SEQUENCE, interleaved

LENGTHS = (20, 100, 200)
LENGTH_OF_MODELS, REPEATS = 100, 3
"""Residues at which nemo-mini and nemo-fold are compared, goal: the latter at least as fast; and how often."""

# A process of its own for every simulation, that does what the command does. The median time of a step leaves out
# the pauses of a noisy machine. VmHWM is its own peak memory; getrusage would count the benchmark's before the exec.
_RUN = """
import re, statistics, sys, time, torch
from pathlib import Path
from openmm_nemo.runs.settings import SimulationSettings
from openmm_nemo.runs.simulation import SimulationRun
sequence, model, steps, out = sys.argv[1:]
torch.set_num_threads(1)
times = []
with SimulationRun(Path(out), SimulationSettings(sequence, model, seed=1, platform="CPU")) as run:
    run.run(int(steps), lambda step: times.append((time.perf_counter(), step)))
intervals = [(t1 - t0) / (s1 - s0) for (t0, s0), (t1, s1) in zip(times, times[1:])]
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print("seconds", statistics.median(intervals), "peak_mb", int(peak) / 1024)
"""


def main() -> None:
    print(
        f"{'model':6} {'L':>4} {'steps/s':>8} {'peak MB':>8} {'force ms':>9} {'step ms':>8} {'integrator share':>17}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for preset in ("tiny", "small"):
            torch.manual_seed(0)
            model = NemoModel(NemoConfig.preset(preset))
            model.save_pretrained(Path(folder) / preset)
            for length in LENGTHS:
                steps = max(50, 4000 // length)
                out = Path(folder) / f"run-{preset}-{length}"
                rate, peak = _run(str(Path(folder) / preset), length, steps, out)
                force, step = _share(model, length)
                row(
                    f"{preset:6} {length:4} {rate:8.1f} {peak:8.0f} {1e3 * force:9.2f} {1e3 * step:8.2f} "
                    f"{1 - force / step:17.0%}",
                    "simulations",
                    model=preset,
                    residues=length,
                    steps_per_second=rate,
                    peak_mb=peak,
                    force_ms=1e3 * force,
                    step_ms=1e3 * step,
                )
        _compare_models(Path(folder))


def _compare_models(folder: Path) -> None:
    """The two models that are installed, in turns."""
    rates: dict[str, list[float]] = {"nemo-mini": [], "nemo-fold": []}
    for repeat in range(REPEATS):
        for model in rates:
            out = folder / f"run-{model}-{repeat}"
            rates[model].append(_run(model, LENGTH_OF_MODELS, 200, out)[0])
    mini, fold = (statistics.median(values) for values in rates.values())
    row(
        f"{LENGTH_OF_MODELS} residues: nemo-mini {mini:.0f}, nemo-fold {fold:.0f} steps/s, {fold / mini:.1f} times",
        "models",
        residues=LENGTH_OF_MODELS,
        mini_steps_per_second=mini,
        fold_steps_per_second=fold,
    )


def _run(model: str, length: int, steps: int, out: Path) -> tuple[float, float]:
    """Steps per second and peak memory in MB."""
    arguments = [SEQUENCE[:length], model, str(steps), str(out)]
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *arguments], capture_output=True, text=True, check=True
    )
    found = re.search(r"seconds (\S+) peak_mb (\S+)", done.stdout)
    return 1 / float(found[1]), float(found[2])


def _share(model: NemoModel, length: int) -> tuple[float, float]:
    """Seconds of one force evaluation and of one whole step in the same context, taken in turns."""
    protein = model.condition(SEQUENCE[:length])
    integrator = protein.create_integrator(seed=1)
    platform = mm.Platform.getPlatformByName("CPU")
    context = mm.Context(
        protein.create_system(choose_backend(platform="CPU")), integrator, platform
    )
    context.setPositions(protein.initial_positions())
    functions = {
        "force": lambda: context.getState(forces=True),
        "step": lambda: integrator.step(1),
    }
    median = interleaved(functions, 40 if length < 200 else 20)
    return median["force"], median["step"]

"""Steps per second and peak memory of the command 'openmm-nemo simulate', CPU platform, and the integrator's share."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import openmm as mm
import torch

from openmm_nemo import NemoConfig, NemoModel
from tests.bench.timing import SEQUENCE, interleaved

LENGTHS = (20, 100, 200)

# A process of its own for every simulation, which prints its peak memory: that of the command, not of the benchmark.
_COMMAND = """
import resource, sys, time
from openmm_nemo.cli import main
start = time.perf_counter()
try:
    main()
except SystemExit as stop:
    assert not stop.code
finally:
    print("seconds", time.perf_counter() - start, "peak_mb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
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
                rate, peak = _command(Path(folder), preset, length)
                force, step = _share(model, length)
                print(
                    f"{preset:6} {length:4} {rate:8.1f} {peak:8.0f} {1e3 * force:9.2f} {1e3 * step:8.2f} "
                    f"{1 - force / step:17.0%}",
                    flush=True,
                )


def _command(folder: Path, preset: str, length: int) -> tuple[float, float]:
    """Steps per second, from the difference of a long and a short run, and peak memory in MB."""
    short, long = 10, 10 + max(20, 4000 // length)
    seconds, peak = {}, 0.0
    for steps in (short, long):
        out = folder / f"{preset}-{length}-{steps}"
        arguments = [
            "simulate", "--sequence", SEQUENCE[:length], "--model", str(folder / preset),
            "--steps", str(steps), "--seed", "1", "--platform", "CPU", "--out", str(out),
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", _COMMAND, *arguments], capture_output=True, text=True, check=True
        )
        found = re.search(r"seconds (\S+) peak_mb (\S+)", done.stdout)
        seconds[steps], peak = float(found[1]), float(found[2])
    return (long - short) / (seconds[long] - seconds[short]), peak


def _share(model: NemoModel, length: int) -> tuple[float, float]:
    """Seconds of one force evaluation and of one whole step in the same context, taken in turns."""
    protein = model.condition(SEQUENCE[:length])
    integrator = protein.create_integrator(seed=1)
    platform = mm.Platform.getPlatformByName("CPU")
    context = mm.Context(protein.create_system(), integrator, platform)
    context.setPositions(protein.initial_positions())
    functions = {
        "force": lambda: context.getState(forces=True),
        "step": lambda: integrator.step(1),
    }
    median = interleaved(functions, 40 if length < 200 else 20)
    return median["force"], median["step"]

"""Steps per second on crambin (1CRN, 46 residues), on one thread: cgdms and our models; goal: 50 times with nemo-fold.

cgdms (Greener & Jones, PLoS ONE 16, e0256990, 2021) is a coarse-grained protein model in PyTorch: four beads per
residue, velocity Verlet. It runs as its command 'simulate' does; ours with NemoLangevinIntegrator on the CPU platform.
One step of each is one evaluation of the forces; no time that they simulate could be compared. Times are those of the
processor.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import openmm as mm
import torch

from openmm_nemo import NemoModel
from tests.bench.results import row
from tests.bench.timing import interleaved

CRAMBIN = "TTCCPSIVARSNFNVCRLPGTPEAICATYTGCIIIPGATCPGDYAN"
REPEATS = 10


def main() -> None:
    peer = _cgdms()
    if peer is None:
        print("cgdms is not installed: pip install --no-deps cgdms")
    steps = {} if peer is None else {"cgdms": (peer, 20)}
    steps |= {name: (_ours(name), n) for name, n in (("nemo-mini", 20), ("nemo-fold", 1000))}
    median = interleaved(
        {name: lambda r=run, n=n: r(n) for name, (run, n) in steps.items()},
        REPEATS,
        time.process_time,
    )
    rates = {name: n / median[name] for name, (_, n) in steps.items()}
    for name, rate in rates.items():
        over = rate / rates["cgdms"] if peer is not None else None
        ratio = "" if over is None else f", {over:.1f} times cgdms"
        row(
            f"{name:10} {rate:8.1f} steps/s{ratio}",
            "peers",
            name=name,
            steps_per_second=rate,
            over_cgdms=over,
        )


def _ours(name: str) -> Callable[[int], None]:
    protein = NemoModel.from_pretrained(name).condition(CRAMBIN)
    integrator = protein.create_integrator(seed=1)
    platform = mm.Platform.getPlatformByName("CPU")
    context = mm.Context(protein.create_system(), integrator, platform, {"Threads": "1"})
    context.setPositions(protein.initial_positions(seed=1))
    return lambda n: context.getIntegrator().step(n)


def _cgdms() -> Callable[[int], None] | None:
    """Steps from the native structure with the settings of its command line; None if it is not installed."""
    try:
        from cgdms import cgdms
    except ImportError:
        return None
    example = Path(os.fspath(cgdms.__file__)).parent / "protein_data" / "example" / "1CRN.txt"
    weights = torch.load(cgdms.trained_model_file, map_location="cpu", weights_only=True)
    simulator = cgdms.Simulator(weights["distances"], weights["angles"], weights["dihedrals"])
    coordinates, pairs, angles, dihedrals, masses, sequence = cgdms.read_input_file(example)
    assert sequence == CRAMBIN
    arrays = [array.unsqueeze(0) for array in (coordinates, pairs, angles, dihedrals, masses)]

    def run(n: int) -> None:
        with torch.no_grad():
            simulator(
                *arrays,
                sequence,
                arrays[0],
                n,
                integrator="vel",
                timestep=0.004,
                start_temperature=0.015,
                thermostat_const=25.0,
                temperature=0.015,
                verbosity=0,
            )

    return run

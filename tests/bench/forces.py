"""OpenMM's energy and forces against energy and gradient of the bare exported module, interleaved; goal: 1.1."""

import openmm as mm
import torch

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.engine import export_energy, torchforce_problem
from tests.bench.results import row
from tests.bench.timing import SEQUENCE, interleaved

LENGTHS = (20, 100, 200)
REPEATS = 40


def main() -> None:
    backends = ["python"] if torchforce_problem() else ["torchforce", "python"]
    print(
        f"{'model':6} {'L':>4} {'platform':10} {'bare ms':>8}",
        *(f"{b + ' ms':>14} {'ratio':>6}" for b in backends),
    )
    for preset in ("tiny", "small"):
        torch.manual_seed(0)
        model = NemoModel(NemoConfig.preset(preset))
        for length in LENGTHS:
            for platform in ("Reference", "CPU"):
                _compare(model, preset, length, platform, backends)


def _compare(
    model: NemoModel, preset: str, length: int, platform: str, backends: list[str]
) -> None:
    protein = model.condition(SEQUENCE[:length])
    start = protein.initial_positions()
    module, scale = export_energy(protein), torch.tensor(1.0, dtype=torch.float64)

    def bare() -> None:
        x = torch.from_numpy(start._value).requires_grad_()
        torch.autograd.grad(module(x, scale), x)

    functions = {"bare": bare}
    contexts = {}
    for backend in backends:
        context = mm.Context(
            protein.create_system(backend),
            mm.VerletIntegrator(0.001),
            mm.Platform.getPlatformByName(platform),
        )
        context.setPositions(start)
        contexts[backend] = context
        functions[backend] = lambda c=context: c.getState(energy=True, forces=True)
    median = interleaved(functions, REPEATS if length < 200 else REPEATS // 2)
    columns = [f"{1e3 * median[b]:14.2f} {median[b] / median['bare']:6.2f}" for b in backends]
    row(
        " ".join([f"{preset:6} {length:4} {platform:10} {1e3 * median['bare']:8.2f}", *columns]),
        "forces",
        model=preset,
        residues=length,
        platform=platform,
        **{f"{name}_ms": 1e3 * seconds for name, seconds in median.items()},
    )

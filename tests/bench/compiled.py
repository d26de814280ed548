"""Energy and gradient of nemo-mini: as PythonForce and TorchForce run them, and compiled by torch; goal: 2 at 100.

Compiled: energy and gradient traced into one graph, which torch's Inductor turns into C++, as a package that is
compiled ahead of time would have it. Frozen: TorchScript with the coefficients as constants. Each is compiled for one
protein and one precision; the difference from eager is relative to the largest force. All times are those of the
processor, with one thread.
"""

import os
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from openmm_nemo import NemoModel
from openmm_nemo.engine import export_energy
from openmm_nemo.engine.potential import Potential
from tests.bench.results import row
from tests.bench.timing import SEQUENCE, interleaved

LENGTHS = (20, 40, 100, 200)
REPEATS = 30

Evaluation = Callable[[Tensor], tuple[Tensor, Tensor]]


def main() -> None:
    print(
        f"{'bits':>4} {'L':>4} {'':9} {'ms':>8} {'eager / it':>11} {'compile s':>10} {'difference':>11}"
    )
    for dtype in (torch.float32, torch.float64):
        model = NemoModel.from_pretrained("nemo-mini").to(dtype)
        for length in LENGTHS:
            _compare(model, length)


def _compare(model: NemoModel, length: int) -> None:
    protein = model.condition(SEQUENCE[:length])
    bits = 8 * protein.s.element_size()
    x = torch.from_numpy(protein.initial_positions(seed=1)._value)
    one = torch.tensor(1.0, dtype=torch.float64)
    eager = _differentiated(Potential(protein.require_energy()).eval(), one)
    makers: dict[str, Callable[[], Evaluation]] = {
        "scripted": lambda: _differentiated(export_energy(protein), one),
        "frozen": lambda: _differentiated(torch.jit.freeze(export_energy(protein)), one),
        "compiled": lambda: torch.compile(make_fx(eager)(x), dynamic=False),
    }
    functions, seconds = {"eager": eager}, {"eager": 0.0}
    for name, make in makers.items():
        start = sum(os.times()[:4])  # of g++, too
        functions[name] = make()
        for _ in range(3):  # TorchScript compiles in its second call
            functions[name](x)
        seconds[name] = sum(os.times()[:4]) - start
    median = interleaved(
        {name: lambda f=f: f(x) for name, f in functions.items()},
        REPEATS if length < 200 else REPEATS // 2,
        time.process_time,
    )
    _, expected = eager(x)
    for name, function in functions.items():
        _, gradient = function(x)
        difference = float((gradient - expected).abs().max() / expected.abs().max())
        row(
            f"{bits:4} {length:4} {name:9} {1e3 * median[name]:8.2f} {median['eager'] / median[name]:11.2f} "
            f"{seconds[name]:10.1f} {difference:11.1e}",
            "compiled",
            bits=bits,
            residues=length,
            method=name,
            ms=1e3 * median[name],
            compilation_s=seconds[name],
            difference=difference,
        )


def _differentiated(module: torch.nn.Module, scale: Tensor) -> Evaluation:
    """Energy, kJ/mol, and its gradient (L, 3), kJ/mol/nm, of positions (L, 3) in nm."""

    def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_()
        energy = module(x, scale)
        (gradient,) = torch.autograd.grad(energy, x)
        return energy.detach(), gradient

    return evaluate

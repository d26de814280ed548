"""Energies of fixed functions: the compiled force against torch, goal: 20 times TorchForce at 100 residues; and steps.

All on the CPU platform. "Bonds" is OpenMM's BrownianIntegrator with a CustomBondForce of as many pairs.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import openmm as mm
import torch

from openmm_nemo import ConditionedModel, NemoConfig, NemoModel
from openmm_nemo.energies import Energy, Origin, ProteinEnergy
from openmm_nemo.engine import export_energy, torchforce_problem
from openmm_nemo.engine.native import native_force
from tests.bench.results import row
from tests.bench.timing import SEQUENCE, interleaved

LENGTHS = (50, 100, 200)
LONG = (250, 500, 1000, 2000)
REPEATS = 30
STEPS = 20
SPACING = 0.5
"""Of a lattice with the density of a protein, nm."""


def main() -> None:
    print("milliseconds per evaluation of energy and forces; times that of native")
    torch.manual_seed(0)
    # Not the largest trunk: the energy of a protein does not depend on it.
    model = NemoModel(replace(NemoConfig.preset("tiny"), terms=NemoConfig.preset("fold").terms))
    for name, parameter in model.named_parameters():
        if "head" in name and name.endswith("coefficients.weight"):
            torch.nn.init.normal_(parameter, std=0.1)
    proteins = [model.condition(SEQUENCE[:length]) for length in LENGTHS]
    for protein in proteins:
        _compare(protein)
    print("microseconds per step, with NemoLangevinIntegrator; bonds: see above")
    for protein in proteins:
        _compare_steps(protein)
    print("milliseconds per evaluation for long chains: compact, and in a rod of 3 nm")
    for length in LONG:
        system, whole = _long_system(length), math.ceil((length / 8) ** (1 / 3))
        functions = {
            shape: _evaluation(_context(system, _compact(length, edge)))
            for shape, edge in (("compact", whole), ("rod", 3))
        }
        median = interleaved(functions, REPEATS)
        columns = [f"{name} {1e3 * t:9.3f}" for name, t in median.items()]
        row(
            " ".join([f"L {length:5}", *columns]),
            "long_chains",
            residues=length,
            **{f"{shape}_ms": 1e3 * seconds for shape, seconds in median.items()},
        )


def _compare(protein: ConditionedModel) -> None:
    start = protein.initial_positions()
    module, scale = export_energy(protein), torch.tensor(1.0, dtype=torch.float64)

    def bare() -> None:
        x = torch.from_numpy(start._value).requires_grad_()
        torch.autograd.grad(module(x, scale), x)

    functions: dict[str, Callable[[], object]] = {"bare": bare}
    for backend in ("python", *(() if torchforce_problem() else ("torchforce",))):
        functions[backend] = _evaluation(_context(protein.create_system(backend), start))
    one = _evaluation(_context(protein.create_system("native"), start))
    functions["native"] = lambda: [one() for _ in range(STEPS)]
    median = interleaved(functions, REPEATS)
    median["native"] /= STEPS
    columns = [f"{b} {1e3 * t:8.3f} ({t / median['native']:5.1f})" for b, t in median.items()]
    row(
        " ".join([f"L {len(protein.sequence):4}", *columns]),
        "evaluations",
        residues=len(protein.sequence),
        **{f"{name}_ms": 1e3 * seconds for name, seconds in median.items()},
    )


def _compare_steps(protein: ConditionedModel) -> None:
    n = len(protein.sequence)
    start = protein.initial_positions()
    pairs = mm.CustomBondForce("k*(r-r0)^2")
    pairs.addPerBondParameter("k")
    pairs.addPerBondParameter("r0")
    for i, j in itertools.combinations(range(n), 2):
        if j - i > 2:
            pairs.addBond(i, j, [0.01, 1.0])
    bonded = mm.System()
    for _ in range(n):
        bonded.addParticle(100.0)
    bonded.addForce(pairs)
    functions: dict[str, Callable[[], object]] = {}
    for name, system, integrator in (
        ("native", protein.create_system("native"), protein.create_integrator(seed=1)),
        ("python", protein.create_system("python"), protein.create_integrator(seed=1)),
        ("bonds", bonded, mm.BrownianIntegrator(300, 100.0, 1e-6)),
    ):
        context = _context(system, start, integrator)
        functions[name] = lambda c=context: c.getIntegrator().step(STEPS)
    median = interleaved(functions, REPEATS)
    columns = [f"{name} {1e6 * t / STEPS:9.1f}" for name, t in median.items()]
    ratio = median["native"] / median["bonds"]
    rate = STEPS / median["native"]
    row(
        " ".join([f"L {n:4}", *columns, f"native/bonds {ratio:5.2f}, native {rate:8.0f} steps/s"]),
        "steps",
        residues=n,
        **{f"{name}_us": 1e6 * t / STEPS for name, t in median.items()},
    )


def _context(system: mm.System, positions: Any, integrator: Any = None) -> mm.Context:
    integrator = integrator or mm.VerletIntegrator(0.001)
    context = mm.Context(system, integrator, mm.Platform.getPlatformByName("CPU"))
    context.setPositions(positions)
    return context


def _evaluation(context: mm.Context) -> Callable[[], object]:
    return lambda: context.getState(energy=True, forces=True)


def _long_system(n: int) -> mm.System:
    """A chain with random coefficients."""
    config = replace(NemoConfig.preset("tiny"), terms=NemoConfig.preset("fold").terms)
    coefficients = [torch.randn(n, n, 42), torch.randn(n, 24)]
    energy = ProteinEnergy(Energy(config), coefficients, "A" * n, Origin("", "", config))
    system = mm.System()
    for _ in range(n):
        system.addParticle(100.0)
    system.addForce(native_force(energy, range(n)))
    return system


def _compact(n: int, edge: int) -> np.ndarray:
    """Positions (n, 3), nm, of a chain that fills a square rod: cube by cube of eight residues, line by line."""
    path = np.array(
        [[0, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 0], [1, 1, 0], [1, 1, 1], [1, 0, 1], [1, 0, 0]]
    )
    index = np.arange(n) // len(path)
    z, y, x = index // edge**2, index // edge % edge, index % edge
    y = np.where(z % 2, edge - 1 - y, y)
    x = np.where((index // edge) % 2, edge - 1 - x, x)
    cubes = np.stack([x, y, z], axis=1)
    return SPACING * (2.0 * cubes + path[np.arange(n) % len(path)])

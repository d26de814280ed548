"""The compiled step beside BrownianIntegrator's: microseconds; goal at 200 beads: 1.5 on Reference, 2 elsewhere.

Bonds alone: harmonic bonds are the energy, so that the integrator is most of the step. BrownianIntegrator, the compiled
`NemoLangevinIntegrator` and the one driven from Python take batches of steps in turns, on the same system; a batch ends
with reading the positions, so that a device has finished. BrownianIntegrator moves every bead on its own, with noise in
three directions; a NEMO step draws twice as much noise, goes along every chain four times, and removes its translation
and rotation.

NEMO energy: the whole step on the CPU platform, one force evaluation, and the integrator's share of the step (goal:
below 5 %). The difference of two long times would be mostly noise. So the integrator's own time is that of a step of as
many beads without any force, which includes what OpenMM needs to find that there is none; the share is this time over
that of the whole step, in turns.
"""

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import openmm as mm
import torch

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.engine import choose_backend
from openmm_nemo.engine.integrator import CompiledIntegrator, PythonIntegrator
from openmm_nemo.plugin import platform_names, plugin_problem
from tests.bench.results import row
from tests.bench.timing import SEQUENCE, interleaved

SIZES = ((1, 50), (1, 200), (1, 1000), (50, 100))
"""Chains and beads of each."""

PLATFORMS = (
    ("Reference", ""),
    ("CPU", ""),
    ("OpenCL", "mixed"),
    ("OpenCL", "single"),
    ("CUDA", "mixed"),
    ("CUDA", "single"),
)
REPEATS = 101

# Angstrom: the length of a bond. kJ/mol/nm^2: its spring.
BOND, SPRING = 3.8, 20000.0


def main() -> None:
    if problem := plugin_problem():
        print(f"The compiled integrator is not in use: {problem}.")
        return
    print(
        f"{'platform':16} {'chains x beads':>14} {'Brownian us':>12} {'compiled us':>12} {'ratio':>6} {'Python us':>10}"
    )
    for platform, precision in PLATFORMS:
        if platform in platform_names():
            for chains, beads in SIZES:
                _bonds_only(platform, precision, chains, beads)
    print(
        f"\n{'NEMO energy':16} {'L':>4} {'force us':>9} {'whole step us':>14} {'own us':>7} {'integrator share':>17}"
    )
    torch.manual_seed(0)
    model = NemoModel(NemoConfig.preset("tiny"))
    for length in (50, 100, 200):
        _share(model, length)


def _bonds_only(platform: str, precision: str, chains: int, beads: int) -> None:
    """Print a row: one platform and size."""
    lists = [list(range(k * beads, (k + 1) * beads)) for k in range(chains)]
    system = mm.System()
    bonds = mm.HarmonicBondForce()
    for chain in lists:
        for i, j in itertools.pairwise(chain):
            bonds.addBond(i, j, BOND / 10, SPRING)
        for _ in chain:
            system.addParticle(100.0)
    system.addForce(bonds)
    # About a millisecond on Reference: most batches are then not interrupted on a busy machine.
    steps = max(5, min(400, 20_000 // (chains * beads)))
    integrators = {
        "Brownian": (mm.BrownianIntegrator(300, 100, 1e-5), steps),
        "compiled": (CompiledIntegrator(300, 1e-6, 1e-8, seed=1, chains=lists), steps),
        "Python": (PythonIntegrator(300, 1e-6, 1e-8, seed=1, chains=lists), max(1, steps // 50)),
    }
    properties = {"Precision": precision} if precision else {}
    functions = {}
    for name, (integrator, count) in integrators.items():
        with _quiet():
            context = mm.Context(
                system, integrator, mm.Platform.getPlatformByName(platform), properties
            )
        context.setPositions(np.concatenate([_random_walk(beads) for _ in lists]))
        functions[name] = _batch(context, count)
    median = interleaved(functions, REPEATS)
    us = {name: 1e6 * median[name] / count for name, (_, count) in integrators.items()}
    row(
        f"{platform + ' ' + precision:16} {f'{chains} x {beads}':>14} {us['Brownian']:12.1f} {us['compiled']:12.1f} "
        f"{us['compiled'] / us['Brownian']:6.2f} {us['Python']:10.0f}",
        "bonds",
        platform=f"{platform} {precision}".strip(),
        chains=chains,
        beads=beads,
        brownian_us=us["Brownian"],
        compiled_us=us["compiled"],
        ratio=us["compiled"] / us["Brownian"],
        python_us=us["Python"],
    )


def _share(model: NemoModel, length: int) -> None:
    """Print a row: step and force evaluation of the NEMO energy, and the step without forces."""
    protein = model.condition(SEQUENCE[:length])
    systems = {"whole": protein.create_system(choose_backend(platform="CPU")), "own": mm.System()}
    for particle in range(length):
        systems["own"].addParticle(systems["whole"].getParticleMass(particle))
    contexts, counts = {}, {"whole": 5, "own": 200}
    for name, system in systems.items():
        integrator = protein.create_integrator(seed=1)
        contexts[name] = mm.Context(system, integrator, mm.Platform.getPlatformByName("CPU"))
        contexts[name].setPositions(protein.initial_positions())
    start = contexts["own"].getState(positions=True)
    step, own = (_batch(contexts[name], count) for name, count in counts.items())

    def without_forces() -> None:
        contexts["own"].setState(start)  # else the chain would wander
        own()

    median = interleaved(
        {
            "force": lambda: contexts["whole"].getState(forces=True),
            "whole": step,
            "own": without_forces,
        },
        REPEATS // 3,
    )
    us = {name: 1e6 * median[name] / counts.get(name, 1) for name in median}
    row(
        f"{'tiny, CPU':16} {length:4} {us['force']:9.0f} {us['whole']:14.0f} {us['own']:7.1f} "
        f"{us['own'] / us['whole']:17.2%}",
        "share",
        residues=length,
        force_us=us["force"],
        step_us=us["whole"],
        integrator_us=us["own"],
        share=us["own"] / us["whole"],
    )


def _batch(context: mm.Context, steps: int) -> Callable[[], None]:
    """Steps, and waiting for their end."""

    def run() -> None:
        context.getIntegrator().step(steps)
        context.getState(positions=True)

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what OpenMM's C++ prints about every OpenCL context on a processor, between the lines of the table."""
    sys.stdout.flush()
    kept = os.dup(1)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _random_walk(beads: int) -> np.ndarray:
    """Positions (beads, 3), nm, of a bent chain with bonds at rest."""
    steps = np.random.default_rng(0).normal(size=(beads, 3)) + [0.7, 0, 0]
    return np.cumsum(BOND / 10 * steps / np.linalg.norm(steps, axis=1, keepdims=True), axis=0)

"""The compiled integrator on all platforms, in all precisions, against the torch simulator: same seed, same trajectory.

The chains are bent, and the steps small enough that rounding errors do not grow in 100 steps. GPU platforms round the
parameters of bonds, angles and torsions to float32: those here are numbers of which nothing is lost.
"""

import functools
import itertools
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openmm as mm
import pytest
import torch

from openmm_nemo.engine.integrator import CompiledIntegrator
from openmm_nemo.geometry import bond_angles, detrend, detrend_rigidly
from tests.helpers import random_chain
from tests.tolerances import PLATFORM_TRAJECTORY
from tests.unit.engine.builds import change, compile_gpu_library, private_copy
from tests.unit.engine.platforms import platform_context
from tests.unit.engine.toys import chain_forces, positions_of, simulator_trajectory

PLATFORMS = list(PLATFORM_TRAJECTORY)

N_STEPS = 100

# kJ/mol, nm and radian.
BOND = (0.375, 2048.0)
ANGLE = (2.0, 64.0)
TORSION = 4.0
PULL = 16.0
WELL = 2.0


class Case(NamedTuple):
    """Chains of a system of n particles; those in ``fixed`` have no mass."""

    n: int
    chains: list[list[int]]
    options: dict
    fixed: tuple[int, ...] = ()


def single(n: int, **options) -> Case:
    return Case(n, [list(range(n))], options)


def dealt(lengths: list[int], n: int, fixed: int, seed: int = 0, **options) -> Case:
    """Chains of given lengths whose particles are anywhere in the system."""
    order = np.random.default_rng(seed).permutation(n).tolist()
    ends = np.cumsum(lengths).tolist()
    chains = [order[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    return Case(n, chains, options, tuple(order[ends[-1] : ends[-1] + fixed]))


# Systems of three chains: one after the other, and interleaved, the second reversed, with particles in no chain.
ORDERED = [list(range(17)), list(range(17, 23)), list(range(23, 56))]
MIXED = [list(range(0, 50, 2)), list(range(31, 0, -2)), [33, 35, 37, 51]]

CASES = {f"{n} beads": single(n, detrend=n > 3) for n in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17)}
CASES |= {f"{n} beads, corrected": single(n, measure_correction=True) for n in (4, 9, 128)}
CASES |= {f"{n} beads, clipped": single(n, limit=0.025) for n in (9, 127, 128, 129)}
CASES["1000 beads"] = single(1000)
for _detrend, _correction in itertools.product([True, False, "system"], [False, True]):
    _options = {"detrend": _detrend, "measure_correction": _correction}
    _name = f"detrend {_detrend}" + ", corrected" * _correction
    CASES[f"three chains, {_name}"] = Case(
        60, ORDERED, {**_options, "limit": 0.025}, fixed=(57, 59)
    )
    CASES[f"three mixed chains, {_name}"] = Case(56, MIXED, _options, fixed=(53,))
_lengths = np.random.default_rng(5).integers(1, 20, size=50).tolist()
for _detrend in (True, "system"):
    CASES[f"fifty chains, detrend {_detrend}"] = dealt(
        _lengths, sum(_lengths) + 9, 2, detrend=_detrend
    )


def start_of(case: Case) -> np.ndarray:
    """Bent chains side by side, and the other particles around them. nm."""
    x = np.random.default_rng(1).normal(size=(case.n, 3))
    for k, chain in enumerate(case.chains):
        bent = random_chain(len(chain), seed=10 * k).numpy() / 10
        x[chain] = bent - bent[0] + 0.3 * k
    return x


def pull_of(case: Case) -> tuple[int, int]:
    """Particles that attract each other: ends of the first and the last chain, or one in no chain."""
    inside = {particle for chain in case.chains for particle in chain}
    outside = [i for i in range(case.n) if i not in inside]
    return case.chains[0][0], (outside or case.chains[-1])[-1]


def system_of(case: Case) -> mm.System:
    """Bonds, angles and torsions along chains, two particles that attract each other, and a well."""
    system = mm.System()
    pull = mm.HarmonicBondForce()
    well = mm.CustomExternalForce(f"{WELL}*(x*x + 2*y*y)")
    for particle in range(case.n):
        system.addParticle(0.0 if particle in case.fixed else 110.0)
        well.addParticle(particle)
    if case.n > 1:
        pull.addBond(*pull_of(case), 0.0, PULL)
    for force in (*chain_forces(case.chains, BOND, ANGLE, TORSION), pull, well):
        system.addForce(force)
    return system


def energy_of(case: Case):
    """Energy of `system_of` in kJ/mol of positions in nm."""
    i, j = pull_of(case)

    def energy(x: torch.Tensor) -> torch.Tensor:
        total = WELL * (x[:, 0] ** 2 + 2 * x[:, 1] ** 2).sum()
        if case.n > 1:
            total = total + 0.5 * PULL * ((x[j] - x[i]) ** 2).sum()
        for length, group in itertools.groupby(sorted(case.chains, key=len), len):
            if length > 1:
                b, a, d = bond_angles(x[torch.tensor(list(group))])
                total = total + 0.5 * BOND[1] * ((b - BOND[0]) ** 2).sum()
                total = total + 0.5 * ANGLE[1] * ((a - ANGLE[0]) ** 2).sum()
                total = total + TORSION * (1 + torch.cos(d)).sum()
        return total

    return energy


def arguments_of(case: Case) -> dict:
    """Of the integrator. The longer the chain, the further its end is moved by the same internal step."""
    random = np.random.default_rng(3)
    longest = max(map(len, case.chains))
    return {
        "cartesian_step": 1e-5,
        "internal_step": 4e-4 * min(1, (20 / longest) ** 2),
        "cartesian_preconditioner": random.uniform(0.2, 2, size=case.n),
        "internal_preconditioner": random.uniform(0.2, 2, size=(case.n, 3)),
        "max_displacement": case.options.get("limit", 1.0),
        "detrend": case.options.get("detrend", True),
        "measure_correction": case.options.get("measure_correction", False),
        "seed": 2**31 - 5,
        "chains": case.chains,
    }


@functools.cache
def expected(name: str) -> np.ndarray:
    """Positions after every step of the torch simulator."""
    case = CASES[name]
    arguments = arguments_of(case)
    if arguments["detrend"] != "system":
        return simulator_trajectory(
            energy_of(case), start_of(case), N_STEPS, fixed=case.fixed, **arguments
        )
    # Every step without detrending, then that of all that moves, as one body.
    arguments["detrend"] = False
    remove = detrend_rigidly if arguments["measure_correction"] else detrend
    moving = [i for i in range(case.n) if i not in case.fixed]
    mask = torch.ones(1, len(moving)).double()
    frames = [start_of(case)]
    for step in range(N_STEPS):
        before, after = simulator_trajectory(
            energy_of(case), frames[-1], 1, fixed=case.fixed, first_step=step, **arguments
        )
        x = 10 * torch.from_numpy(before[None, moving])
        dx = remove(x, 10 * torch.from_numpy(after[None, moving]) - x, mask)[0].numpy()
        frames.append(before.copy())
        frames[-1][moving] += dx / 10
    return np.array(frames)


def context_of(name: str, platform_name: str) -> mm.Context:
    case = CASES[name]
    integrator = CompiledIntegrator(300, **arguments_of(case))
    return platform_context(system_of(case), integrator, start_of(case), platform_name)


EVERYTHING = "three mixed chains, detrend system, corrected"
SHAPES = {"3 beads", "8 beads", "9 beads", "129 beads, clipped", "1000 beads"}
CHAINS = {EVERYTHING, "three chains, detrend True, corrected", "fifty chains, detrend True"}
QUICK = {
    "Reference": {*CASES} - {"fifty chains, detrend system"},
    "CPU": {*CASES} - {"fifty chains, detrend system"},
    "OpenCL double": SHAPES | CHAINS,
    "OpenCL mixed": {EVERYTHING},
    "OpenCL single": {EVERYTHING},
}
"""Cases that are not marked slow: OpenCL compiles kernels for each."""


def all_cases() -> list:
    return [
        pytest.param(name, case, marks=[] if case in QUICK[name] else [pytest.mark.slow])
        for name in PLATFORMS
        for case in CASES
    ]


@pytest.mark.parametrize(("platform_name", "name"), all_cases())
def test_trajectory_is_that_of_the_torch_simulator(platform_name, name):
    start, end = expected(name)[[0, -1]]
    assert np.abs(end - start).max() > 0.01
    context = context_of(name, platform_name)
    integrator = context.getIntegrator()
    integrator.step(N_STEPS)
    assert np.abs(positions_of(context) - end).max() < PLATFORM_TRAJECTORY[platform_name]
    if "limit" in CASES[name].options:
        assert integrator.getNumClippedSteps() >= 20


def test_mixed_precision_adds_up_steps_that_are_smaller_than_a_float_resolves():
    system, moved = mm.System(), {}
    for _ in range(5):
        system.addParticle(1.0)
    start = 100 + random_chain(5).numpy() / 10
    for name in ("Reference", "OpenCL mixed"):
        integrator = CompiledIntegrator(300, 1e-14, 0.0, detrend=False, seed=3)
        context = platform_context(system, integrator, start, name)
        integrator.step(50)
        moved[name] = positions_of(context) - start
    assert np.abs(moved["Reference"]).max() > 3e-7
    np.testing.assert_allclose(moved["OpenCL mixed"], moved["Reference"], rtol=0, atol=1e-9)


@pytest.mark.slow
def test_work_groups_of_128_threads_as_on_gpus_move_chains_alike(tmp_path):
    """These tests again on a private build whose work groups on OpenCL's CPUs have the size that they have on GPUs."""
    small = "groupSize = (cc.getIsCPU() ? 4 : 128);"
    plugin = private_copy(tmp_path)
    change(plugin / "csrc" / "CommonNemoKernel.cpp", small, "groupSize = 128;")
    compile_gpu_library("OpenCL", plugin / "csrc", plugin / "lib")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "slow or not slow",
        "-k",
        "simulator and OpenCL",
    ]
    done = subprocess.run(
        [*command, f"tests/unit/engine/{Path(__file__).name}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    n = sum(name.startswith("OpenCL") for name in PLATFORMS) * len(CASES)
    assert f"{n} passed" in done.stdout, done.stdout[-3000:]
    assert done.returncode == 0

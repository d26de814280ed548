"""Samples per minute of 100 samples of 100 residues: replicas in one context, contexts of their own, and torch's batch.

A sample is a simulation of 250 steps. Each method takes a few steps of all samples in turns with the others; the median
time of a step of all of them gives the rate. CPU platform.
"""

import openmm as mm
import torch

from openmm_nemo import ConditionedModel, NemoConfig, NemoModel
from tests.bench.results import row
from tests.bench.timing import SEQUENCE, interleaved

SAMPLES, LENGTH, N_STEPS = 100, 100, 250
REPEATS, STEPS_PER_REPEAT = 3, 2


def main() -> None:
    columns = f"{'torch':>8} {'one context':>12} {'exact':>8} {'100 contexts':>13}"
    print(f"{'model':6} {'backend':8} {columns}")
    for preset, backend in (("tiny", "python"), ("fold", "python"), ("fold", "native")):
        torch.manual_seed(0)
        protein = NemoModel(NemoConfig.preset(preset)).condition(SEQUENCE[:LENGTH])
        _measure(preset, protein, backend)


def _context(
    protein: ConditionedModel, backend: str, replicas: int, seed: int, **options: bool
) -> mm.Context:
    context = mm.Context(
        protein.create_system(backend, replicas),
        protein.create_integrator(seed=seed, replicas=replicas, **options),
        mm.Platform.getPlatformByName("CPU"),
    )
    context.setPositions(protein.initial_positions(seed, replicas))
    return context


def _measure(preset: str, protein: ConditionedModel, backend: str) -> None:
    together = _context(protein, backend, SAMPLES, 1)
    exact = _context(protein, backend, SAMPLES, 1, metropolis=True)
    apart = [_context(protein, backend, 1, seed) for seed in range(1, SAMPLES + 1)]

    def step_each() -> None:
        for context in apart:
            context.getIntegrator().step(STEPS_PER_REPEAT)

    median = interleaved(
        {
            "torch": lambda: protein.rollout(STEPS_PER_REPEAT, SAMPLES, anneal=False),
            "together": lambda: together.getIntegrator().step(STEPS_PER_REPEAT),
            "exact": lambda: exact.getIntegrator().step(STEPS_PER_REPEAT),
            "apart": step_each,
        },
        REPEATS,
    )
    torch_, one, exact_, many = (
        60 * SAMPLES * STEPS_PER_REPEAT / (N_STEPS * median[name]) for name in median
    )
    row(
        f"{preset:6} {backend:8} {torch_:8.1f} {one:12.1f} {exact_:8.1f} {many:13.1f}",
        "samples_per_minute",
        model=preset,
        backend=backend,
        torch=torch_,
        one_context=one,
        one_context_exact=exact_,
        many_contexts=many,
    )

"""Effective samples per 1,000 energies: Boltzmann generators, molecular dynamics and Metropolised internal steps.

Alanine dipeptide (examples/alanine): the generator that comes with the example, and LangevinMiddleIntegrator (2 fs,
hydrogens of 4 amu), for phi > 0 and for the cosine of psi. A decapeptide in the energy of nemo-fold: a generator that
is trained here, the mixed step with ``metropolis=True``, and MD, for the radius of gyration Rg and the distance of
the ends Ree. Dynamics starts from weighted samples of the generator, so that it is stationary from the first frame on.

A generator's samples have one effective sample size for all observables; its training is counted on its own: after so
many effective samples as "pays after" says, it has taken fewer energies in all than the dynamics. Autocorrelation
times are those of `tests.bench.autocorrelation`; "<" marks bounds of runs that were too short to see the end of one.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openmm as mm

from openmm_nemo import NemoModel
from openmm_nemo.boltzmann import BoltzmannGenerator, BoltzmannSamples, FitSettings
from tests.bench.autocorrelation import autocorrelation_time
from tests.bench.results import row

sys.path.insert(0, "examples/alanine")
from peptide import backbone_dihedrals, create_system, read

GENERATOR = Path("examples/data/alanine_dipeptide_annealed")
SEQUENCE = "NLYIQWLKDG"
SMALL = FitSettings(
    hot=600, hot_updates=300, draws=16_384, buffer=4096, updates=150, batch=256, last_stages=3
)
N_SAMPLES = 20_000
RUNS, STEPS, FRAME = 8, 100_000, 50

Observables = Callable[[np.ndarray], dict[str, np.ndarray]]


def dihedrals(positions: np.ndarray) -> dict[str, np.ndarray]:
    turns = backbone_dihedrals(read(1)[0], positions)
    phi, psi = turns["phi"][..., 0], turns["psi"][..., 0]
    return {"phi > 0": (phi > 0).astype(float), "cos psi": np.cos(psi)}


def sizes(positions: np.ndarray) -> dict[str, np.ndarray]:
    centred = positions - positions.mean(-2, keepdims=True)
    ends = positions[..., -1, :] - positions[..., 0, :]
    return {
        "Rg": np.sqrt((centred**2).sum(-1).mean(-1)),
        "Ree": np.linalg.norm(ends, axis=-1),
    }


def run(
    system: mm.System,
    integrators: list[mm.Integrator],
    starts: np.ndarray,
    observables: Observables,
) -> dict[str, np.ndarray]:
    """Observables (runs, frames) of one run from each start."""
    reference = mm.Platform.getPlatformByName("Reference")
    runs = []
    for integrator, start in zip(integrators, starts, strict=True):
        context = mm.Context(system, integrator, reference)
        context.setPositions(start)
        context.setVelocitiesToTemperature(300, 1)
        frames = []
        for _ in range(STEPS // FRAME):
            integrator.step(FRAME)
            state = context.getState(positions=True)
            frames.append(state.getPositions(asNumpy=True)._value)
        runs.append(observables(np.array(frames)))
    return {name: np.stack([found[name] for found in runs]) for name in runs[0]}


def report(
    molecule: str,
    samples: BoltzmannSamples,
    dynamics: dict[str, tuple[dict[str, np.ndarray], int]],
    observables: Observables,
    training: int,
) -> None:
    """Print all methods; dynamics are runs and energies per step."""
    generated = 1000 * samples.effective_sample_size / N_SAMPLES
    values, weights = observables(samples.positions), samples.weights
    for name in values:
        row(
            f"{molecule:18} {name:8} {'generator':26} {generated:9.1f}",
            "effective_samples",
            molecule=molecule,
            observable=name,
            method="generator",
            per_1000=generated,
            bound="",
            pays_after=None,
            training=training,
        )
        mean = float((weights * values[name]).sum())
        variance = float((weights * (values[name] - mean) ** 2).sum())
        for method, (runs, energies) in dynamics.items():
            time = autocorrelation_time(runs[name], mean, variance)
            per_1000 = 1000 / (time.frames * FRAME * energies)
            bound = "" if time.complete else "<"
            pays = training / (1000 / per_1000 - 1000 / generated) if per_1000 < generated else None
            after = f"pays after {pays:.0f}" if pays else ""
            row(
                f"{molecule:18} {name:8} {method:26} {bound + format(per_1000, '.3g'):>9} {after}",
                "effective_samples",
                molecule=molecule,
                observable=name,
                method=method,
                per_1000=per_1000,
                bound=bound,
                pays_after=pays,
                training=None,
            )


def alanine_dipeptide() -> None:
    generator = BoltzmannGenerator.load(GENERATOR)
    samples = generator.sample(N_SAMPLES)
    topology, _ = read(1)
    system = create_system(topology)
    for atom in topology.atoms():
        if atom.element.symbol == "H":
            system.setParticleMass(atom.index, 4.0)
    md = run(system, langevin(0.002), chosen(samples), dihedrals)
    training = generator.stages[-1].evaluations
    report("alanine dipeptide", samples, {"MD, 2 fs": (md, 1)}, dihedrals, training)


def decapeptide() -> None:
    protein = NemoModel.from_pretrained("nemo-fold").condition(SEQUENCE)
    system = protein.create_system()
    start = protein.initial_positions(seed=1)
    generator = BoltzmannGenerator.fit(system, protein.topology, 300, start, SMALL)
    training = generator.pool.evaluations
    samples = generator.sample(N_SAMPLES)
    exact = [
        protein.create_integrator(300, seed=seed, metropolis=True) for seed in range(1, RUNS + 1)
    ]
    runs = run(system, exact, chosen(samples), sizes)
    rates = np.mean([integrator.getAcceptanceRates() for integrator in exact], axis=0)
    print(f"metropolis=True accepts {rates[0]:.0%} of Cartesian, {rates[1]:.0%} of internal steps")
    dynamics = {
        # Two force evaluations per step: each sub-step is accepted or rejected on its own.
        "internal steps, Metropolised": (runs, 2),
        "MD, 10 fs": (run(system, langevin(0.01), chosen(samples), sizes), 1),
    }
    report("decapeptide, NEMO", samples, dynamics, sizes, training)


def langevin(ps: float) -> list[mm.Integrator]:
    integrators = [mm.LangevinMiddleIntegrator(300, 2.0, ps) for _ in range(RUNS)]
    for seed, integrator in enumerate(integrators, 1):
        integrator.setRandomNumberSeed(seed)
    return integrators


def chosen(samples: BoltzmannSamples) -> np.ndarray:
    """Starts, by their weights."""
    random = np.random.default_rng(1)
    return samples.positions[random.choice(len(samples.weights), RUNS, p=samples.weights)]


def main() -> None:
    print(f"{'molecule':18} {'of':8} {'method':26} {'per 1,000 energies':>9}")
    alanine_dipeptide()
    decapeptide()

"""Effective samples per force evaluation: the mixed step, its parts and OpenMM's integrators, on protein-like chains.

Energy (`create_system`): harmonic bonds of 3.8 +- 0.1 A and angles of 110 +- 13 degrees, weak torsions, and
Lennard-Jones pairs, weak enough for a coil or strong enough for a globule, without cutoff; platform Reference.

Every method is to sample exp(-U/kT) dx. "exact" ones accept or reject (``metropolis=True``): the Cartesian sub-step
alone, the internal one alone, and both, which costs two force evaluations per step. The others evaluate forces once
per step and are biased by its size: BrownianIntegrator; the mixed step (``measure_correction=True``, no speed limit,
no detrending); and LangevinMiddleIntegrator, which has inertia and is what one would run otherwise. A step size is
admissible if no run fails and the mean energies of bonds, angles and pairs are those of the reference within `BIAS` and
two standard errors. The table has these means relative to the reference, and by how many standard errors the means of
Rg and Ree are away.

Reference: long exact mixed runs from a straight chain, with step sizes fixed beforehand. They give mean and variance of
the radius of gyration Rg and of the distance of the ends Ree, and conformations to start from, so that all other runs
are stationary from the first frame on and times that are longer than a run can be estimated.

Scan: `SCAN` evaluations from many of these conformations; the admissible setting that has changed Rg and Ree most after
half of them (the geometric mean over conformations, because those that hardly move are what takes longest) is measured,
or the next if it turns out not to be admissible in long runs. Scanned are variances per step:
of Cartesian noise, times the spring constant of bonds; of bonds b~ and angles a~, times the curvature of their energies
(this is C_z); and of dihedrals, rad^2. For inertia: the time step in ps and the friction in 1/ps. Mixed steps take
the Cartesian part that is best alone, or half of it when nothing is rejected.

Measured: integrated autocorrelation times (`tests.bench.autocorrelation`) of runs of `SEEDS` seeds, two for each;
ranges are those over seeds. "<" and ">" mark what follows from times that runs were too short to see the end of: these
are lower bounds, so that the effective samples are fewer and the gain larger than printed, but for noise.
"""

import math
import multiprocessing
import os
from itertools import product
from typing import NamedTuple

import numpy as np
import openmm as mm

from openmm_nemo.engine.integrator import CompiledIntegrator
from openmm_nemo.engine.units import ANGSTROM_PER_NM, GAS_CONSTANT
from openmm_nemo.plugin import plugin_problem
from tests.bench.autocorrelation import (
    AutocorrelationTime,
    autocorrelation_time,
    mean_square_change,
)
from tests.bench.results import row

TEMPERATURE = 300.0
KT = GAS_CONSTANT * TEMPERATURE
MASS = 100.0

# kT, Angstrom, radian: rest value and spring constant.
BOND = (3.8, 100.0)
ANGLE = (math.radians(110), 20.0)
TORSION = (math.radians(230), 0.5)
DIAMETER = 4.5

SEEDS = 5
SCAN = 2000
BIAS = 0.1
TRIES = 3
SLOW = ("exact Cartesian", "Brownian", "mixed")

Z_STIFFNESS = (BOND[1], ANGLE[1] * (ANGLE[0] * (1 - ANGLE[0] / math.pi)) ** 2)
"""Curvatures of the energies of b~ (db/db~ is about 1) and a~."""


class Setting(NamedTuple):
    """A method and its step sizes; zero: without this part.

    Attributes
    ----------
    method : str
    cartesian, stiff, dihedral : float
        Variances per step, as scanned.
    time, friction : float
        ps and 1/ps, of the integrator with inertia.
    """

    method: str
    cartesian: float = 0.0
    stiff: float = 0.0
    dihedral: float = 0.0
    time: float = 0.0
    friction: float = 0.0

    @property
    def exact(self) -> bool:
        return self.method.startswith("exact")

    @property
    def evaluations(self) -> int:
        """Force evaluations per step."""
        return 2 if self.exact and self.cartesian and self.dihedral else 1

    def __str__(self) -> str:
        return " ".join(f"{value:g}" for value in self[1:] if value)


class Case(NamedTuple):
    """A chain and what is spent on it.

    Attributes
    ----------
    attraction : float
        Depth of the pair energy, kT.
    reference : Setting
    fast, slow : int
        Evaluations of a run by other methods and by `SLOW` ones.
    starts : int
        Runs of a scan.
    """

    name: str
    length: int
    attraction: float
    reference: Setting
    fast: int
    slow: int
    starts: int


CASES = (
    Case("coil", 50, 0.3, Setting("exact mixed", 0.35, 0.01, 1e-3), 80_000, 120_000, 32),
    Case("globule", 50, 0.5, Setting("exact mixed", 0.35, 0.003, 3e-4), 80_000, 80_000, 32),
    Case("coil", 100, 0.3, Setting("exact mixed", 0.3, 0.003, 3e-4), 60_000, 80_000, 24),
)


class Run(NamedTuple):
    """What was seen in a run.

    Attributes
    ----------
    lengths : ndarray, shape (n, 2)
        Rg and Ree, Angstrom, after every `evaluations_per_frame`.
    energies : ndarray, shape (3,)
        Means of bonds, angles and pairs in the second half, kJ/mol.
    acceptance : tuple of float
        Of Cartesian and internal sub-steps.
    conformations : list of ndarray
        Some, nm, all along the run.
    """

    lengths: np.ndarray
    energies: np.ndarray
    acceptance: tuple[float, float]
    conformations: list[np.ndarray]


class Task(NamedTuple):
    """A run to be made."""

    case: Case
    setting: Setting
    start: np.ndarray
    evaluations: int
    evaluations_per_frame: int
    seed: int


class Reference(NamedTuple):
    """The distribution to be sampled: moments of Rg and Ree, their standard errors, mean energies."""

    mean: np.ndarray
    variance: np.ndarray
    error: np.ndarray
    energies: np.ndarray
    conformations: list[np.ndarray]


class Measured(NamedTuple):
    """A method at its best. Times are in evaluations; those of every seed, (seeds, 2), and of all runs together."""

    setting: Setting
    runs: list[Run]
    times: tuple[AutocorrelationTime, AutocorrelationTime]
    seed_times: np.ndarray


def create_system(length: int, attraction: float) -> mm.System:
    """A chain; bonds, angles and pairs are the force groups 0, 1 and 2, torsions 3."""
    system = mm.System()
    bonds, angles, pairs, torsions = forces = (
        mm.HarmonicBondForce(),
        mm.HarmonicAngleForce(),
        mm.NonbondedForce(),
        mm.PeriodicTorsionForce(),
    )
    for _ in range(length):
        system.addParticle(MASS)
        pairs.addParticle(0, DIAMETER / ANGSTROM_PER_NM, attraction * KT)
    for i in range(length - 1):
        bonds.addBond(i, i + 1, BOND[0] / ANGSTROM_PER_NM, BOND[1] * KT * ANGSTROM_PER_NM**2)
        pairs.addException(i, i + 1, 0, 1, 0)
    for i in range(length - 2):
        angles.addAngle(i, i + 1, i + 2, ANGLE[0], ANGLE[1] * KT)
        pairs.addException(i, i + 2, 0, 1, 0)
    for i in range(length - 3):
        torsions.addTorsion(i, i + 1, i + 2, i + 3, 1, TORSION[0], TORSION[1] * KT)
    for group, force in enumerate(forces):
        force.setForceGroup(group)
        system.addForce(force)
    return system


def create_integrator(setting: Setting, length: int, seed: int) -> mm.Integrator:
    variance = setting.cartesian / BOND[1] / ANGSTROM_PER_NM**2
    if setting.method == "Brownian":
        # Its noise has the variance 2 kT time / (mass friction).
        integrator = mm.BrownianIntegrator(TEMPERATURE, 1.0, variance * MASS / (2 * KT))
    elif setting.method == "Langevin":
        integrator = mm.LangevinMiddleIntegrator(TEMPERATURE, setting.friction, setting.time)
    else:
        row = [setting.stiff / Z_STIFFNESS[0], setting.stiff / Z_STIFFNESS[1], setting.dihedral]
        return CompiledIntegrator(
            TEMPERATURE,
            variance,
            1.0 if setting.dihedral else 0.0,
            internal_preconditioner=np.tile(row, (length, 1)),
            max_displacement=math.inf,
            detrend=False,
            measure_correction=True,
            metropolis=setting.exact,
            seed=seed,
        )
    integrator.setRandomNumberSeed(seed)
    return integrator


def simulate(task: Task) -> Run | None:
    """One run; None if it fails."""
    case, integrator = task.case, create_integrator(task.setting, task.case.length, task.seed)
    context = mm.Context(
        create_system(case.length, case.attraction),
        integrator,
        mm.Platform.getPlatformByName("Reference"),
    )
    context.setPositions(task.start)
    context.setVelocitiesToTemperature(TEMPERATURE, task.seed)
    frames = task.evaluations // task.evaluations_per_frame
    lengths, energies, conformations = np.empty((frames, 2)), [], []
    try:
        for frame in range(frames):
            integrator.step(task.evaluations_per_frame // task.setting.evaluations)
            x = context.getState(positions=True).getPositions(asNumpy=True)._value
            lengths[frame] = _lengths(x)
            if frame >= frames // 2 and frame % 4 == 0:
                energies.append([_energy(context, group) for group in range(3)])
            if frame % max(frames // 20, 1) == 0:
                conformations.append(x)
    except mm.OpenMMException:
        return None
    if not (np.isfinite(lengths).all() and np.isfinite(energies).all()):
        return None
    rates = integrator.getAcceptanceRates() if task.setting.exact else (1.0, 1.0)
    return Run(lengths, np.mean(energies, axis=0), rates, conformations)


def _lengths(x: np.ndarray) -> tuple[float, float]:
    """Rg and Ree, Angstrom, of positions in nm; infinite where they cannot be squared."""
    if not np.abs(x).max() < 1e6:
        return math.inf, math.inf
    centred = x - x.mean(axis=0)
    gyration = math.sqrt((centred**2).sum() / len(x))
    return ANGSTROM_PER_NM * gyration, ANGSTROM_PER_NM * float(np.linalg.norm(x[-1] - x[0]))


def _energy(context: mm.Context, group: int) -> float:
    return context.getState(energy=True, groups={group}).getPotentialEnergy()._value


def main() -> None:
    if problem := plugin_problem():
        print(f"The compiled integrator is not in use: {problem}.")
        return
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        for case in CASES:
            _bench(pool, case)


def _bench(pool, case: Case) -> None:
    """Print the table of one case."""
    reference = _reference(pool, case)
    (rg, ree), (rg_error, ree_error) = reference.mean, reference.error
    print(
        f"\n{case.name}, {case.length} beads, attraction {case.attraction} kT: "
        f"Rg {rg:.2f} +- {rg_error:.2f} A, Ree {ree:.1f} +- {ree_error:.1f} A (reference)\n"
        f"{'method':15} {'step sizes':>20} {'accepted':>10} {'ESS per 1000 evaluations':>25} "
        f"{'energies / reference':>22} {'z':>11}\n"
        f"{'':15} {'':>20} {'x':>4} {'z':>5} {'Rg':>12} {'Ree':>12} {'bond':>8} {'angle':>6} {'pair':>6} "
        f"{'Rg':>5} {'Ree':>5}",
        flush=True,
    )
    measured: dict[str, Measured] = {}
    for method in _settings(case.length, 0.0):
        # Mixed steps come after the methods whose best Cartesian step they take.
        alone = measured.get("exact Cartesian" if method.startswith("exact") else "Brownian")
        settings = _settings(case.length, alone.setting.cartesian if alone else 0.0)
        best = _measure(pool, case, reference, settings[method])
        if best is None:
            print(f"{method:15} no admissible step size", flush=True)
            continue
        measured[method] = best
        row(
            _row(best, reference),
            "effective_samples",
            chain=case.name,
            beads=case.length,
            method=method,
            step_sizes=str(best.setting),
            **{
                name: value
                for length, time in zip(("rg", "ree"), best.times, strict=True)
                for name, value in (
                    (f"{length}_per_1000", 1000 / time.frames),
                    (f"{length}_is_bound", not time.complete),
                )
            },
        )
    _print_gains(case, measured)


def _settings(length: int, cartesian: float) -> dict[str, list[Setting]]:
    """What is scanned, by method; ``cartesian``: the best step of the Cartesian part alone."""
    arm = 50 / length
    internal = [(s * arm, d * arm) for s, d in product((0.003, 0.015), (1e-4, 3e-4, 1e-3, 3e-3))]
    small = [(s * arm**2, d * arm**2) for s, d in product((1e-4, 3e-4, 1e-3), (3e-6, 1e-5))]
    inertia = list(product((0.04, 0.05), (0.01, 0.03, 0.1)))
    return {
        "exact Cartesian": [Setting("exact Cartesian", x) for x in (0.25, 0.35, 0.45)],
        "exact internal": [Setting("exact internal", 0.0, s, d) for s, d in internal],
        "exact mixed": [Setting("exact mixed", cartesian, s, d) for s, d in internal],
        "Brownian": [Setting("Brownian", x) for x in (0.05, 0.1, 0.15, 0.2)],
        "mixed": [Setting("mixed", cartesian / 2, s, d) for s, d in small],
        "Langevin": [Setting("Langevin", time=t, friction=f) for t, f in inertia],
    }


def _reference(pool, case: Case) -> Reference:
    """Moments of four exact runs; their first fifth is left out."""
    every = 40
    start = _straight_chain(case.length)
    n = 4 * case.fast
    runs = pool.map(
        simulate, [Task(case, case.reference, start, n, every, 1001 + k) for k in range(4)]
    )
    lengths = np.array([run.lengths[n // every // 5 :] for run in runs])
    mean, variance = lengths.mean(axis=(0, 1)), lengths.var(axis=(0, 1))
    times = _times(lengths, mean, variance)
    samples = [lengths.shape[0] * lengths.shape[1] / time.frames for time in times]
    return Reference(
        mean,
        variance,
        np.sqrt(variance / samples),
        np.mean([run.energies for run in runs], axis=0),
        [x for run in runs for x in run.conformations[4:]],
    )


def _straight_chain(length: int) -> np.ndarray:
    """Positions (length, 3), nm, of a zigzag with bonds and angles at rest."""
    along, across = math.sin(ANGLE[0] / 2), math.cos(ANGLE[0] / 2)
    i = np.arange(length)
    x = BOND[0] / ANGSTROM_PER_NM * np.stack([along * i, across * (i % 2), 0 * i], axis=1)
    return x + np.random.default_rng(0).normal(scale=1e-3, size=x.shape)


def _measure(pool, case: Case, reference: Reference, settings: list[Setting]) -> Measured | None:
    """Scan, then the first of the best settings that is admissible in long runs, too."""
    evaluations = case.slow if settings[0].method in SLOW else case.fast
    every = evaluations // 2000
    for setting in _scan(pool, case, reference, settings)[:TRIES]:
        runs = _simulate_all(pool, case, reference, setting, 2 * SEEDS, evaluations, every)
        if runs is None or not _admissible(setting, runs, reference):
            continue
        lengths = np.array([run.lengths for run in runs])
        by_seed = [
            _times(lengths[k : k + 2], reference.mean, reference.variance)
            for k in range(0, 2 * SEEDS, 2)
        ]
        return Measured(
            setting,
            runs,
            tuple(
                AutocorrelationTime(every * time.frames, time.complete)
                for time in _times(lengths, reference.mean, reference.variance)
            ),
            every * np.array([[time.frames for time in times] for times in by_seed]),
        )
    return None


def _scan(pool, case: Case, reference: Reference, settings: list[Setting]) -> list[Setting]:
    """Admissible settings, the one that changes Rg and Ree most first."""
    every = 20
    scores = {}
    for setting in settings:
        runs = _simulate_all(pool, case, reference, setting, case.starts, SCAN, every)
        if runs is None or not _admissible(setting, runs, reference):
            continue
        scores[setting] = np.mean([math.log(_change(run, reference) + 1e-3) for run in runs])
    return sorted(scores, key=lambda setting: -scores[setting])


def _change(run: Run, reference: Reference) -> float:
    """How much Rg and Ree have changed after half a run, relative to their variances."""
    n = len(run.lengths) // 2
    changes = [mean_square_change(run.lengths[None, :, k])[n] for k in range(2)]
    return float((changes / reference.variance).sum())


def _simulate_all(
    pool, case: Case, reference: Reference, setting: Setting, n: int, evaluations: int, every: int
) -> list[Run] | None:
    """Runs from conformations of the reference that are far from each other; None if one fails."""
    chosen = np.linspace(0, len(reference.conformations) - 1, n).astype(int)
    tasks = [
        Task(case, setting, reference.conformations[k], evaluations, every, seed)
        for seed, k in enumerate(chosen, start=1)
    ]
    runs = pool.map(simulate, tasks, chunksize=1)
    return None if any(run is None for run in runs) else runs


def _admissible(setting: Setting, runs: list[Run], reference: Reference) -> bool:
    """Whether the energies do not deviate by more than `BIAS` and two standard errors."""
    ratios = np.array([run.energies for run in runs]) / reference.energies
    error = ratios.std(axis=0, ddof=1) / math.sqrt(len(runs))
    return setting.exact or bool((abs(ratios.mean(axis=0) - 1) < BIAS + 2 * error).all())


def _times(
    lengths: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> tuple[AutocorrelationTime, AutocorrelationTime]:
    """Of Rg and Ree, frames, from runs (runs, n, 2)."""
    rg, ree = (autocorrelation_time(lengths[..., k], mean[k], variance[k]) for k in range(2))
    return rg, ree


def _row(measured: Measured, reference: Reference) -> str:
    setting, runs = measured.setting, measured.runs
    rates = np.mean([run.acceptance for run in runs], axis=0)
    accepted = [
        f"{rate:.2f}" if setting.exact and part else "-"
        for rate, part in zip(rates, (setting.cartesian, setting.dihedral), strict=True)
    ]
    samples = [f"{'' if time.complete else '<'}{1000 / time.frames:.4g}" for time in measured.times]
    means = np.array([run.lengths.mean(axis=0) for run in runs])
    error = np.hypot(means.std(axis=0, ddof=1) / math.sqrt(len(runs)), reference.error)
    z = (means.mean(axis=0) - reference.mean) / error
    bond, angle, pair = np.mean([run.energies for run in runs], axis=0) / reference.energies
    return (
        f"{setting.method:15} {setting!s:>20} {accepted[0]:>4} {accepted[1]:>5} {samples[0]:>12} {samples[1]:>12} "
        f"{bond:8.3f} {angle:6.3f} {pair:6.3f} {z[0]:5.1f} {z[1]:5.1f}"
    )


def _print_gains(case: Case, measured: dict[str, Measured]) -> None:
    """Effective samples per evaluation of ours over those of others: of all runs, and the range over seeds."""
    pairs = (
        ("exact mixed", "exact Cartesian"),
        ("exact mixed", "exact internal"),
        ("exact mixed", "Brownian"),
        ("exact mixed", "Langevin"),
        ("exact internal", "Brownian"),
        ("exact internal", "Langevin"),
        ("mixed", "Brownian"),
        ("mixed", "Langevin"),
    )
    for ours, theirs in pairs:
        if ours not in measured or theirs not in measured:
            continue
        a, b = measured[ours], measured[theirs]
        columns, values = [], {}
        for k, name in enumerate(("Rg", "Ree")):
            ratios = b.seed_times[:, k] / a.seed_times[:, k]
            bound = "" if b.times[k].complete else ">"
            columns.append(
                f"{name} {bound}{b.times[k].frames / a.times[k].frames:.3g} ({ratios.min():.3g} to {ratios.max():.3g})"
            )
            values |= {
                f"{name.lower()}_gain": float(b.times[k].frames / a.times[k].frames),
                f"{name.lower()}_is_bound": not b.times[k].complete,
                f"{name.lower()}_least": float(ratios.min()),
                f"{name.lower()}_most": float(ratios.max()),
            }
        row(
            f"gain of {ours} over {theirs}: {', '.join(columns)}",
            "gains",
            chain=case.name,
            beads=case.length,
            method=ours,
            over=theirs,
            **values,
        )

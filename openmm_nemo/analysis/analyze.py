"""From simulations in folders to tables, pictures and a page: ``openmm-nemo analyze``."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openmm_nemo.analysis import figures
from openmm_nemo.analysis.free_energies import MIN_OVERLAP, ReweightedSamples
from openmm_nemo.analysis.measures import (
    CONTACT_DISTANCE,
    contact_frequencies,
    distances,
    pairs,
)
from openmm_nemo.analysis.report import write_report
from openmm_nemo.analysis.slow_motions import slow_motions
from openmm_nemo.analysis.trajectories import MeasuredTrajectory, measure
from openmm_nemo.errors import InputError
from openmm_nemo.files import write_table
from openmm_nemo.geometry.similarity import radius_of_gyration
from openmm_nemo.pages.pictures import Picture
from openmm_nemo.runs.reading import SimulatedTrajectory

REPORT_FILE = "analysis.html"

TABLES = ("frames", "averages", "contacts", "residues", "thermodynamics", "profiles", "tica")
"""Names of all tables, not all of which every analysis has."""

PICTURES = (
    *("energy", "radius_of_gyration", "rmsd", "native_contacts", "contacts"),
    *("secondary_structure", "heat_capacity", "tica"),
    *(f"free_energy_{name}" for name in ("radius_of_gyration", "rmsd", "native_contacts")),
)
"""Names of all pictures."""

PROFILED = ("radius_of_gyration_angstrom", "rmsd_angstrom", "native_contacts")
"""Measures along which there are free energies."""

MIN_SAMPLES = 20
"""Independent samples that MBAR needs at each temperature: its error bars are those of many samples."""

N_BINS = 25
N_TEMPERATURES = 41


@dataclass
class Analysis:
    """Outcome of `analyze`.

    Attributes
    ----------
    measured : list of MeasuredTrajectory
        From the lowest temperature to the highest.
    tables : dict of str to (columns, rows)
        Tables by the name of their file, without extension.
    pictures : list of Picture
    notes : list of str
        What a reader needs to know, one sentence each.
    """

    measured: list[MeasuredTrajectory]
    tables: dict[str, tuple[Sequence[str], Sequence[Sequence[Any]]]] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def analyze(
    simulated: Sequence[SimulatedTrajectory],
    out: Path,
    native: np.ndarray | None = None,
    skip: int | None = None,
    free_energies: bool = False,
    lag: int | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Analysis:
    """Analyse simulations of one protein.

    Parameters
    ----------
    simulated : sequence of SimulatedTrajectory
        See `openmm_nemo.analysis.trajectories.read_simulations`.
    out : Path
        Folder, made if it does not exist. Writes analysis.html, tables and pictures; each appears when it is complete,
        and nothing does before everything has been computed.
    native : ndarray, shape (L, 3), optional
        C-alpha positions to compare with, Angstrom.
    skip : int, optional
        Frames of each trajectory to leave out of averages. Default: those before equilibration.
    free_energies : bool
        Whether to reweight the samples over temperature.
    lag : int, optional
        Lag of the TICA, frames. Default: no TICA.
    progress : callable
        Called with the number of trajectories measured so far.

    Returns
    -------
    Analysis

    Raises
    ------
    InputError
        If it is a complex, a trajectory cannot be read, there are too few frames or temperatures for what is asked, an
        optional package is missing, or the folder cannot be written.
    """
    if len(simulated[0].settings.chains) > 1:
        raise InputError(
            f"{simulated[0].folder} simulates a complex, and 'analyze' measures single chains: use 'check-ensemble', "
            "and MDTraj for its trajectories."
        )
    if free_energies:
        temperatures = {s.temperature for s in simulated}
        if len(temperatures) < 2:
            raise InputError(
                f"--free-energies needs two temperatures or more, and {simulated[0].folder} has only "
                f"{temperatures.pop():g} K: give runs at several, or leave it out."
            )
    measured = []
    for count, trajectory in enumerate(simulated, start=1):
        measured.append(measure(trajectory, native, skip))
        progress(count)
    analysis = Analysis(measured)
    _frames(analysis)
    _averages(analysis)
    _contacts(analysis, native)
    _residues(analysis)
    if free_energies:
        _free_energies(analysis)
    if lag is not None:
        _slow_motions(analysis, lag)
    _write(analysis, out, native)
    return analysis


def _frames(analysis: Analysis) -> None:
    """Measures of all frames."""
    measured = analysis.measured
    names = list(measured[0].values)
    rows = [
        (m.name, step, *(m.values[name][k] for name in names))
        for m in measured
        for k, step in enumerate(m.simulated.step.tolist())
    ]
    analysis.tables["frames"] = (("trajectory", "step", *names), rows)
    for m in measured:
        if m.simulated.settings.schedule is not None:
            analysis.notes.append(
                f"{m.name} was annealed, from {m.temperatures}: its averages are not those of an equilibrium."
            )
    short = [m for m in measured if len(m.samples) < MIN_SAMPLES]
    if short:
        worst = min(short, key=lambda m: len(m.samples))
        analysis.notes.append(
            f"Too few independent frames in {len(short)} of {len(measured)} trajectories, fewest in {worst.name} "
            f"({len(worst.samples)} of {len(worst.x)}): simulate longer for averages that mean something."
        )


def _by_temperature(measured: Iterable[MeasuredTrajectory]) -> dict[str, list[MeasuredTrajectory]]:
    groups: dict[str, list[MeasuredTrajectory]] = {}
    for m in measured:
        groups.setdefault(m.temperatures, []).append(m)
    return groups


def _averages(analysis: Analysis) -> None:
    """Means over independent frames, by temperature."""
    names = list(analysis.measured[0].values)
    columns = ["temperature", "trajectories", "frames", "independent_frames"]
    for name in names:
        columns += [name, f"{name}_error"]
    rows: list[Sequence[Any]] = []
    for temperatures, group in _by_temperature(analysis.measured).items():
        counts = (len(group), sum(len(m.x) for m in group), sum(len(m.samples) for m in group))
        row: list[Any] = [temperatures, *counts]
        for name in names:
            values = np.concatenate([m.values[name][m.samples] for m in group])
            spread = values.std(ddof=1) if len(values) > 1 else np.nan
            row += [values.mean(), spread / len(values) ** 0.5]
        rows.append(row)
    analysis.tables["averages"] = (columns, rows)


def _contacts(analysis: Analysis, native: np.ndarray | None) -> None:
    """Frequencies of contacts after equilibration, by temperature; the picture is of the lowest."""
    length = analysis.measured[0].x.shape[1]
    i, j = pairs(length)
    ids = analysis.measured[0].simulated.numbering.residue_ids
    groups = _by_temperature(analysis.measured)
    found = [
        contact_frequencies(np.concatenate([m.x[m.equilibrated] for m in group]))
        for group in groups.values()
    ]
    columns = ["residue_i", "residue_j", *(f"frequency at {name}" for name in groups)]
    values: list[Any] = [*found]
    if native is not None:
        columns.insert(2, "native")
        values.insert(0, (distances(native[None], i, j)[0] < CONTACT_DISTANCE).astype(int))
    rows = [(ids[a], ids[b], *of_pair) for a, b, *of_pair in zip(i, j, *values, strict=True)]
    analysis.tables["contacts"] = (columns, rows)
    lowest = next(iter(groups))
    analysis.pictures += figures.over_time(
        analysis.measured,
        {}
        if native is None
        else {"radius_of_gyration_angstrom": float(radius_of_gyration(torch.tensor(native)))},
    )
    analysis.pictures.append(figures.contact_map(found[0], length, lowest, native))


def _residues(analysis: Analysis) -> None:
    """Secondary structure of residues after equilibration, by temperature."""
    first = analysis.measured[0]
    columns, values = ["residue", "name"], []
    for temperatures, group in _by_temperature(analysis.measured).items():
        codes = np.concatenate([m.structure[m.equilibrated] for m in group])
        for name, code in (("helix", "H"), ("strand", "E")):
            columns.append(f"{name} at {temperatures}")
            values.append((codes == code).mean(0))
    ids = first.simulated.numbering.residue_ids
    rows = list(zip(ids, first.simulated.sequence, *values, strict=True))
    analysis.tables["residues"] = (columns, rows)
    analysis.pictures.append(figures.structure_over_time(analysis.measured))


def _free_energies(analysis: Analysis) -> None:
    """Averages and profiles over temperature by MBAR."""
    groups: dict[float, list[MeasuredTrajectory]] = {}
    for m in analysis.measured:
        groups.setdefault(m.simulated.temperature, []).append(m)

    def samples(name: str) -> list[np.ndarray]:
        return [
            np.concatenate([m.values[name][m.samples] for m in group]) for group in groups.values()
        ]

    energies = samples("energy_kj_mol")
    for t, energy in zip(groups, energies, strict=True):
        if len(energy) < MIN_SAMPLES:
            raise InputError(
                f"--free-energies needs {MIN_SAMPLES} independent frames at each temperature, and there are "
                f"{len(energy)} at {t:g} K: simulate longer, or with a smaller --report-interval."
            )
    temperatures = np.array(list(groups))
    reweighted = ReweightedSamples(energies, temperatures.tolist())
    for low, high, overlap in zip(
        temperatures, temperatures[1:], reweighted.overlap(), strict=False
    ):
        if overlap < MIN_OVERLAP:
            analysis.notes.append(
                f"The overlap of {low:g} and {high:g} K is {overlap:.3f}, below {MIN_OVERLAP}: free energies are not "
                "reliable without a temperature between them."
            )
    grid = np.union1d(np.linspace(temperatures[0], temperatures[-1], N_TEMPERATURES), temperatures)
    found = reweighted.thermodynamics(grid)
    analysis.tables["thermodynamics"] = (
        (
            *("temperature_k", "free_energy_kt", "free_energy_kt_error"),
            *("energy_kj_mol", "energy_kj_mol_error"),
            *("heat_capacity_kj_mol_k", "heat_capacity_kj_mol_k_error"),
        ),
        list(zip(*found, strict=True)),
    )
    analysis.pictures.append(figures.heat_capacity(found, temperatures))
    rows: list[Sequence[Any]] = []
    for name in PROFILED:
        if name not in analysis.measured[0].values:
            continue
        values = np.concatenate(samples(name))
        edges = np.linspace(values.min(), values.max(), N_BINS + 1)
        centres = 0.5 * (edges[1:] + edges[:-1])
        curves = {t: reweighted.profile(values, edges, t) for t in groups}
        for t, curve in curves.items():
            rows += [(name, t, *row) for row in zip(centres, *curve, strict=True)]
        analysis.pictures.append(figures.profiles(name, centres, curves))
    columns = ("measure", "temperature_k", "value", "free_energy_kt", "free_energy_kt_error")
    analysis.tables["profiles"] = (columns, rows)


def _slow_motions(analysis: Analysis, lag: int) -> None:
    """Components by TICA."""
    for m in analysis.measured:
        if m.simulated.settings.exchange is not None:
            raise InputError(
                f"--tica needs motions without jumps, and {m.name} jumps where replicas were exchanged: leave it out, "
                "or give runs of 'openmm-nemo simulate'."
            )
    intervals = {m.simulated.settings.report_interval for m in analysis.measured}
    if len(intervals) > 1:
        raise InputError(
            f"--tica needs frames at equal intervals, and those of the runs are {min(intervals)} and {max(intervals)} "
            "steps: give runs with the same --report-interval."
        )
    found = slow_motions([m.x[m.equilibrated] for m in analysis.measured], lag)
    rows = [
        (m.name, step, *point)
        for m, points in zip(analysis.measured, found.components, strict=True)
        for step, point in zip(
            m.simulated.step[m.equilibrated].tolist(), points.tolist(), strict=True
        )
    ]
    names = [f"component_{k}" for k in range(1, found.components[0].shape[1] + 1)]
    analysis.tables["tica"] = (("trajectory", "step", *names), rows)
    picture = figures.slowest_motions(analysis.measured, found, lag, intervals.pop())
    analysis.pictures.append(picture)


def _write(analysis: Analysis, out: Path, native: np.ndarray | None) -> None:
    """Write all files; those that an earlier analysis wrote and this one has not are removed."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            path = out / f"{name}.csv"
            if name in analysis.tables:
                write_table(path, *analysis.tables[name])
            else:
                path.unlink(missing_ok=True)
        drawn = {picture.name: picture for picture in analysis.pictures}
        for name in PICTURES:
            drawn.get(name, Picture(name, "", "")).write(out)
        write_report(
            out / REPORT_FILE,
            analysis.measured,
            analysis.tables["averages"],
            analysis.pictures,
            analysis.notes,
            native,
        )
    except OSError as error:
        raise InputError(
            f"{error.filename or out} cannot be written ({error.strerror}): choose another --out."
        ) from None

"""From simulations in folders to the outcome of a check of their ensemble: ``openmm-nemo check-ensemble``."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from openmm_nemo.analysis.ensemble_check import MIN_SAMPLES, EnsembleCheck, check_ensemble
from openmm_nemo.analysis.figures import energy_histograms, energy_ratios
from openmm_nemo.analysis.trajectories import independent_samples
from openmm_nemo.errors import InputError
from openmm_nemo.files import write_table
from openmm_nemo.runs.reading import SimulatedTrajectory

TABLE_FILE = "ensemble.csv"


def check_simulations(
    simulated: Sequence[SimulatedTrajectory], out: Path, skip: int | None = None
) -> list[EnsembleCheck]:
    """Check each temperature of simulations against the next one.

    Parameters
    ----------
    simulated : sequence of SimulatedTrajectory
        See `openmm_nemo.analysis.trajectories.read_simulations`; at two temperatures or more.
    out : Path
        Folder, made if it does not exist. Writes ensemble.csv, energies.png and ratios.png.
    skip : int, optional
        Frames of each trajectory to leave out. Default: those before equilibration.

    Returns
    -------
    list of EnsembleCheck
        From the lowest temperatures to the highest.

    Raises
    ------
    InputError
        If a simulation was annealed, there is only one temperature, there are too few independent frames, energies do
        not overlap, or the folder cannot be written.
    """
    by_temperature: dict[float, list[np.ndarray]] = {}
    for trajectory in simulated:
        frames = independent_samples(trajectory, [trajectory.energy], skip)
        by_temperature.setdefault(trajectory.temperature, []).append(trajectory.energy[frames])
    energies = {t: np.concatenate(by_temperature[t]) for t in by_temperature}
    if len(energies) < 2:
        (only,) = energies
        raise InputError(
            f"A check needs two temperatures, and {simulated[0].folder} has only {only:g} K: give runs at two that are "
            "close."
        )
    for t, energy in energies.items():
        if len(energy) < MIN_SAMPLES:
            raise InputError(
                f"A check needs {MIN_SAMPLES} independent frames at each temperature, and there are {len(energy)} at "
                f"{t:g} K: simulate longer, or with a smaller --report-interval."
            )
    checks = [
        check_ensemble(energies[low], energies[high], (low, high))
        for low, high in pairwise(energies)
    ]
    pictures = [energy_histograms(energies), energy_ratios(energies, checks)]
    columns = (
        *("low_k", "high_k", "samples_low", "samples_high", "slope_mol_kj", "slope_error_mol_kj"),
        *("expected_slope_mol_kj", "deviation_in_errors", "consistent"),
    )
    rows = [(*check[:6], check.expected, check.deviation, check.consistent) for check in checks]
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_table(out / TABLE_FILE, columns, rows)
        for picture in pictures:
            picture.write(out)
    except OSError as error:
        raise InputError(
            f"{error.filename or out} cannot be written ({error.strerror}): choose another --out."
        ) from None
    return checks

"""Simulations of one protein and the measures of their frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from openmm_nemo.analysis.independence import independent_frames
from openmm_nemo.analysis.measures import native_contacts, secondary_structure
from openmm_nemo.errors import InputError
from openmm_nemo.geometry import rmsd
from openmm_nemo.geometry.similarity import radius_of_gyration
from openmm_nemo.runs.reading import SimulatedTrajectory, read_simulation


@dataclass(frozen=True, eq=False)
class MeasuredTrajectory:
    """A trajectory and the measures of its F frames.

    Attributes
    ----------
    simulated : SimulatedTrajectory
    x : ndarray, shape (F, L, 3)
        C-alpha positions, Angstrom.
    structure : ndarray, shape (F, L), str
        Secondary structure, see `secondary_structure`.
    values : dict of str to ndarray, shape (F,)
        Measures by the name of their column.
    samples : ndarray of int
        Independent frames, see `independent_frames`.
    """

    simulated: SimulatedTrajectory
    x: np.ndarray
    structure: np.ndarray
    values: dict[str, np.ndarray]
    samples: np.ndarray

    @property
    def name(self) -> str:
        """Folder."""
        return str(self.simulated.folder)

    @property
    def temperatures(self) -> str:
        """Temperature, in words."""
        return self.simulated.temperatures

    @property
    def equilibrated(self) -> slice:
        """Frames after equilibration."""
        return slice(self.samples[0], None)


def read_simulations(paths: Sequence[Path]) -> list[SimulatedTrajectory]:
    """All trajectories of simulations of one protein with one model, from the lowest temperature to the highest.

    Raises
    ------
    InputError
        If a folder occurs twice, or the protein or the model differs.
    """
    folders = [path.resolve() for path in paths]
    found: list[SimulatedTrajectory] = []
    for path, folder in zip(paths, folders, strict=True):
        if folders.count(folder) > 1:
            raise InputError(f"{path} is given twice: give each run once.")
        found += read_simulation(path)
        first, last = found[0], found[-1]
        if last.sequence != first.sequence:
            raise InputError(
                f"{path} simulates another protein than {paths[0]}: give runs of the same sequence."
            )
        if last.model_fingerprint != first.model_fingerprint:
            raise InputError(
                f"{path} was simulated with another model or other input than {paths[0]}: give runs of the same energy."
            )
    return sorted(found, key=lambda s: s.settings.replica_temperatures[s.replica])


def independent_samples(
    simulated: SimulatedTrajectory, values: Sequence[np.ndarray], skip: int | None
) -> np.ndarray:
    """Independent frames of a trajectory, see `independent_frames`.

    Raises
    ------
    InputError
        If ``skip`` leaves no frame, or an energy is not finite.
    """
    n = len(simulated.step)
    if skip is not None and skip >= n:
        raise InputError(
            f"--skip {skip} leaves no frame of {simulated.folder}, which has {n}: give a smaller number."
        )
    if not all(np.isfinite(series).all() for series in values):
        raise InputError(
            f"{simulated.folder} has energies or positions that are not finite: start a new run."
        )
    return independent_frames(*values, skip=skip)


def measure(
    simulated: SimulatedTrajectory, native: np.ndarray | None, skip: int | None
) -> MeasuredTrajectory:
    """Read and measure the frames of a trajectory.

    Parameters
    ----------
    simulated : SimulatedTrajectory
    native : ndarray, shape (L, 3), optional
        C-alpha positions to compare with, Angstrom.
    skip : int, optional
        Frames to leave out at the beginning. Default: those before equilibration.

    Raises
    ------
    InputError
        If files cannot be read, or as for `independent_samples`.
    """
    x = simulated.coarse()
    points = torch.from_numpy(x).double()
    values = {
        "energy_kj_mol": simulated.energy,
        "radius_of_gyration_angstrom": radius_of_gyration(points).numpy(),
    }
    if native is not None:
        target = torch.from_numpy(np.asarray(native, dtype=float))
        values["rmsd_angstrom"] = rmsd(points, target).numpy()
        q = native_contacts(x, native)
        if np.isfinite(q).all():
            values["native_contacts"] = q
    samples = independent_samples(simulated, list(values.values()), skip)
    structure = secondary_structure(simulated.atoms())
    for name, code in (("helix", "H"), ("strand", "E")):
        values[name] = (structure == code).mean(1)
    return MeasuredTrajectory(simulated, x, structure, values, samples)

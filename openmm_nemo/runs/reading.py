"""What a simulation has written, for those who analyse it."""

from dataclasses import dataclass
from pathlib import Path

import mdtraj as md
import numpy as np

from openmm_nemo.engine.trajectory import atom_topology, coarse_topology, read_trajectory
from openmm_nemo.engine.units import ANGSTROM_PER_NM
from openmm_nemo.errors import InputError
from openmm_nemo.files import partial_of
from openmm_nemo.residues import Numbering
from openmm_nemo.runs.folder import RunFolder
from openmm_nemo.runs.plots import read_table
from openmm_nemo.runs.series import SERIES
from openmm_nemo.runs.settings import (
    SIMULATION,
    STATE_FILE,
    SimulationRecord,
    SimulationSettings,
    in_kelvin,
)


@dataclass(frozen=True, eq=False)
class SimulatedTrajectory:
    """The frames of a simulation, or of one of its replicas.

    Attributes
    ----------
    folder : Path
        Where its files are.
    settings : SimulationSettings
    model_fingerprint : str
        Digest of the model and its input.
    replica : int
        Its number within the simulation, from 0.
    step : ndarray, shape (F,)
    energy : ndarray, shape (F,)
        Potential energy, kJ/mol.
    """

    folder: Path
    settings: SimulationSettings
    model_fingerprint: str
    replica: int
    step: np.ndarray
    energy: np.ndarray

    @property
    def sequence(self) -> str:
        """Sequence of the protein; of a complex, with colons between chains."""
        return self.settings.sequence

    @property
    def numbering(self) -> Numbering:
        """Names of the chains and their residues."""
        return self.settings.numbering

    @property
    def temperature(self) -> float:
        """Temperature, kelvin.

        Raises
        ------
        InputError
            If the simulation was annealed.
        """
        if self.settings.schedule is not None:
            raise InputError(
                f"{self.folder} was annealed, from {self.settings.temperatures}, so that its frames have no common "
                "temperature: simulate with --no-anneal."
            )
        return self.settings.replica_temperatures[self.replica]

    @property
    def temperatures(self) -> str:
        """Temperature, or those of an annealed simulation, in words."""
        if self.settings.schedule is not None:
            return self.settings.temperatures
        return in_kelvin([self.temperature])

    def coarse(self) -> np.ndarray:
        """C-alpha positions (F, L, 3), Angstrom."""
        topology = coarse_topology("".join(self.settings.chains), self.numbering)
        frames = read_trajectory(self.folder / self.settings.trajectory, topology, len(self.step))
        x: np.ndarray = frames.xyz * ANGSTROM_PER_NM
        return x

    def atoms(self) -> md.Trajectory:
        """Atoms N, CA, C, O and the side chain's centre, if it was written, of all frames."""
        s = self.settings
        topology = atom_topology("".join(s.chains), self.numbering, s.side_chain_bead)
        return read_trajectory(self.folder / s.atoms, topology, len(self.step))


def read_simulation(path: Path) -> list[SimulatedTrajectory]:
    """Read the tables of a simulation; its trajectories are read when they are asked for.

    Parameters
    ----------
    path : Path
        Folder written by `SimulationRun`.

    Returns
    -------
    list of SimulatedTrajectory
        One per replica.

    Raises
    ------
    InputError
        If there is no simulation in the folder, it has not ended, or its files cannot be read.
    """
    folder = RunFolder(path, SIMULATION)
    if not folder.holds_run:
        if RunFolder(path, SERIES).holds_run:
            raise InputError(
                f"{path} holds simulations of several proteins: give the folder of one, within it."
            )
        whole = path.resolve().parent
        if (path / STATE_FILE).exists() and RunFolder(whole, SIMULATION).holds_run:
            raise InputError(f"{path} is one replica of a simulation: give the folder {whole}.")
        raise InputError(
            f"{path} holds no simulation: give a folder that 'openmm-nemo simulate' or 'exchange' wrote."
        )
    record = folder.read_record(SimulationRecord.parse)
    names = record.settings.replica_folders or ["."]
    return [_read_replica(path / name, record, replica) for replica, name in enumerate(names)]


def _read_replica(folder: Path, record: SimulationRecord, replica: int) -> SimulatedTrajectory:
    path = folder / STATE_FILE
    if not path.exists() or partial_of(path).exists():
        raise InputError(
            f"{folder} holds a simulation that is running or was killed: wait for it, or continue it with --resume."
        )
    try:
        table = read_table(path)
        step, energy = table["step"].astype(int), table["energy_kj_mol"]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path} cannot be read ({error}): start a new run.") from None
    fingerprint = record.model_fingerprint
    return SimulatedTrajectory(folder, record.settings, fingerprint, replica, step, energy)

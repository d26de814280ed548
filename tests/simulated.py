"""Folders as `openmm-nemo simulate` writes them, of trajectories that are made up."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from openmm_nemo.engine.trajectory import TrajectoryWriter, atom_topology, coarse_topology
from openmm_nemo.engine.units import KT_MODEL
from openmm_nemo.files import write_table
from openmm_nemo.runs.folder import RunFolder
from openmm_nemo.runs.settings import SIMULATION, SimulationSettings

SEQUENCE = "NLYIQWLKDGGPSSGRPPPS"


def write_simulation(
    folder: Path,
    replicas: Sequence[tuple[np.ndarray, np.ndarray]],
    temperature: float = 300.0,
    fingerprint: str = "a model",
    sequence: str = SEQUENCE,
    **settings: Any,
) -> Path:
    """Write a run.

    Parameters
    ----------
    folder : Path
    replicas : sequence of (x, energy)
        C-alpha positions (F, L, 3), Angstrom, and energies (F,), kJ/mol, of each replica. The other atoms are near.
    temperature, fingerprint, sequence, **settings
        For its record.
    """
    s = SimulationSettings(
        sequence,
        "nemo-tiny",
        1,
        side_chain_bead=False,
        temperature=temperature,
        replicas=len(replicas),
        **settings,
    )
    folder.mkdir()
    for name, (x, energy) in zip(s.replica_folders or ["."], replicas, strict=True):
        (folder / name).mkdir(exist_ok=True)
        atoms = x[:, :, None] + np.array([[-1.2, 0.8, 0], [0, 0, 0], [1.2, 0.9, 0], [1.3, 2, 0]])
        step = s.report_interval * np.arange(len(x))
        for path, topology, frames in (
            (folder / name / s.trajectory, coarse_topology(sequence), x),
            (folder / name / s.atoms, atom_topology(sequence, None, False), atoms),
        ):
            with closing(TrajectoryWriter(path, topology)) as writer:
                for frame, number in zip(frames, step, strict=True):
                    writer.write(frame.reshape(-1, 3) / 10, number)
        rows = zip(step.tolist(), (energy / KT_MODEL).tolist(), energy.tolist(), strict=True)
        write_table(folder / name / "state.csv", ("step", "u_kt", "energy_kj_mol"), rows)
    record = {"model_fingerprint": fingerprint, "integrator": "it", "settings": asdict(s)}
    RunFolder(folder, SIMULATION).write_record(record)
    return folder

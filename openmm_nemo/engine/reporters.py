"""OpenMM reporters whose output is meaningful for coarse-grained, overdamped dynamics."""

import csv
import os
import weakref
from collections.abc import Sequence
from itertools import combinations, islice
from pathlib import Path
from time import perf_counter
from typing import Any

import mdtraj as md
import numpy as np
import openmm as mm
import torch
from openmm import app, unit

from openmm_nemo.engine.forces import replica_energy
from openmm_nemo.engine.integrator import LangevinInterface
from openmm_nemo.engine.protein import Protein
from openmm_nemo.engine.system import NemoTopology
from openmm_nemo.engine.trajectory import (
    TrajectoryWriter,
    atom_topology,
    check_format,
    coarse_topology,
)
from openmm_nemo.engine.units import ANGSTROM_PER_NM, KT_MODEL, value_in
from openmm_nemo.errors import InputError
from openmm_nemo.geometry import rmsd
from openmm_nemo.geometry.similarity import radius_of_gyration, tm_score

CONTACT_DISTANCE = 8.0
"""Of C-alphas, Angstrom."""


class _Reporter:
    """Base class of the reporters: the interval, the protein and its particles.

    Parameters
    ----------
    reportInterval : int
        Steps between reports.
    protein : ConditionedModel, optional
        Default: the protein of the simulation's topology, if that is ``protein.topology``.
    particles : sequence of int, optional
        Indices of the particles that are its residues, in order. Default: all.
    replica : int, optional
        For the system of `create_system` with replicas: the one to report, counted from 0. Instead of ``particles``.
    """

    def __init__(
        self,
        reportInterval: int,
        protein: Protein | None = None,
        particles: Sequence[int] | None = None,
        replica: int | None = None,
    ):
        if reportInterval < 1:
            raise ValueError(f"The report interval is {reportInterval}: it must be 1 or more.")
        if particles is not None and replica is not None:
            raise ValueError("Give the reporter particles or a replica, not both.")
        self._interval = reportInterval
        self._protein = protein
        self._particles = None if particles is None else list(particles)
        self._replica = replica

    def describeNextReport(self, simulation: app.Simulation) -> dict[str, Any]:
        """When the next report is due and what it needs."""
        steps = self._interval - simulation.currentStep % self._interval
        return {"steps": steps, "periodic": False, "include": ["positions", "energy"]}

    def protein_of(self, simulation: app.Simulation) -> Protein:
        """The simulated protein."""
        if self._protein is None:
            if not isinstance(simulation.topology, NemoTopology):
                raise ValueError(
                    "The simulation's topology is not that of a NEMO protein: give the reporter the protein."
                )
            self._protein = simulation.topology.protein
        return self._protein

    def positions_of(self, simulation: app.Simulation, state: mm.State) -> np.ndarray:
        """Positions of the residues (L, 3), nm."""
        positions = state.getPositions(asNumpy=True)._value
        if self._replica is None:
            return positions if self._particles is None else positions[self._particles]
        n = len(self.protein_of(simulation).sequence)
        if not 0 <= self._replica < len(positions) // n:
            raise ValueError(
                f"The reporter is for replica {self._replica}, but the simulation has {len(positions) // n} replicas, "
                "counted from 0."
            )
        return positions[self._replica * n : (self._replica + 1) * n]


class NemoTrajectoryReporter(_Reporter):
    """Writes the C-alpha trace of a protein to a trajectory file.

    Parameters
    ----------
    file : path
        The extension determines the format: .dcd, .xtc, .h5 or .pdb. Every frame is on disk as soon as it is reported.
    reportInterval : int
        Steps between frames.
    protein : ConditionedModel, optional
        Default: the protein of the simulation's topology, if that is ``protein.topology``.
    particles : sequence of int, optional
        Indices of the particles that are its residues, in order. Default: all.
    replica : int, optional
        For the system of `create_system` with replicas: the one to report, counted from 0. Instead of ``particles``.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        reportInterval: int,
        protein: Protein | None = None,
        particles: Sequence[int] | None = None,
        replica: int | None = None,
    ):
        super().__init__(reportInterval, protein, particles, replica)
        self._path = Path(file)
        check_format(self._path)
        self._writer: TrajectoryWriter | None = None

    def open(self, protein: Protein) -> TrajectoryWriter:
        """Create the file, unless that has been done; otherwise the first report does it."""
        if self._writer is None:
            codes = protein.numbering.insertion_codes
            self._writer = TrajectoryWriter(self._path, self.topology(protein), codes)
            # Also when the reporter is deleted, and at exit: a trajectory file is always completed.
            weakref.finalize(self, self._writer.close)
        return self._writer

    def report(self, simulation: app.Simulation, state: mm.State) -> None:
        """Write a frame."""
        protein = self.protein_of(simulation)
        writer = self.open(protein)
        writer.write(
            self.frame(protein, self.positions_of(simulation, state)), simulation.currentStep
        )
        writer.flush()

    def close(self) -> None:
        """Complete the file."""
        if self._writer is not None:
            self._writer.close()

    def topology(self, protein: Protein) -> md.Topology:
        """Topology of the frames."""
        return coarse_topology(protein.sequence, protein.numbering)

    def frame(self, protein: Protein, positions_nm: np.ndarray) -> np.ndarray:
        """Positions to write for the residues at ``positions_nm (L, 3)``."""
        return positions_nm


class NemoAtomReporter(NemoTrajectoryReporter):
    """Writes the imputed atoms N, CA, C, O and the side chain's centre (CEN) of every residue to a trajectory file.

    Parameters
    ----------
    file, reportInterval, protein, particles
        As for `NemoTrajectoryReporter`.
    side_chain_bead : bool
        Whether to write the side chain's centre.
    replica : int, optional
        As for `NemoTrajectoryReporter`.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        reportInterval: int,
        protein: Protein | None = None,
        particles: Sequence[int] | None = None,
        side_chain_bead: bool = True,
        replica: int | None = None,
    ):
        super().__init__(file, reportInterval, protein, particles, replica)
        self._side_chain_bead = side_chain_bead

    def topology(self, protein: Protein) -> md.Topology:
        """Topology of the frames."""
        return atom_topology(protein.sequence, protein.numbering, self._side_chain_bead)

    def frame(self, protein: Protein, positions_nm: np.ndarray) -> np.ndarray:
        """Imputed atoms (5 L, 3), or (4 L, 3) without the side chain's centre, nm."""
        positions = torch.from_numpy(positions_nm)
        with torch.no_grad():
            atoms = protein.impute(positions.to(protein.s.dtype) * ANGSTROM_PER_NM)
        if not self._side_chain_bead:
            atoms = atoms[:, :-1]
        return atoms.flatten(0, 1).to(positions.dtype).numpy() / ANGSTROM_PER_NM


class NemoStateReporter(_Reporter):
    """Writes what is meaningful in overdamped dynamics of a chain as CSV: no fake temperature, no ns/day.

    Columns: step, u_kt (potential energy in kT at 300 K), energy_kj_mol, radius_of_gyration_angstrom,
    largest_displacement_angstrom (of the last step), clipped_fraction, accepted_cartesian_fraction and
    accepted_internal_fraction (of all steps so far; with an integrator other than `NemoLangevinIntegrator`, these four
    are nan), steps_per_second (since the previous line) and, with a reference, rmsd_angstrom and tm_score. If
    ``protein`` is a complex: contacts_between_chains, the number of pairs of residues of different chains with less
    than 8 Angstrom between their C-alphas.

    Parameters
    ----------
    file : path
        Every line is on disk as soon as it is reported. An existing file is replaced.
    reportInterval : int
        Steps between lines.
    protein, particles
        As for `NemoTrajectoryReporter`.
    reference : Quantity or ndarray, shape (L, 3), optional
        C-alpha positions to compare with, nm.
    speed : bool
        Write steps_per_second, the only column that differs between identical runs.
    replica : int, optional
        As for `NemoTrajectoryReporter`. Energies are those of this replica; columns about steps are for all replicas.
    """

    COLUMNS = (
        "step",
        "u_kt",
        "energy_kj_mol",
        "radius_of_gyration_angstrom",
        "largest_displacement_angstrom",
        "clipped_fraction",
        "accepted_cartesian_fraction",
        "accepted_internal_fraction",
    )
    SPEED_COLUMN = "steps_per_second"
    COMPLEX_COLUMN = "contacts_between_chains"
    REFERENCE_COLUMNS = ("rmsd_angstrom", "tm_score")

    def __init__(
        self,
        file: str | os.PathLike[str],
        reportInterval: int,
        protein: Protein | None = None,
        particles: Sequence[int] | None = None,
        reference: Any = None,
        speed: bool = True,
        replica: int | None = None,
    ):
        super().__init__(reportInterval, protein, particles, replica)
        self._reference = None
        self._speed = speed
        self._last = float("nan"), 0  # time and step of the previous line
        columns: tuple[str, ...] = self.COLUMNS
        if speed:
            columns += (self.SPEED_COLUMN,)
        self._is_complex = protein is not None and len(protein.chain_lengths) > 1
        if self._is_complex:
            columns += (self.COMPLEX_COLUMN,)
        if reference is not None:
            native = value_in(reference, unit.nanometer)
            self._reference = torch.from_numpy(np.array(native, dtype=float))
            columns += self.REFERENCE_COLUMNS
        self._out = open(file, "w", newline="")  # noqa: SIM115 (closed by close)
        self._csv = csv.writer(self._out, lineterminator="\n")
        self._csv.writerow(columns)
        self._n_columns = len(columns)

    def row(self, simulation: app.Simulation, state: mm.State) -> list[float]:
        """Values of the columns for a state."""
        energy = state.getPotentialEnergy()._value
        if self._replica is not None:
            energy = replica_energy(simulation.context, self._replica)
        positions = self.positions_of(simulation, state)
        x = torch.from_numpy(positions) * ANGSTROM_PER_NM
        moved = clipped = float("nan")
        accepted = (float("nan"),) * 2
        integrator = simulation.integrator
        if isinstance(integrator, LangevinInterface):
            moved = integrator.getLargestDisplacement()._value
            clipped = integrator.getNumClippedSteps() / max(integrator.getNumSteps(), 1)
            accepted = integrator.getAcceptanceRates()
        row = [
            simulation.currentStep,
            energy / KT_MODEL,
            energy,
            float(radius_of_gyration(x)),
            moved * ANGSTROM_PER_NM,
            clipped,
            *accepted,
        ]
        if self._speed:
            time, step = self._last
            self._last = perf_counter(), simulation.currentStep
            row.append((simulation.currentStep - step) / (self._last[0] - time))
        if self._is_complex:
            row.append(_contacts_between(x, self.protein_of(simulation).chain_lengths))
        if self._reference is not None:
            native = self._reference * ANGSTROM_PER_NM
            row += [float(rmsd(x, native)), tm_score(x, native)]
        return row

    def report(self, simulation: app.Simulation, state: mm.State) -> None:
        """Write a line."""
        row = self.row(simulation, state)
        self._csv.writerow([row[0], *(f"{value:.6g}" for value in row[1:])])
        self._out.flush()

    def take_over(self, earlier: Path, n_lines: int) -> None:
        """Append the first ``n_lines`` lines of an earlier file.

        Raises
        ------
        InputError
            If the file cannot be read or has fewer lines.
        """
        rows, _ = earlier_lines(earlier, n_lines, self._n_columns)
        self._csv.writerows(rows)
        self._out.flush()

    def close(self) -> None:
        """Close the file."""
        self._out.close()


def _contacts_between(x: torch.Tensor, chain_lengths: Sequence[int]) -> int:
    """Number of pairs of points (L, 3) of different chains that are in contact."""
    chains = x.split(list(chain_lengths))
    return sum(
        int((torch.cdist(first, second) < CONTACT_DISTANCE).sum())
        for first, second in combinations(chains, 2)
    )


def earlier_lines(path: Path, n_lines: int, n_columns: int) -> tuple[list[list[str]], np.ndarray]:
    """The first lines of a table of numbers, after its header, as text and as numbers (n_lines, n_columns).

    Raises
    ------
    InputError
        If the file cannot be read, has fewer lines, or something in them is not a number.
    """
    try:
        with open(path, newline="") as file:
            rows = list(islice(csv.reader(file), 1, n_lines + 1))
        return rows, np.array(rows, dtype=float).reshape(n_lines, n_columns)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read or lacks lines ({error}): start a new run."
        ) from None

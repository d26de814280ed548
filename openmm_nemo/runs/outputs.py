"""The files of a simulation: those that grow while it runs, and those written at its end."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import numpy as np
from openmm import app, unit

from openmm_nemo.engine.all_atoms import all_atom_model
from openmm_nemo.engine.pdb import write_pdb
from openmm_nemo.engine.reporters import (
    NemoAtomReporter,
    NemoStateReporter,
    NemoTrajectoryReporter,
)
from openmm_nemo.engine.units import ANGSTROM_PER_NM
from openmm_nemo.files import completing, partial_of
from openmm_nemo.models import ConditionedModel
from openmm_nemo.runs.plots import plot_simulation
from openmm_nemo.runs.settings import (
    ALL_ATOM_FILE,
    FINAL_FILES,
    PLOT_FILE,
    STATE_FILE,
    SimulationSettings,
)


class SimulationOutputs:
    """Trajectories, table, final structures and plot of a simulation, or of one of its replicas.

    Parameters
    ----------
    folder : Path
        Made when the files are opened.
    settings : SimulationSettings
    protein : ConditionedModel
    replica : int, optional
        In a simulation of several.
    """

    def __init__(
        self,
        folder: Path,
        settings: SimulationSettings,
        protein: ConditionedModel,
        replica: int | None = None,
    ):
        self.folder = folder
        self.replica = replica
        self.settings = settings
        self.protein = protein
        names = (settings.trajectory, settings.atoms, STATE_FILE)
        self._files = [GrowingFile(folder / name) for name in names]

    @contextmanager
    def open(self, simulation: app.Simulation) -> Iterator[None]:
        """Open trajectories and table, with everything from the steps so far, and let the simulation write to them."""
        s = self.settings
        self.folder.mkdir(exist_ok=True)
        coarse, atoms, table = self._files
        reference = None if s.reference is None else np.array(s.reference) / ANGSTROM_PER_NM
        with ExitStack() as at_end:
            for file in self._files:
                at_end.callback(file.new.unlink, missing_ok=True)
            self._trajectories = [
                NemoTrajectoryReporter(coarse.new, s.report_interval, replica=self.replica),
                NemoAtomReporter(
                    atoms.new,
                    s.report_interval,
                    side_chain_bead=s.side_chain_bead,
                    replica=self.replica,
                ),
            ]
            state_table = NemoStateReporter(
                table.new,
                s.report_interval,
                self.protein,
                reference=reference,
                speed=False,
                replica=self.replica,
            )
            self._reporters: list[NemoTrajectoryReporter | NemoStateReporter] = [
                *self._trajectories,
                state_table,
            ]
            for reporter in self._reporters:
                at_end.enter_context(closing(reporter))
            simulation.reporters.extend(self._reporters)
            if simulation.currentStep > 0:
                n_frames = simulation.currentStep // s.report_interval + 1
                for file, trajectory in zip((coarse, atoms), self._trajectories, strict=True):
                    trajectory.open(self.protein).take_over(file.earlier(), n_frames)
                state_table.take_over(table.earlier(), n_frames)
            else:
                state = simulation.context.getState(positions=True, energy=True)
                for reporter in self._reporters:
                    reporter.report(simulation, state)
            # Not earlier: some formats create their file with the first frame.
            for file in self._files:
                file.begin()
            yield

    def complete(self, positions_nm: np.ndarray, title: str) -> None:
        """Close the open files, give them their final names, and write the final structures and the plot.

        Parameters
        ----------
        positions_nm : ndarray, shape (N, 3)
            Last positions of all particles, nm.
        title : str
            Title of the plot.
        """
        if self.replica is not None:
            positions_nm = positions_nm.reshape(self.settings.replicas, -1, 3)[self.replica]
            title += f", replica {self.replica}"
            if self.settings.exchange is not None:
                title += f" at {self.settings.replica_temperatures[self.replica]:g} K"
        for reporter in self._reporters:
            reporter.close()
        for file in self._files:
            file.complete()
        for reporter, name in zip(self._trajectories, FINAL_FILES, strict=True):
            frame = reporter.frame(self.protein, positions_nm)
            with completing(self.folder / name) as partial:
                codes = self.protein.numbering.insertion_codes
                write_pdb(partial, frame, reporter.topology(self.protein), codes)
        reference = self.settings.reference
        with completing(self.folder / PLOT_FILE) as partial:
            plot_simulation(
                self.folder / STATE_FILE,
                partial,
                title=title,
                x=positions_nm * ANGSTROM_PER_NM,
                reference=None if reference is None else np.array(reference),
                chains={
                    chain.chain: len(chain.residue_ids) for chain in self.protein.numbering.chains
                },
            )

    def write_all_atom_model(
        self, positions_nm: np.ndarray, progress: Callable[[int], None]
    ) -> None:
        """Write the all-atom model of a frame of ``positions_nm (L, 3)``, see `all_atom_model`."""
        imputed = NemoAtomReporter(ALL_ATOM_FILE, 1).frame(self.protein, positions_nm)
        atoms = imputed.reshape(len(positions_nm), -1, 3)
        topology, positions = all_atom_model(
            self.protein.sequence, atoms, self.protein.numbering, progress
        )
        with (
            completing(self.folder / ALL_ATOM_FILE) as partial,
            partial.open("w", encoding="ascii") as file,
        ):
            app.PDBFile.writeFile(topology, positions * unit.nanometer, file, keepIds=True)


class GrowingFile:
    """A file that grows during a run as NAME.partial.EXT and gets its name when the run ends.

    Parameters
    ----------
    path : Path
        Its name in the end. A run that is resumed writes ``new`` first, with everything from the earlier file.
    """

    def __init__(self, path: Path):
        self.path = path
        self.partial = partial_of(path)
        self.new = path.with_name(f"{path.stem}.new{path.suffix}")

    def earlier(self) -> Path:
        """File of an interrupted run: partial if the run was killed, complete otherwise."""
        return self.partial if self.partial.exists() else self.path

    def begin(self) -> None:
        """Replace the partial file by the new one, once it has everything from the earlier one."""
        os.replace(self.new, self.partial)

    def complete(self) -> None:
        """Give it its name."""
        os.replace(self.partial, self.path)

"""A simulation in a folder, which can be interrupted and resumed."""

import hashlib
import math
import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import openmm as mm
from openmm import app

from openmm_nemo.engine.forces import choose_backend
from openmm_nemo.engine.platforms import preferred_platforms
from openmm_nemo.engine.torchscript import torchforce_platform_problems
from openmm_nemo.engine.units import ANGSTROM_PER_NM
from openmm_nemo.errors import InputError
from openmm_nemo.models import ConditionedModel, NemoModel
from openmm_nemo.plugin import platform_names, plugin_problem
from openmm_nemo.runs.chain_moves import ChainMoveOutputs
from openmm_nemo.runs.exchange import ExchangeOutputs
from openmm_nemo.runs.folder import START_ANEW, RunFolder
from openmm_nemo.runs.interruption import deferred_interrupts
from openmm_nemo.runs.outputs import SimulationOutputs
from openmm_nemo.runs.settings import (
    ALL_ATOM_FILE,
    CHAIN_MOVES_FILE,
    CHECKPOINT_FILE,
    EXCHANGE_FILE,
    EXCHANGE_PLOT_FILE,
    FINAL_FILES,
    PLOT_FILE,
    SIMULATION,
    STATE_FILE,
    SUMMARY_FILE,
    XML_FILES,
    SimulationRecord,
    SimulationSettings,
)

CHECKPOINT_SECONDS = 10.0

BLOCK_SECONDS = 0.2
"""Duration of a block of steps, after which progress is shown and Ctrl-C takes effect."""


class SimulationRun:
    """A simulation in a folder: settings, trajectories, table, checkpoint and plot.

    As a context manager, it releases the folder at the end; until then, no other run can use it.

    Parameters
    ----------
    path : Path
        The folder, made if it does not exist.
    settings : SimulationSettings, optional
        Settings of a new run. Default: resume the run in the folder.

    Raises
    ------
    InputError
        If the folder is in use by another run, cannot be written, already holds a run, or holds none to resume; if the
        model has changed since the start, or the platform or integrator of the run is not available here.
    """

    settings: SimulationSettings
    model: NemoModel
    protein: ConditionedModel
    simulation: app.Simulation

    def __init__(self, path: Path, settings: SimulationSettings | None = None):
        self.folder = RunFolder(path, SIMULATION)
        if settings is None:
            self.folder.check_resumable()
        with ExitStack() as at_end:
            at_end.enter_context(self.folder.lock())
            if settings is None:
                self._resume()
            else:
                self._begin(settings)
            folders = self.settings.replica_folders
            self._outputs = [
                SimulationOutputs(path / name, self.settings, self.protein, replica)
                for replica, name in enumerate(folders)
            ] or [SimulationOutputs(path, self.settings, self.protein)]
            # It moves configurations, after the others have reported.
            self._exchange = (
                [] if self.settings.exchange is None else [ExchangeOutputs(path, self.settings)]
            )
            # As these do.
            self._moves = (
                [ChainMoveOutputs(path, self.settings)] if self.settings.chain_moves else []
            )
            self._at_end = at_end.pop_all()

    def __enter__(self) -> "SimulationRun":
        return self

    def __exit__(self, *_: object) -> None:
        self._at_end.close()

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return self.simulation.currentStep

    def run(self, steps: int, progress: Callable[[int], None] = lambda step: None) -> bool:
        """Advance until ``steps`` steps have been taken in total, then complete all files.

        Parameters
        ----------
        steps : int
        progress : callable
            Called with the step number several times per second.

        Returns
        -------
        bool
            False if the user interrupted the run (SIGINT or SIGTERM); its files are complete up to that step.

        Raises
        ------
        InputError
            If the forces are not finite; the files are then complete up to that step. If a file cannot be written; the
            run can then be resumed from its last checkpoint. If the files of a resumed run have changed.
        """
        failure = None
        with (
            self.folder.writing(),
            deferred_interrupts() as interrupts,
            ExitStack() as opened,
        ):
            self.simulation.reporters.clear()
            for outputs in self._outputs:
                opened.enter_context(outputs.open(self.simulation))
            for exchange in self._exchange:
                opened.enter_context(exchange.open(self.simulation))
            for moves in self._moves:
                opened.enter_context(moves.open(self.simulation))
            # It is a model of another frame.
            (self.folder.path / ALL_ATOM_FILE).unlink(missing_ok=True)
            if steps != self.settings.steps:
                self.settings = replace(self.settings, steps=steps)
                self._write_record()
            saved = time.monotonic()
            block = 1
            while self.step < steps and not interrupts.came:
                began = time.monotonic()
                try:
                    self.simulation.step(min(block, steps - self.step))
                except mm.OpenMMException as error:
                    failure = _one_line(error)
                    break
                now = time.monotonic()
                block = _next_block(block, now - began)
                # The last checkpoint is written after all files are complete, so that an unfinished run can be resumed.
                if now - saved > CHECKPOINT_SECONDS and self.step < steps:
                    self._write_checkpoint()
                    saved = now
                progress(self.step)
            complete = self.step >= steps
            failure = failure or self._problem_now()
            if interrupts.again:  # OpenMM turns an exception in a PythonForce into a failure
                raise KeyboardInterrupt
            self._complete_files()
        if failure is not None:
            raise InputError(
                f"{failure} The run stopped; {self.folder.path} keeps what came before. Try another --seed or --start."
            )
        return complete

    @property
    def lacks_all_atom_model(self) -> bool:
        """Whether the all-atom model of the last frame is wanted and has not been written."""
        return self.settings.all_atom and not (self.folder.path / ALL_ATOM_FILE).exists()

    def write_all_atom_model(self, progress: Callable[[int], None] = lambda count: None) -> None:
        """Write the all-atom model of the last frame.

        Parameters
        ----------
        progress : callable
            Called with the number of completed steps, see `openmm_nemo.engine.all_atoms.all_atom_model`.

        Raises
        ------
        InputError
            If the relaxation fails or the file cannot be written.
        """
        state = self.simulation.context.getState(positions=True)
        with self.folder.writing():
            self._outputs[0].write_all_atom_model(state.getPositions(asNumpy=True)._value, progress)

    def _begin(self, settings: SimulationSettings) -> None:
        """Write the files that make a folder a run; the record last, because it marks the folder."""
        outputs = (settings.trajectory, settings.atoms, STATE_FILE, PLOT_FILE)
        files = [*outputs, *FINAL_FILES, ALL_ATOM_FILE, *XML_FILES, *settings.replica_folders]
        if settings.exchange is not None:
            files += [EXCHANGE_FILE, EXCHANGE_PLOT_FILE, SUMMARY_FILE]
        if settings.chain_moves:
            files.append(CHAIN_MOVES_FILE)
        self.folder.check_new(files)
        self._load_model(settings)
        settings = settings.with_schedule(self.protein)
        self.simulation = create_simulation(self.protein, settings)
        platform = self.simulation.context.getPlatform().getName()
        self.settings = replace(settings, platform=platform)
        with self.folder.writing():
            try:
                if settings.write_system:
                    self._write_system()
                self._write_checkpoint()
                self._write_record()
            except (
                BaseException
            ):  # there is no run yet: leave nothing in the way of the next attempt
                for name in (*XML_FILES, CHECKPOINT_FILE):
                    (self.folder.path / name).unlink(missing_ok=True)
                raise

    def _write_system(self) -> None:
        system = self.simulation.system
        if self.settings.backend == "torchforce":
            # Reading it back crashes OpenMM 8.6 with openmmtorch 1.5; a PythonForce is the same to rounding.
            system = self.protein.create_system("python", self.settings.replicas)
        for name, part in zip(XML_FILES, (system, self.simulation.integrator), strict=True):
            self.folder.write(name, mm.XmlSerializer.serialize(part).encode())

    def _resume(self) -> None:
        record = self.folder.read_record(SimulationRecord.parse)
        self.settings = record.settings
        self._load_model(record.settings)
        name = record.settings.model
        self.folder.check_model(record.model_fingerprint, self._fingerprint, name)
        checkpoint = self._read_checkpoint()
        # Records of version 0.1 lack the platform if the user did not choose one.
        platform = record.settings.platform or _platform_of(checkpoint)
        if platform not in (None, *platform_names()):
            raise InputError(
                f"The run in {self.folder.path} was started on the platform {platform}, which is not available here "
                f"(available: {', '.join(platform_names())}): resume where it is available, or {START_ANEW}."
            )
        self.settings = replace(record.settings, platform=platform)
        self.simulation = create_simulation(self.protein, self.settings)
        integrator = type(self.simulation.integrator).__name__
        if record.integrator != integrator:
            raise InputError(
                f"The run in {self.folder.path} was started with the {record.integrator}, but this "
                f"installation has the {integrator}: 'openmm-nemo doctor' says why; "
                f"resume where the run was started, or {START_ANEW}."
            )
        try:
            self.simulation.context.loadCheckpoint(checkpoint)
        except mm.OpenMMException as error:
            raise InputError(
                f"{self.folder.path / CHECKPOINT_FILE} cannot be loaded ({_one_line(error)}): "
                f"resume where the run was started, or {START_ANEW}."
            ) from None

    def _load_model(self, settings: SimulationSettings) -> None:
        self.model, self.protein = load_protein(settings)
        self._fingerprint = _fingerprint(self.model, self.protein)

    def _complete_files(self) -> None:
        s = self.settings
        model = Path(s.model).name + ("" if self.model.trained else " (untrained)")
        state = self.simulation.context.getState(positions=True)
        title = f"{s.residues_in_words}, {model}, {s.temperatures}, seed {s.seed}"
        for outputs in self._outputs:
            outputs.complete(state.getPositions(asNumpy=True)._value, title)
        for exchange in self._exchange:
            exchange.complete(title)
        for moves in self._moves:
            moves.complete()
        self._write_checkpoint()

    def _problem_now(self) -> str | None:
        """Problem with the energy of the last state, which no further step would notice."""
        try:
            energy = self.simulation.context.getState(energy=True).getPotentialEnergy()._value
        except mm.OpenMMException as error:
            return _one_line(error)
        return None if math.isfinite(energy) else f"The energy is not finite at step {self.step}."

    def _write_record(self) -> None:
        values: dict[str, Any] = {
            "model_fingerprint": self._fingerprint,
            "integrator": type(self.simulation.integrator).__name__,
            "settings": asdict(self.settings),
        }
        self.folder.write_record(values)

    def _write_checkpoint(self) -> None:
        state = self.simulation.context.createCheckpoint()
        self.folder.write(CHECKPOINT_FILE, state + hashlib.sha256(state).digest())

    def _read_checkpoint(self) -> bytes:
        path = self.folder.path / CHECKPOINT_FILE
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): {START_ANEW}.") from None
        # OpenMM ignores what follows, and does not notice if a checkpoint is cut short or damaged.
        size = hashlib.sha256().digest_size
        state, digest = content[:-size], content[-size:]
        if hashlib.sha256(state).digest() != digest:
            raise InputError(f"{path} is damaged: {START_ANEW}.")
        return state


def load_protein(settings: SimulationSettings) -> tuple[NemoModel, ConditionedModel]:
    """The model of a simulation, and the protein in it.

    Raises
    ------
    InputError
        If the model cannot be loaded, or the protein cannot be its input.
    """
    model = NemoModel.from_pretrained(settings.model)
    if settings.precision == "double":
        model.double()
    protein = model.condition(settings.sequence, settings.profile, embedding=settings.embedding)
    if settings.source is not None:
        protein.numbering = settings.source.numbering
    return model, protein


def create_simulation(protein: ConditionedModel, settings: SimulationSettings) -> app.Simulation:
    """OpenMM's simulation of a protein, at its initial positions.

    Raises
    ------
    InputError
        If a platform, backend or option of the settings is not available here.
    """
    s = settings
    known = platform_names()
    if s.platform not in (None, *known):
        raise InputError(
            f"The platform {s.platform!r} is not available here: choose one of {', '.join(known)}."
        )
    if s.metropolis and plugin_problem() is not None:
        raise InputError(
            f"--metropolis needs the compiled integrator, which is not in use because {plugin_problem()}."
        )
    for name in known:
        platform = mm.Platform.getPlatformByName(name)
        if "Precision" in platform.getPropertyNames():
            platform.setPropertyDefaultValue("Precision", s.precision)
    failures = []
    for name in preferred_platforms() if s.platform is None else [s.platform]:
        backend = _backend(s.backend, name, protein)
        try:
            simulation = app.Simulation(
                protein.create_topology(s.replicas),
                protein.create_system(backend, s.replicas),
                protein.create_integrator(
                    seed=s.seed,
                    schedule=s.schedule,
                    replicas=s.replicas,
                    temperatures=s.replica_temperatures,
                    metropolis=s.metropolis,
                ),
                mm.Platform.getPlatformByName(name),
            )
        except mm.OpenMMException as error:
            failures.append(f"{name} ({_one_line(error)})")
            continue
        if s.start is None:
            simulation.context.setPositions(protein.initial_positions(s.seed, s.replicas))
        else:
            start = np.tile(np.array(s.start), (s.replicas, 1))
            simulation.context.setPositions(start / ANGSTROM_PER_NM)
        return simulation
    raise InputError(
        f"OpenMM cannot simulate on {failures[0]}: choose another --platform of {', '.join(known)}."
    )


def _next_block(block: int, seconds: float) -> int:
    """Steps in the next block, after one that took ``seconds``; at most twice as many."""
    return max(1, min(2 * block, int(block * BLOCK_SECONDS / max(seconds, 1e-9))))


def _backend(backend: str, platform: str, protein: ConditionedModel) -> str:
    """Backend to use on a platform."""
    problem = torchforce_platform_problems().get(platform) if backend == "torchforce" else None
    if problem is not None:
        raise InputError(f"{problem}, or give another --platform.")
    try:
        return choose_backend(backend, platform, protein.require_energy())
    except ValueError as error:
        raise InputError(str(error)) from None


def _platform_of(checkpoint: bytes) -> str | None:
    """Name of the platform that wrote a checkpoint: OpenMM writes it after a heading and a version of four bytes."""
    found = re.match(rb"OpenMM Binary Checkpoint\n\0.{4}(\w+)\n", checkpoint, re.DOTALL)
    return found[1].decode() if found else None


def _fingerprint(model: NemoModel, protein: ConditionedModel) -> str:
    """Digest of the weights and the input, but not of values computed from them, which may differ in the last bit."""
    inputs = protein.s.float().cpu().numpy().tobytes()
    return hashlib.sha256(model.fingerprint().encode() + inputs).hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

"""A simulation in a folder: settings, trajectories, table, checkpoint and plot; it can be interrupted and resumed."""

import hashlib
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import mdtraj as md
import numpy as np
import openmm as mm
from openmm import app

from openmm_nemo.engine.forces import choose_backend
from openmm_nemo.engine.reporters import (
    NemoAtomReporter,
    NemoStateReporter,
    NemoTrajectoryReporter,
)
from openmm_nemo.engine.torchscript import torchforce_platform_problems
from openmm_nemo.engine.trajectory import check_format
from openmm_nemo.engine.units import ANGSTROM_PER_NM
from openmm_nemo.errors import InputError
from openmm_nemo.files import completing, json_digest, partial_of
from openmm_nemo.models import ConditionedModel, NemoModel
from openmm_nemo.runs.plots import plot_simulation

SETTINGS_FILE = "run.json"
CHECKPOINT_FILE = "checkpoint.chk"
STATE_FILE = "state.csv"
PLOT_FILE = "state.png"
XML_FILES = ("system.xml", "integrator.xml")
FINAL_FILES = ("final_coarse.pdb", "final_atoms.pdb")
CHECKPOINT_SECONDS = 10.0

FORMAT_VERSION = 2

_ANEW = "start anew with another --out"


@dataclass(frozen=True)
class SimulationSettings:
    """All that decides a simulation; kept in its folder as JSON.

    Attributes
    ----------
    sequence : str
    model : str
        Name or folder of the model.
    seed : int
        From 1 to 2147483647.
    steps : int
        Asked for in all.
    temperature : float
        Kelvin.
    report_interval : int
        Steps between frames and lines of the table.
    trajectory, atoms : str
        File names of the coarse and of the atomic trajectory; the extension chooses the format.
    backend, platform, precision : str
        See `create_force`; an OpenMM platform (None: OpenMM's choice); "single", "mixed" or "double".
    profile, embedding : list, shape (L, 20), (L, K), optional
        For a model with these encoders.
    start : list, shape (L, 3), optional
        Initial C-alpha positions, Angstrom. None: those of z(0).
    reference : list, shape (L, 3), optional
        C-alpha positions to compare with, Angstrom.
    """

    sequence: str
    model: str
    seed: int
    steps: int = 250
    temperature: float = 300.0
    report_interval: int = 10
    trajectory: str = "coarse.dcd"
    atoms: str = "atoms.dcd"
    backend: str = "auto"
    platform: str | None = None
    precision: str = "single"
    profile: list[list[float]] | None = None
    embedding: list[list[float]] | None = None
    start: list[list[float]] | None = None
    reference: list[list[float]] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise InputError(
                f"The temperature is {self.temperature}: give a positive number of kelvin."
            )
        for name in (self.trajectory, self.atoms):
            check_format(Path(name))
            if Path(name).name != name:
                raise InputError(
                    f"The trajectory {name!r} has a folder: give a file name, it is put into --out."
                )
            if name in FINAL_FILES or Path(Path(name).stem).suffix in (".partial", ".new"):
                raise InputError(
                    f"The run uses the name {name!r} for another file: give the trajectory another one."
                )
        if self.trajectory == self.atoms:
            raise InputError(
                f"Both trajectories are named {self.atoms!r}: give two different names."
            )


class RunRecord(NamedTuple):
    """What a folder tells about its run.

    Attributes
    ----------
    settings : SimulationSettings
    model_fingerprint : str
        Of the weights and the input.
    integrator : str
        Implementation whose checkpoints it has.
    """

    settings: SimulationSettings
    model_fingerprint: str
    integrator: str


def read_record(folder: Path) -> RunRecord:
    """Record of the run in a folder.

    Raises
    ------
    InputError
        If there is no run, or its settings cannot be read.
    """
    path = folder / SETTINGS_FILE
    try:
        values = json.loads(path.read_bytes())
        if values["format_version"] != FORMAT_VERSION:
            raise InputError(f"{path} was written by another version of openmm_nemo: {_ANEW}.")
        if values.pop("sha256") != json_digest(values):
            raise InputError(f"{path} has changed since it was written: {_ANEW}.")
        settings = SimulationSettings(**values["settings"])
        return RunRecord(settings, values["model_fingerprint"], values["integrator"])
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder} holds no run to resume: leave --resume out to start one."
        ) from None
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}): {_ANEW}.") from None


class SimulationRun:
    """A simulation in a folder.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    settings : SimulationSettings, optional
        For a new run. Default: resume the run in the folder.

    Raises
    ------
    InputError
        If the folder cannot be written, already holds a run, or holds none to resume; if the model has changed since.
    """

    def __init__(self, folder: Path, settings: SimulationSettings | None = None):
        self.folder = folder
        record = None
        if settings is None:
            record = read_record(folder)
            settings = record.settings
        else:
            _refuse_to_overwrite(folder, settings)
        self.settings = settings
        self.model = NemoModel.from_pretrained(settings.model)
        if settings.precision == "double":
            self.model.double()
        self.protein = self.model.condition(
            settings.sequence, settings.profile, embedding=settings.embedding
        )
        self._fingerprint = _fingerprint(self.model, self.protein)
        if record is not None and record.model_fingerprint != self._fingerprint:
            raise InputError(
                f"The model {settings.model!r} has changed since the run in {folder} began: {_ANEW}."
            )
        self.simulation = self._create_simulation()
        integrator = type(self.simulation.integrator).__name__
        if record is not None and record.integrator != integrator:
            raise InputError(
                f"The run in {folder} was begun with the {record.integrator}, and here is the {integrator}: "
                f"'openmm-nemo doctor' says why; resume where the run began, or {_ANEW}."
            )
        if record is None:
            with _writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                try:
                    self._begin()
                except OSError:  # there is no run yet: leave nothing in the way of the next one
                    for name in XML_FILES:
                        (folder / name).unlink(missing_ok=True)
                    raise
        else:
            self._load_checkpoint()

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return self.simulation.currentStep

    def run(self, steps: int, progress: Callable[[int], None] = lambda step: None) -> bool:
        """Go on until ``steps`` steps have been taken in all, then complete all files.

        Parameters
        ----------
        steps : int
        progress : callable
            Told the step number from time to time.

        Returns
        -------
        bool
            False if the user interrupted the run (SIGINT or SIGTERM): its files are complete up to that step.

        Raises
        ------
        InputError
            If the forces are not finite: the files are complete up to that step. If a file cannot be written: the run
            can be resumed from its last checkpoint. If the files of a run that is resumed are not what they were.
        """
        failure = None
        with _writing(self.folder), _interruption() as interrupted, ExitStack() as at_end:
            self._open_outputs(at_end)
            if steps != self.settings.steps:
                self.settings = replace(self.settings, steps=steps)
                self._write_settings()
            saved = time.monotonic()
            while self.step < steps and not interrupted():
                try:
                    self.simulation.step(1)
                except mm.OpenMMException as error:
                    failure = _one_line(error)
                    break
                # The last checkpoint comes when all files are complete: what is not finished can be resumed.
                if time.monotonic() - saved > CHECKPOINT_SECONDS and self.step < steps:
                    self._write_checkpoint()
                    saved = time.monotonic()
                progress(self.step)
            complete = self.step >= steps
            failure = failure or self._problem_now()
            self._finish()
        if failure is not None:
            raise InputError(
                f"{failure} The run stopped; {self.folder} keeps what came before. Try another --seed or --start."
            )
        return complete

    def _problem_now(self) -> str | None:
        """What is wrong with the energy of the last state, which no step follows that would notice."""
        try:
            energy = self.simulation.context.getState(energy=True).getPotentialEnergy()._value
        except mm.OpenMMException as error:
            return _one_line(error)
        return None if math.isfinite(energy) else f"The energy is not finite at step {self.step}."

    def _create_simulation(self) -> app.Simulation:
        s = self.settings
        platforms = [mm.Platform.getPlatform(i) for i in range(mm.Platform.getNumPlatforms())]
        by_name = {platform.getName(): platform for platform in platforms}
        if s.platform not in (None, *by_name):
            raise InputError(
                f"The platform {s.platform!r} is not available here: choose one of {', '.join(by_name)}."
            )
        for platform in platforms:
            if "Precision" in platform.getPropertyNames():
                platform.setPropertyDefaultValue("Precision", s.precision)
        try:
            backend = choose_backend(s.backend, s.platform)
        except ValueError as error:
            raise InputError(str(error)) from None
        if backend == "torchforce" and s.platform is None:
            for problem in torchforce_platform_problems().values():
                raise InputError(f"{problem}, or give another --platform.")
        try:
            simulation = app.Simulation(
                self.protein.topology,
                self.protein.create_system(backend),
                self.protein.create_integrator(s.temperature, s.seed),
                by_name.get(s.platform),
            )
        except mm.OpenMMException as error:
            raise InputError(
                f"OpenMM cannot simulate on {s.platform or 'its fastest platform'} ({_one_line(error)}): "
                f"choose another --platform of {', '.join(by_name)}."
            ) from None
        if s.start is None:
            simulation.context.setPositions(self.protein.initial_positions())
        else:
            simulation.context.setPositions(np.array(s.start) / ANGSTROM_PER_NM)
        return simulation

    def _begin(self) -> None:
        """Write what makes a folder a run; the settings last, because they tell that it is one."""
        xml = mm.XmlSerializer.serialize
        # Reading a TorchForce back crashes OpenMM 8.6 with openmmtorch 1.5; a PythonForce is the same to rounding.
        system = self.protein.create_system("python")
        for name, part in zip(XML_FILES, (system, self.simulation.integrator), strict=True):
            self._write(name, xml(part).encode())
        self._write_checkpoint()
        self._write_settings()

    def _write_settings(self) -> None:
        values: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "model_fingerprint": self._fingerprint,
            "integrator": type(self.simulation.integrator).__name__,
            "settings": asdict(self.settings),
        }
        self._write(SETTINGS_FILE, json.dumps(values | {"sha256": json_digest(values)}).encode())

    def _open_outputs(self, at_end: ExitStack) -> None:
        """Open trajectories and table with all that belongs to the steps so far."""
        s = self.settings
        n_frames = self.step // s.report_interval + 1
        reference = None if s.reference is None else np.array(s.reference) / ANGSTROM_PER_NM
        self._outputs = [
            _Output(self.folder / name) for name in (s.trajectory, s.atoms, STATE_FILE)
        ]
        for output in self._outputs:
            at_end.callback(output.new.unlink, missing_ok=True)
        coarse, atoms, table = self._outputs
        self._trajectories = [
            NemoTrajectoryReporter(coarse.new, s.report_interval),
            NemoAtomReporter(atoms.new, s.report_interval),
        ]
        state_table = NemoStateReporter(
            table.new, s.report_interval, reference=reference, speed=False
        )
        self.simulation.reporters[:] = [*self._trajectories, state_table]
        for reporter in self.simulation.reporters:
            at_end.enter_context(closing(reporter))
        if self.step > 0:
            for output, reporter in zip((coarse, atoms), self._trajectories, strict=True):
                reporter.open(self.protein).take_over(output.earlier(), n_frames)
            state_table.take_over(table.earlier(), n_frames)
        else:
            state = self.simulation.context.getState(positions=True, energy=True)
            for reporter in self.simulation.reporters:
                reporter.report(self.simulation, state)
        # Not before: some formats make their file with the first frame.
        for output in self._outputs:
            output.begin()

    def _finish(self) -> None:
        for reporter in self.simulation.reporters:
            reporter.close()
        for output in self._outputs:
            output.complete()
        state = self.simulation.context.getState(positions=True)
        for reporter, name in zip(self._trajectories, FINAL_FILES, strict=True):
            positions = state.getPositions(asNumpy=True)._value
            frame = reporter.frame(self.protein, positions)
            with completing(self.folder / name) as partial:
                md.Trajectory(frame[None], reporter.topology(self.protein)).save_pdb(str(partial))
        reference = self.settings.reference
        with completing(self.folder / PLOT_FILE) as partial:
            plot_simulation(
                self.folder / STATE_FILE,
                partial,
                title=self._title(),
                x=state.getPositions(asNumpy=True)._value * ANGSTROM_PER_NM,
                reference=None if reference is None else np.array(reference),
            )
        self._write_checkpoint()

    def _title(self) -> str:
        s = self.settings
        kind = "" if self.model.trained else " (untrained)"
        return f"{len(s.sequence)} residues, {s.model}{kind}, {s.temperature:g} K, seed {s.seed}"

    def _write_checkpoint(self) -> None:
        state = self.simulation.context.createCheckpoint()
        self._write(CHECKPOINT_FILE, state + hashlib.sha256(state).digest())

    def _load_checkpoint(self) -> None:
        path = self.folder / CHECKPOINT_FILE
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): {_ANEW}.") from None
        # OpenMM does not look at what follows, and does not notice if a checkpoint is cut short or damaged.
        size = hashlib.sha256().digest_size
        state, digest = content[:-size], content[-size:]
        if hashlib.sha256(state).digest() != digest:
            raise InputError(f"{path} is damaged: {_ANEW}.")
        try:
            self.simulation.context.loadCheckpoint(state)
        except mm.OpenMMException as error:
            raise InputError(
                f"{path} cannot be loaded ({_one_line(error)}): resume where the run began, or {_ANEW}."
            ) from None

    def _write(self, name: str, content: bytes) -> None:
        with completing(self.folder / name) as partial:
            partial.write_bytes(content)


class _Output:
    """A file that grows during a run, and gets its name when the run ends; until then it is NAME.partial.EXT."""

    def __init__(self, path: Path):
        self.path = path
        self.partial = partial_of(path)
        self.new = path.with_name(f"{path.stem}.new{path.suffix}")

    def earlier(self) -> Path:
        """The file of an interrupted run: partial if it was killed, complete otherwise."""
        return self.partial if self.partial.exists() else self.path

    def begin(self) -> None:
        """Take the new file for the partial one, now that it has all that the earlier one had."""
        os.replace(self.new, self.partial)

    def complete(self) -> None:
        os.replace(self.partial, self.path)


@contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM came. A second one acts at once."""
    came = False
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: Any) -> None:
        nonlocal came
        came = True
        signal.signal(number, before[signal.Signals(number)])

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, handle)
    try:
        yield lambda: came
    finally:
        for caught, handler in before.items():
            signal.signal(caught, handler)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn errors of the file system into sentences."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename or folder} cannot be written ({error.strerror or error}): "
            "mend that or give another --out; a run that had begun can go on with --resume."
        ) from error


def _refuse_to_overwrite(folder: Path, settings: SimulationSettings) -> None:
    """Raise InputError if a folder holds a run, or a file that a new run would write."""
    names = (settings.trajectory, settings.atoms, STATE_FILE, PLOT_FILE, *FINAL_FILES, *XML_FILES)
    with _writing(folder):
        is_run = (folder / SETTINGS_FILE).exists()
        taken = [name for name in names if (folder / name).exists()]
    if is_run:
        raise InputError(
            f"{folder} already holds a run: give --resume to go on with it, or another --out."
        )
    if taken:
        raise InputError(f"{folder / taken[0]} is there already: give another --out.")


def _fingerprint(model: NemoModel, protein: ConditionedModel) -> str:
    """Digest of the weights and the input; not of what is computed from them, which may differ in the last bit."""
    inputs = protein.s.float().cpu().numpy().tobytes()
    return hashlib.sha256(model.fingerprint().encode() + inputs).hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())

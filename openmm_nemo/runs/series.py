"""Simulations of several proteins in one folder, which has a run folder for each."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from openmm_nemo.errors import InputError
from openmm_nemo.models import NemoModel
from openmm_nemo.runs.folder import RunFolder, RunKind
from openmm_nemo.runs.settings import SIMULATION, SimulationSettings
from openmm_nemo.runs.simulation import SimulationRun

SERIES = RunKind("series.json")


class SimulationSeries:
    """Simulations of several proteins, one after another, each in a run folder named after the protein.

    As a context manager, it releases the folder at the end; until then, no other run can use it.

    Parameters
    ----------
    path : Path
        The folder, made if it does not exist.
    settings : mapping of str to SimulationSettings, optional
        Settings of a new series, all with the same model, by the names of the folders. Default: resume the series in
        the folder.
    steps : int, optional
        New total number of steps of each simulation of a resumed series.

    Raises
    ------
    InputError
        If the folder is in use by another run, cannot be written, already holds a run or another file with one of the
        names, or holds none to resume; if the model cannot be simulated or has changed since the start, or a protein
        cannot be its input.
    """

    settings: dict[str, SimulationSettings]
    model: NemoModel

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, SimulationSettings] | None = None,
        steps: int | None = None,
    ):
        self.folder = RunFolder(path, SERIES)
        if settings is None:
            self.folder.check_resumable()
        with ExitStack() as at_end:
            at_end.enter_context(self.folder.lock())
            if settings is None:
                self._resume(steps)
            else:
                self._begin(settings)
            self._at_end = at_end.pop_all()

    def __enter__(self) -> "SimulationSeries":
        return self

    def __exit__(self, *_: object) -> None:
        self._at_end.close()

    def run(self, name: str) -> SimulationRun:
        """Begin or resume the simulation of one protein."""
        path = self.folder.path / name
        begun = RunFolder(path, SIMULATION).holds_run
        return SimulationRun(path, None if begun else self.settings[name])

    def _begin(self, settings: Mapping[str, SimulationSettings]) -> None:
        self.folder.check_new((SIMULATION.record, *settings))
        self.settings = dict(settings)
        self._load_model()
        for name, of_protein in settings.items():
            try:
                protein = self.model.condition(
                    of_protein.sequence, of_protein.profile, embedding=of_protein.embedding
                )
                protein.require_energy()
                self.settings[name] = of_protein.with_schedule(protein)
            except InputError as error:
                raise InputError(f"{name}: {error}") from None
        self._write_record()

    def _resume(self, steps: int | None) -> None:
        record = self.folder.read_record(_Record.parse)
        self.settings = record.settings
        self._load_model()
        name = next(iter(self.settings.values())).model
        self.folder.check_model(record.model_fingerprint, self.model.fingerprint(), name)
        if steps is not None:
            self.settings = {k: replace(s, steps=steps) for k, s in self.settings.items()}
            self._write_record()

    def _load_model(self) -> None:
        self.model = NemoModel.from_pretrained(next(iter(self.settings.values())).model)

    def _write_record(self) -> None:
        with self.folder.writing():
            self.folder.write_record(
                {
                    "model_fingerprint": self.model.fingerprint(),
                    "settings": {name: asdict(s) for name, s in self.settings.items()},
                }
            )


class _Record(NamedTuple):
    settings: dict[str, SimulationSettings]
    model_fingerprint: str

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "_Record":
        settings = {
            name: SimulationSettings.parse(of_protein)
            for name, of_protein in values["settings"].items()
        }
        return cls(settings, values["model_fingerprint"])

"""Ensembles of many proteins, in parallel on one machine or on a Dask cluster: ``openmm-nemo sample``.

The unit of work is a batch of samples of one protein, so that all processors can share even a single long protein.
Workers need openmm_nemo, but none of our files: the model is sent to them, their structures come back, and only this
process writes. To use many machines, start a scheduler on one and a worker per processor on all:

    dask scheduler                                                        # prints tcp://ADDRESS:8786
    dask worker tcp://ADDRESS:8786 --nworkers -1 --nthreads 1             # on every machine

and give ``--scheduler tcp://ADDRESS:8786``, in an environment with the same packages.
"""

import hashlib
import math
import pickle
from collections.abc import Callable, Generator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import openmm as mm
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from openmm_nemo.cluster import run_on_cluster
from openmm_nemo.engine.units import ANGSTROM_PER_NM
from openmm_nemo.errors import InputError
from openmm_nemo.files import json_digest
from openmm_nemo.models import ConditionedModel, NemoModel
from openmm_nemo.processes import run_tasks
from openmm_nemo.runs.folder import RunFolder, RunKind
from openmm_nemo.sampling.ensembles import (
    Ensemble,
    ensemble_folder,
    ensemble_ids,
    write_ensemble,
)

RECORD_FILE = "sampling.json"
SAMPLING = RunKind(RECORD_FILE, resume="the same command")

MAX_SAMPLES = 2**20
LAST_SEED = 2**31 - 1

BATCH_SIZE = 10
"""Samples per batch: more are hardly faster on one processor, and leave others without work."""

PAIR_NUMBERS = 2**23
"""Size of one 2D layer of a batch; several layers are in memory at once."""

STEPS_KEPT = 10
"""Number of steps whose states are in memory at once."""


@dataclass(frozen=True)
class SamplingSettings:
    """Everything that determines the samples of a protein; kept with them as JSON.

    Attributes
    ----------
    model : str
        Name or folder of the model.
    n_samples : int
        Number of samples per protein.
    steps : int
        Number of steps per simulation; the sample is its last state.
    temperature : float
        Temperature, kelvin.
    seed : int
        Random seed, non-negative, see `sample_seeds`.
    engine : {"torch", "openmm"}
        The PyTorch simulator, many chains at once, or the integrator in OpenMM, one chain after another. The results
        are the same to rounding.
    """

    model: str
    n_samples: int = 100
    steps: int = 250
    temperature: float = 300.0
    seed: int = 1
    engine: str = "torch"

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise InputError(
                f"The temperature is {self.temperature}: give a positive number of kelvin."
            )
        if not 1 <= self.n_samples <= MAX_SAMPLES:
            raise InputError(
                f"The number of samples is {self.n_samples}: give one from 1 to {MAX_SAMPLES}."
            )
        if self.engine not in ENGINES:
            raise InputError(
                f"The engine {self.engine!r} is unknown: choose one of {', '.join(ENGINES)}."
            )


class Protein(NamedTuple):
    """A protein to sample.

    Attributes
    ----------
    id : str
        Name of its ensemble.
    sequence : str
        One letter per residue, length L.
    native : ndarray, shape (L, 3), optional
        C-alpha positions of the experimental structure, Angstrom.
    profile, embedding : array-like, shape (L, 20), (L, K), optional
        For a model with these encoders.
    """

    id: str
    sequence: str
    native: np.ndarray | None = None
    profile: ArrayLike | None = None
    embedding: ArrayLike | None = None

    @property
    def inputs(self) -> dict[str, ArrayLike | None]:
        """Inputs besides the sequence, by the encoder that takes them."""
        return {"profile": self.profile, "embedding": self.embedding}


class Sampled(NamedTuple):
    """Outcome of `sample_ensembles`.

    Attributes
    ----------
    ids : list of str
        Ids of the proteins that were sampled in this call.
    failures : dict of str to str
        Reasons why others were not, by id.
    """

    ids: list[str]
    failures: dict[str, str]


class Task(NamedTuple):
    """A batch of samples of one protein, from ``start`` to ``stop`` (exclusive)."""

    protein: Protein
    start: int
    stop: int
    settings: SamplingSettings


class Samples(NamedTuple):
    """Structures in a batch, float32.

    Attributes
    ----------
    x : ndarray, shape (B, L, 3)
        C-alpha positions, Angstrom.
    atoms : ndarray, shape (B, L, 5, 3)
        Angstrom.
    energy : ndarray, shape (B,)
        U at x, kT; zero for a baseline, which has none.
    """

    x: np.ndarray
    atoms: np.ndarray
    energy: np.ndarray


Results = Generator[tuple[Task, Samples | str], None, None]


def sample_seeds(seed: int, id: str, n_samples: int) -> range:
    """Seeds of the noise of all samples of a protein.

    They depend only on the user's seed and the id: sample k is the same in every run. The first seed is a hash of both,
    and the others follow it. The probability that two user seeds share samples of a protein is 2 n / 2^31.

    Parameters
    ----------
    seed : int
        The user's seed.
    id : str
    n_samples : int
        n, at most 2^20.

    Returns
    -------
    range
        Seeds from 1 to 2^31 - 1, as OpenMM requires.
    """
    digest = hashlib.sha256(f"{seed} {id}".encode()).digest()
    first = 1 + int.from_bytes(digest[:8]) % (LAST_SEED - MAX_SAMPLES)
    return range(first, first + n_samples)


def sample_ensembles(
    folder: Path,
    model: NemoModel,
    proteins: Sequence[Protein],
    settings: SamplingSettings,
    workers: int | None = None,
    scheduler: str | None = None,
    batch_size: int | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> Sampled:
    """Sample all proteins that have no ensemble in ``folder`` yet, see `openmm_nemo.sampling.ensembles`.

    Every ensemble appears when it is complete. Repeat an interrupted call to continue.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    model : NemoModel
    proteins : sequence of Protein
    settings : SamplingSettings
    workers : int, optional
        Number of processes, with one thread each. Default: all processors. 1: this process.
    scheduler : str, optional
        Address of a Dask scheduler whose workers are used instead of processes.
    batch_size : int, optional
        Number of samples that a process simulates at once; changes them only by rounding. Default: 10, or fewer for a
        long protein.
    progress : callable
        Called with the number of samples so far, including earlier ones, from time to time.

    Returns
    -------
    Sampled

    Raises
    ------
    InputError
        If two proteins have the same id, or one cannot be the input of the model; if the model is a baseline, which
        predicts one structure, and more are requested; if the folder has samples with other settings, of another model
        or of another protein with that id, is in use by another run or cannot be written; if a process was killed or
        the cluster does not answer.
    """
    _check_proteins(proteins, model)
    if model.energy is None and settings.n_samples > 1:
        raise InputError(
            "The model is a baseline, which predicts one structure per protein: give -n 1."
        )
    run = RunFolder(folder, SAMPLING)
    with run.lock(), run.writing():
        _begin(run, model, proteins, settings)
        done = set(ensemble_ids(folder))
        missing = {protein.id: protein for protein in proteins if protein.id not in done}
        count = (len(proteins) - len(missing)) * settings.n_samples
        progress(count)
        # Long ones first, so that no processor is left with a long one at the end.
        ordered = sorted(missing.values(), key=lambda protein: -len(protein.sequence))
        tasks = [
            task for protein in ordered for task in _tasks(protein, settings, model, batch_size)
        ]
        weights = pickle.dumps(model)
        if scheduler is not None:
            results = run_on_cluster(run_task, weights, tasks, scheduler)
        else:
            results = _on_this_machine(tasks, weights, workers)
        parts: dict[str, dict[int, Samples]] = {name: {} for name in missing}
        failures: dict[str, str] = {}
        with closing(results):
            for task, outcome in results:
                count += task.stop - task.start
                name = task.protein.id
                if isinstance(outcome, str):
                    failures.setdefault(name, outcome)
                else:
                    parts[name][task.start] = outcome
                    if sum(len(part.energy) for part in parts[name].values()) == settings.n_samples:
                        _write(folder, task.protein, parts.pop(name), settings)
                progress(count)
    return Sampled([name for name in missing if name not in failures], failures)


def _check_proteins(proteins: Sequence[Protein], model: NemoModel) -> None:
    known = set()
    for protein in proteins:
        ensemble_folder("", protein.id)
        if protein.id in known:
            raise InputError(f"Two proteins are named {protein.id}: give each its own id.")
        known.add(protein.id)
        try:
            model.encode(protein.sequence, **protein.inputs)
        except InputError as error:
            raise InputError(f"{protein.id}: {error}") from None


def _tasks(
    protein: Protein, settings: SamplingSettings, model: NemoModel, batch_size: int | None
) -> list[Task]:
    fitting = PAIR_NUMBERS // (len(protein.sequence) ** 2 * model.config.pair_features)
    size = batch_size or max(min(fitting, BATCH_SIZE), 1)
    n = settings.n_samples
    return [Task(protein, k, min(k + size, n), settings) for k in range(0, n, size)]


def _write(
    folder: Path, protein: Protein, parts: dict[int, Samples], settings: SamplingSettings
) -> None:
    ordered = [parts[start] for start in sorted(parts)]
    x, atoms, energy = (np.concatenate(arrays) for arrays in zip(*ordered, strict=True))
    seeds = np.array(sample_seeds(settings.seed, protein.id, settings.n_samples))
    write_ensemble(
        folder, Ensemble(protein.id, protein.sequence, x, atoms, energy, protein.native, seeds)
    )


# The record of settings


class _Record(NamedTuple):
    """Record of the samples in a folder."""

    settings: dict[str, Any]
    model_fingerprint: str
    inputs: dict[str, str]

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "_Record":
        settings, inputs = dict(values["settings"]), dict(values["inputs"])
        return cls(settings, values["model_fingerprint"], inputs)


def _begin(
    run: RunFolder, model: NemoModel, proteins: Sequence[Protein], settings: SamplingSettings
) -> None:
    """Write the record of a new folder, or check that of an old one."""
    folder, anew = run.path, "give another --out"
    fingerprint = model.fingerprint()
    inputs = {protein.id: json_digest(_input_of(protein)) for protein in proteins}
    if run.holds_run:
        before = run.read_record(_Record.parse)
        name = before.settings.pop("model", "")  # its folder may have moved
        now = {key: value for key, value in asdict(settings).items() if key != "model"}
        run.check_settings(before.settings, now)
        run.check_model(before.model_fingerprint, fingerprint, name)
        for name in inputs.keys() & before.inputs.keys():
            if inputs[name] != before.inputs[name]:
                raise InputError(f"{folder} has another protein named {name}: {anew}.")
        inputs = before.inputs | inputs
    elif ensemble_ids(folder):
        raise InputError(f"{folder} has ensembles, but no {RECORD_FILE}: {anew}.")
    for name in inputs.keys() - ensemble_ids(folder):
        if ensemble_folder(folder, name).exists():
            raise InputError(
                f"{folder / name} exists, but is not an ensemble: remove it, or {anew}."
            )
    run.write_record(
        {
            "model_fingerprint": fingerprint,
            "trained": model.trained,
            "settings": asdict(settings),
            "inputs": inputs,
        }
    )


def _input_of(protein: Protein) -> list[Any]:
    """Input of the networks for a protein, as JSON values."""
    profile, *others = (
        None if rows is None else np.asarray(rows).tolist() for rows in protein.inputs.values()
    )
    return [protein.sequence, profile, *(rows for rows in others if rows is not None)]


# What a worker does


def run_task(weights: bytes, task: Task) -> Samples | str:
    """Samples in a batch, or the reason why there are none; ``weights`` is a pickled `NemoModel`."""
    protein = _load(weights).condition(task.protein.sequence, **task.protein.inputs)
    settings = task.settings
    if not all(tensor.isfinite().all() for tensor in protein.buffers()):
        return "the network's output for its sequence is not finite"
    seeds = sample_seeds(settings.seed, task.protein.id, settings.n_samples)[task.start : task.stop]
    try:
        if protein.has_energy:
            x = ENGINES[settings.engine](protein, seeds, settings.steps, settings.temperature)
        else:
            x = protein.initial_state().unsqueeze(0)
    except mm.OpenMMException as error:
        return " ".join(str(error).split())
    with torch.no_grad():
        energy = protein.energy(x) if protein.has_energy else x.new_zeros(len(x))
        values = x, protein.impute(x), energy
    samples = Samples(*(value.float().numpy() for value in values))
    for k, seed in enumerate(seeds):
        if not all(np.isfinite(array[k]).all() for array in samples):
            return f"sample {task.start + k} (seed {seed}) is not finite"
    return samples


@lru_cache(maxsize=1)
def _load(weights: bytes) -> NemoModel:
    return pickle.loads(weights)


def sample_with_torch(
    protein: ConditionedModel, seeds: range, steps: int, temperature: float = 300.0
) -> Tensor:
    """Last states of independent simulations, as one batch.

    Parameters
    ----------
    protein : ConditionedModel
    seeds : range
        Consecutive seeds, one per simulation.
    steps : int
    temperature : float
        Temperature, kelvin.

    Returns
    -------
    Tensor, shape (B, L, 3)
        Angstrom.
    """
    batch = protein.copies(len(seeds))
    x = batch.initial_positions(seeds[0])
    schedule = batch.schedule(steps)
    for first in range(0, steps, STEPS_KEPT):
        n_steps = min(STEPS_KEPT, steps - first)
        trajectory = batch.rollout(
            n_steps,
            x,
            seed=seeds[0],
            first_step=first,
            temperature=temperature,
            schedule=schedule,
        )
        x = trajectory.x[-1]
    return x


def sample_with_openmm(
    protein: ConditionedModel, seeds: range, steps: int, temperature: float = 300.0
) -> Tensor:
    """As `sample_with_torch`, in OpenMM, one simulation after another.

    Uses the Reference platform, which every OpenMM has, with positions in double precision and one thread; most of the
    time is spent in the network.
    """
    integrator = protein.create_integrator(temperature)
    reference = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(protein.create_system(), integrator, reference)
    context.setPositions(protein.initial_positions())
    start = context.createCheckpoint()
    x = []
    for seed in seeds:
        context.loadCheckpoint(start)  # including the step counter, on which the noise depends
        context.setPositions(protein.initial_positions(seed))
        integrator.setRandomNumberSeed(seed)
        integrator.step(steps)
        positions = context.getState(positions=True).getPositions(asNumpy=True)._value
        x.append(torch.from_numpy(positions * ANGSTROM_PER_NM).to(protein.z0))
    return torch.stack(x)


ENGINES = {"torch": sample_with_torch, "openmm": sample_with_openmm}


# Where workers run


def _on_this_machine(tasks: list[Task], weights: bytes, workers: int | None) -> Results:
    try:
        with closing(run_tasks(run_task, [(weights, task) for task in tasks], workers)) as results:
            for number, outcome in results:
                yield tasks[number], outcome
    except BrokenProcessPool:
        raise InputError(
            "A process that samples was killed (if it ran out of memory, use fewer --workers or a smaller "
            "--batch-size): rerun the same command to continue."
        ) from None

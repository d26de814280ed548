"""Ensembles of many proteins, in parallel on one machine or on a Dask cluster: ``openmm-nemo sample``.

The unit of work is a batch of samples of one protein, so that all processors can share even a single long protein. An
interrupted run keeps its finished batches (`openmm_nemo.sampling.batches`), and an ensemble can grow.
Workers need openmm_nemo, but none of our files: the model is sent to them, their structures come back, and only this
process writes. To use many machines, start a scheduler on one and a worker per processor on all:

    dask scheduler                                                        # prints tcp://ADDRESS:8786
    dask worker tcp://ADDRESS:8786 --nworkers -1 --nthreads 1             # on every machine

and give ``--scheduler tcp://ADDRESS:8786``, in an environment with the same packages.
"""

import hashlib
import math
import pickle
from collections.abc import Callable, Collection, Generator, Sequence
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
from openmm_nemo.errors import InputError
from openmm_nemo.files import json_digest
from openmm_nemo.models import ConditionedModel, NemoModel
from openmm_nemo.processes import run_tasks
from openmm_nemo.residues import Numbering, chain_in_words
from openmm_nemo.runs.folder import RunFolder, RunKind
from openmm_nemo.runs.source import SourceStructure
from openmm_nemo.sampling.batches import FinishedBatches, Samples, remove_batches
from openmm_nemo.sampling.engines import ENGINES, minimised
from openmm_nemo.sampling.ensembles import (
    Ensemble,
    ensemble_folder,
    ensemble_ids,
    ensemble_size,
    extend_ensemble,
    restore_ensembles,
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
        Number of steps per simulation; the sample is its last state. With 0, it is what a minimisation makes of the
        start, which is drawn with the seed of the sample.
    temperature : float
        Temperature, kelvin.
    seed : int
        Random seed, non-negative, see `sample_seeds`.
    engine : {"torch", "openmm"}
        The PyTorch simulator, many chains at once, or the integrator in OpenMM, one chain after another. The results
        are the same to rounding.
    anneal : bool
        Follow the model's schedule of temperature and step sizes; otherwise they are constant.
    minimise : int
        Number of steps of minimisation after each simulation, see `openmm_nemo.dynamics.minimisation.minimise`; a
        structure that it does not lower stays as it was.
    """

    model: str
    n_samples: int = 100
    steps: int = 250
    temperature: float = 300.0
    seed: int = 1
    engine: str = "torch"
    anneal: bool = True
    minimise: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < math.inf:
            raise InputError(
                f"The temperature is {self.temperature}: give a positive number of kelvin."
            )
        if not self.steps and not self.minimise:
            raise InputError("Neither --steps nor --minimise: give one of them a positive number.")
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
    numbering : Numbering, optional
        Names of the chain and its residues in files. Default: chain A, from 1.
    source : SourceStructure, optional
        The structure that it comes from.
    """

    id: str
    sequence: str
    native: np.ndarray | None = None
    profile: ArrayLike | None = None
    embedding: ArrayLike | None = None
    numbering: Numbering | None = None
    source: SourceStructure | None = None

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
    """A batch of samples of one protein.

    Attributes
    ----------
    protein : Protein
    batch : range
        Numbers of the samples in the batch.
    wanted : range
        Those that are returned. In PyTorch, the others are simulated, too, because rounding depends on the size of the
        batch: so sample k is the same in an ensemble that was made at once and in one that has grown.
    settings : SamplingSettings
    """

    protein: Protein
    batch: range
    wanted: range
    settings: SamplingSettings


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

    Every ensemble appears when it is complete. Repeat an interrupted call to continue after the last finished batch.
    Repeat a call with a larger `SamplingSettings.n_samples` to add samples to the ensembles.

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
        long protein. Ensembles grow to exactly those of one call if it is not above 10.
    progress : callable
        Called with the number of samples so far, including earlier ones, from time to time.

    Returns
    -------
    Sampled

    Raises
    ------
    InputError
        If two proteins have the same id, or one cannot be the input of the model; if the model is a baseline, which
        predicts one structure without an energy, and more or a minimisation are requested; if the folder has samples
        with other settings, of another model or of another protein with that id, or more samples than requested, is in
        use by another run or cannot be written, or if a file in it is damaged; if a process was killed or the cluster
        does not answer.
    """
    _check_proteins(proteins, model)
    if model.energy is None and settings.n_samples > 1:
        raise InputError(
            "The model is a baseline, which predicts one structure per protein: give -n 1."
        )
    if model.energy is None and settings.minimise:
        raise InputError("The model is a baseline without energy: leave out --minimise.")
    run = RunFolder(folder, SAMPLING)
    with run.lock(), run.writing():
        restore_ensembles(folder)
        _begin(run, model, proteins, settings)
        growing = [_Growing(folder, protein, settings) for protein in proteins]
        count = sum(one.count for one in growing)
        progress(count)
        missing = {one.protein.id: one for one in growing if not one.complete}
        for one in growing:
            if one.has_all:  # the last run ended before it could write them or remove the batches
                one.write()
        # Long ones first, so that no processor is left with a long one at the end.
        ordered = sorted(missing.values(), key=lambda one: -len(one.protein.sequence))
        tasks = [
            task
            for one in ordered
            for task in _tasks(one.protein, settings, model, batch_size, one.done)
        ]
        weights = pickle.dumps(model)
        if scheduler is not None:
            results = run_on_cluster(run_task, weights, tasks, scheduler)
        else:
            results = _on_this_machine(tasks, weights, workers)
        failures: dict[str, str] = {}
        with closing(results):
            for task, outcome in results:
                one = missing[task.protein.id]
                if isinstance(outcome, str):
                    failures.setdefault(one.protein.id, outcome)
                    count += len(task.wanted)
                else:
                    count += one.add(task.wanted, outcome)
                    if one.has_all:
                        one.write()
                progress(count)
    return Sampled([name for name in missing if name not in failures], failures)


def count_samples(folder: Path, id: str) -> int:
    """Number of samples of a protein in a folder, including those in batches of an ensemble that is not complete."""
    size = ensemble_size(folder, id)
    return size + len(FinishedBatches(folder, id).samples.difference(range(size)))


class _Growing:
    """The ensemble of a protein while it is made or grows."""

    def __init__(self, folder: Path, protein: Protein, settings: SamplingSettings):
        self.folder, self.protein, self.settings = folder, protein, settings
        self.batches = FinishedBatches(folder, protein.id)
        self.size = ensemble_size(folder, protein.id)
        self.done = self.batches.samples.union(range(self.size))

    @property
    def count(self) -> int:
        return len(self.done)

    @property
    def complete(self) -> bool:
        return self.size >= self.settings.n_samples

    @property
    def has_all(self) -> bool:
        return self.done.issuperset(range(self.settings.n_samples))

    def add(self, numbers: range, samples: Samples) -> int:
        """Keep a batch; returns the number of samples that are new."""
        before = self.count
        self.batches.add(numbers, samples)
        self.done.update(numbers)
        return self.count - before

    def write(self) -> None:
        """Write all samples, of which there are enough, to the ensemble."""
        if not self.complete:
            protein, new = self.protein, range(self.size, self.settings.n_samples)
            seeds = sample_seeds(self.settings.seed, protein.id, new.stop)[new.start :]
            samples = self.batches.read(new)
            ensemble = Ensemble(
                protein.id,
                protein.sequence,
                *samples,
                protein.native,
                np.array(seeds),
                protein.numbering,
            )
            (extend_ensemble if self.size else write_ensemble)(self.folder, ensemble)
            self.size = new.stop
        self.batches.remove()


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
    protein: Protein,
    settings: SamplingSettings,
    model: NemoModel,
    batch_size: int | None,
    done: Collection[int] = (),
) -> list[Task]:
    """Batches with samples that are not done."""
    n = settings.n_samples
    fitting = PAIR_NUMBERS // (len(protein.sequence) ** 2 * model.config.pair_features)
    size = batch_size or max(min(fitting, BATCH_SIZE), 1)
    tasks = []
    for first in range(0, n, size):
        missing = [k for k in range(first, min(first + size, n)) if k not in done]
        if missing:
            wanted = range(missing[0], missing[-1] + 1)
            # A large batch is not filled up for a few samples.
            stop = min(first + size, max(first + BATCH_SIZE, wanted.stop))
            tasks.append(Task(protein, range(first, stop), wanted, settings))
    return tasks


# The record of settings


class _Record(NamedTuple):
    """Record of the samples in a folder."""

    settings: dict[str, Any]
    n_samples: int
    model_fingerprint: str
    inputs: dict[str, str]
    sources: dict[str, Any]

    @classmethod
    def parse(cls, values: dict[str, Any]) -> "_Record":
        # Earlier versions had no choice.
        settings = {"anneal": True, "minimise": 0, **values["settings"]}
        inputs = dict(values["inputs"])
        return cls(
            settings,
            settings.pop("n_samples"),
            values["model_fingerprint"],
            inputs,
            dict(values.get("sources", {})),
        )


def _begin(
    run: RunFolder, model: NemoModel, proteins: Sequence[Protein], settings: SamplingSettings
) -> None:
    """Write the record of a new folder, or check that of an old one."""
    folder, anew = run.path, "give another --out"
    fingerprint = model.fingerprint()
    inputs = {protein.id: json_digest(_input_of(protein)) for protein in proteins}
    sources = {
        protein.id: asdict(protein.source) for protein in proteins if protein.source is not None
    }
    if run.holds_run:
        before = run.read_record(_Record.parse)
        name = before.settings.pop("model", "")  # its folder may have moved
        now = {k: v for k, v in asdict(settings).items() if k not in ("model", "n_samples")}
        run.check_settings(before.settings, now)
        run.check_model(before.model_fingerprint, fingerprint, name)
        if settings.n_samples < before.n_samples:
            raise InputError(
                f"{folder} was sampled with {before.n_samples} samples per protein (n_samples), and "
                f"{settings.n_samples} are requested: give -n {before.n_samples} or more, or another --out."
            )
        for name in inputs.keys() & before.inputs.keys():
            if inputs[name] != before.inputs[name]:
                raise InputError(f"{folder} has another protein named {name}: {anew}.")
        for name in sources.keys() & before.sources.keys():
            _check_source(folder, sources[name], before.sources[name])
        inputs, sources = before.inputs | inputs, before.sources | sources
    elif ensemble_ids(folder):
        raise InputError(f"{folder} has ensembles, but no {RECORD_FILE}: {anew}.")
    else:
        run.check_new()
        remove_batches(folder)  # made with unknown settings
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
            "sources": sources,
        }
    )


def _check_source(folder: Path, now: dict[str, Any], before: dict[str, Any]) -> None:
    for file, file_before in zip(now["files"], before["files"], strict=True):
        if file["sha256"] != file_before["sha256"]:
            raise InputError(
                f"{file['path']} is not the file that was sampled in {folder}, {file_before['name']}: give that file, "
                "or another --out."
            )
    if now["segment"] != before["segment"] or now["chain"] != before["chain"]:
        raise InputError(
            f"{folder} has samples of residues {before['segment']} of {chain_in_words(before['chain'])} "
            f"instead of {now['segment']} of {chain_in_words(now['chain'])}: give the same, or another --out."
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
    simulated = task.batch if settings.engine == "torch" else task.wanted
    seeds = sample_seeds(settings.seed, task.protein.id, simulated.stop)[simulated.start :]
    kept = slice(task.wanted.start - simulated.start, task.wanted.stop - simulated.start)
    try:
        if protein.has_energy:
            sample = ENGINES[settings.engine]
            x = sample(protein, seeds, settings.steps, settings.temperature, settings.anneal)
            if settings.minimise:
                # Rounding depends on the size of a batch, which must not depend on the samples that there are.
                size = len(x) if settings.engine == "torch" else 1
                x = minimised(protein, x, settings.minimise, size)
            x = x[kept]
        else:
            x = protein.initial_state().unsqueeze(0)
    except mm.OpenMMException as error:
        return " ".join(str(error).split())
    with torch.no_grad():
        # One by one, because of the rounding; this takes little time.
        rows = [_values_at(protein, x[k : k + 1]) for k in range(len(x))]
    samples = Samples(*(torch.cat(part).float().numpy() for part in zip(*rows, strict=True)))
    for k, seed in enumerate(seeds[kept]):
        if not all(np.isfinite(array[k]).all() for array in samples):
            return f"sample {task.wanted[k]} (seed {seed}) is not finite"
    return samples


def _values_at(protein: ConditionedModel, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What `Samples` has at positions (1, L, 3)."""
    energy = protein.energy(x) if protein.has_energy else x.new_zeros(1)
    return x, protein.impute(x), energy


@lru_cache(maxsize=1)
def _load(weights: bytes) -> NemoModel:
    return pickle.loads(weights)


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

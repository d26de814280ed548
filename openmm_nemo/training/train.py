"""A training run in a folder: ``openmm-nemo train``."""

import csv
import itertools
import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, NamedTuple

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EMAWeightAveraging,
    ModelCheckpoint,
    RichProgressBar,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from openmm_nemo.data.splits import SPLIT_FILE
from openmm_nemo.errors import InputError
from openmm_nemo.files import completing
from openmm_nemo.runs.folder import RunFolder, RunKind
from openmm_nemo.runs.interruption import EXIT_CODE
from openmm_nemo.training.curves import plot_curves
from openmm_nemo.training.gradient_norms import GradientNorms, begin_table
from openmm_nemo.training.module import NemoTraining
from openmm_nemo.training.record import SITTINGS, Record
from openmm_nemo.training.settings import TrainingSettings, read_settings
from openmm_nemo.training.stream import DomainData

CONFIG_COPY = "training.toml"
CHECKPOINT_FILE = "last.ckpt"
TRAINING = RunKind("settings.json", marker=CHECKPOINT_FILE)
METRICS_FILE = "metrics.csv"
NORMS_FILE = "gradient_norms.csv"
CURVES_FILE = "curves.png"
CHECKPOINT_MINUTES = 2
LOG_EVERY = 10


class Outcome(NamedTuple):
    """Result of a run.

    Attributes
    ----------
    updates, skipped : int
        Number of updates of the weights, and how many of them were skipped because of their gradients.
    seconds : float
        Duration of the run, without interruptions.
    interrupted : bool
        Whether a signal ended it before its last update.
    """

    updates: int
    skipped: int
    seconds: float
    interrupted: bool


def train(
    config: Path,
    out: Path,
    resume: bool = False,
    devices: int | None = None,
    nodes: int = 1,
    seed: int | None = None,
) -> Outcome | None:
    """Train a model with the settings in a TOML file, see `TrainingSettings`.

    Writes to ``out``: settings.json, training.toml (a copy of the file), metrics.csv, gradient_norms.csv (see
    `GradientNorms`), TensorBoard files, last.ckpt every few minutes and at the end, and curves.png.

    Parameters
    ----------
    config : Path
    out : Path
        Made if it does not exist.
    resume : bool
        Continue from last.ckpt, with the same batches, noise and weights as without the interruption.
    devices : int, optional
        Number of GPUs, or of processes if there are none, per node. Default: all GPUs, or one process. Each takes its
        own batches, and an update follows the mean of their gradients.
    nodes : int
        Number of nodes, on each of which the same command is run, see `lightning.pytorch.Trainer`.
    seed : int, optional
        Random seed, instead of the one in the file.

    Returns
    -------
    Outcome, optional
        Result in the first process; None in all others.

    Raises
    ------
    InputError
        If the settings or the data cannot be read; if ``out`` already holds a run, or none to resume, or one with other
        settings or another number of processes; if it is in use by another run or cannot be written; if there are fewer
        GPUs.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # they print greetings and advertisements
    settings = read_settings(config)
    if seed is not None:
        settings = settings.model_copy(update={"seed": seed})
    checkpoint = out / CHECKPOINT_FILE
    processes = _devices(devices) * nodes
    record = Record()
    logger = CSVLogger(out, "", "", flush_logs_every_n_steps=1)
    trainer = lightning.Trainer(
        max_steps=settings.updates,
        devices=devices or "auto",
        num_nodes=nodes,
        # A stage does not train all weights; running statistics are already the same in all processes.
        strategy=DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
        if processes > 1
        else "auto",
        logger=[logger, TensorBoardLogger(out, "", "tensorboard")],
        callbacks=[
            record,
            GradientNorms(out / NORMS_FILE),
            _SaveAtEnd(checkpoint),
            EMAWeightAveraging(decay=settings.ema_decay),
            ModelCheckpoint(
                out,
                "last",
                train_time_interval=timedelta(minutes=CHECKPOINT_MINUTES),
                # If one process was interrupted, the processes cannot agree on a checkpoint.
                save_on_exception=processes == 1,
                enable_version_counter=False,
            ),
            _Progress(),
        ],
        gradient_clip_val=settings.max_gradient_norm,
        val_check_interval=settings.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=min(LOG_EVERY, settings.updates),
        inference_mode=False,  # forces are gradients
        use_distributed_sampler=False,
        enable_model_summary=False,
    )
    run = RunFolder(out, TRAINING)
    if resume:
        run.check_resumable()
    # The first process holds the folder on behalf of all others.
    with run.lock() if trainer.is_global_zero else nullcontext():
        if resume:
            before = read_run_settings(out).model_dump(mode="json")
            run.check_settings(before, settings.model_dump(mode="json"))
        elif trainer.is_global_zero:
            run.check_new()
        data = DomainData(settings)
        module = NemoTraining(settings, data.force_frames)
        if resume:
            content = read_checkpoint(checkpoint)
            _check_processes(out, content, processes)
            data.start = content["global_step"]
        else:
            module.fit_reference(data.train)
        with run.writing():
            if trainer.is_global_zero:
                _write_inputs(run, config, settings, data)
                if resume:
                    metrics = _metrics_before(out / METRICS_FILE, data.start)
                    with warnings.catch_warnings(action="ignore"):  # about the files that are there
                        logger.experiment.metrics = metrics  # it starts by removing the file
                    logger.save()
            interrupted = _fit(trainer, module, data, checkpoint if resume else None, processes)
            if not trainer.is_global_zero:
                return None
            draw_curves(out, settings, out / CURVES_FILE)
    return Outcome(trainer.global_step, module.skipped, record.seconds, interrupted)


def _write_inputs(
    run: RunFolder, config: Path, settings: TrainingSettings, data: DomainData
) -> None:
    """Write the settings of the run."""
    run.write_record({"settings": settings.model_dump(mode="json")})
    run.write(CONFIG_COPY, config.read_bytes())
    data.split.write(run.path / SPLIT_FILE)
    begin_table(run.path / NORMS_FILE, settings.backpropagated, data.start)


def _fit(
    trainer: lightning.Trainer,
    module: NemoTraining,
    data: DomainData,
    checkpoint: Path | None,
    processes: int,
) -> bool:
    """Train; return whether a signal ended it early."""
    with warnings.catch_warnings():
        for known in ("does not have many workers", "exists and is not empty"):
            warnings.filterwarnings("ignore", message=f".*{known}.*")
        try:
            with _ctrl_c_as_sigterm() if processes == 1 else nullcontext():
                trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        except SystemExit:
            # Lightning's response to SIGINT and SIGTERM, after saving a checkpoint if there is only one process.
            if processes > 1:
                raise SystemExit(EXIT_CODE) from None
            return True
    return False


def draw_curves(run: Path, settings: TrainingSettings, file: Path) -> None:
    """Draw the metrics of the run in a folder, PNG."""
    ends = tuple(itertools.accumulate(stage.updates for stage in settings.stages))
    with completing(file) as partial:
        plot_curves(run / METRICS_FILE, partial, settings.description, ends[:-1], run / NORMS_FILE)


class _Progress(RichProgressBar):
    """Progress bar without epochs, of which a run has no fixed number, and without the version of a log."""

    @property
    def total_train_batches(self) -> int:
        """All updates; those before an interruption are counted, too."""
        return self.trainer.max_steps

    def get_metrics(self, *arguments: Any) -> Any:
        """The loss."""
        return {k: v for k, v in super().get_metrics(*arguments).items() if k != "v_num"}

    def _get_train_description(self, current_epoch: int) -> str:
        return "Training"


class _SaveAtEnd(Callback):
    """Saves the checkpoint before the next callback replaces the weights by the averaged ones."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Save."""
        trainer.save_checkpoint(self._path)


@contextmanager
def _ctrl_c_as_sigterm() -> Iterator[None]:
    """Defer Ctrl-C to the end of the update, so that no checkpoint has half of one; a second one acts at once."""
    default = signal.default_int_handler
    if signal.getsignal(signal.SIGINT) is not default or current_thread() is not main_thread():
        yield  # ignored, or handled elsewhere
        return

    def receive(*_: Any) -> None:
        signal.signal(signal.SIGINT, default)
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # Lightning does not listen yet
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGINT, receive)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, default)


def _devices(devices: int | None) -> int:
    """Number of processes on this machine."""
    there = torch.cuda.device_count()
    if devices and there and devices > there:
        raise InputError(f"--devices is {devices}, but there are {there} GPUs here: give fewer.")
    return devices or max(there, 1)


def _check_processes(out: Path, checkpoint: dict[str, Any], processes: int) -> None:
    """Refuse another number of processes, which determines batches, noise and means."""
    sittings = checkpoint.get(SITTINGS)
    before = sittings[-1]["processes"] if sittings else processes
    if before != processes:
        raise InputError(
            f"{out} was started with {before} processes, not {processes}: resume with the same number "
            "(--devices times --nodes), or give another --out."
        )


def _metrics_before(path: Path, update: int) -> list[dict[str, str]]:
    """Lines of an interrupted run's table that belong to updates before this one."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        rows = [
            row for row in csv.DictReader(file) if None not in row.values()
        ]  # otherwise cut short
    lines = [{name: value for name, value in row.items() if value} for row in rows]
    return [line for line in lines if int(line["step"]) < update]


def read_run_settings(folder: Path) -> TrainingSettings:
    """Settings of the run in a folder.

    Raises
    ------
    InputError
        If they cannot be read.
    """

    def parse(values: dict[str, Any]) -> TrainingSettings:
        # Version 0.1 wrote only the settings.
        return TrainingSettings.model_validate(values.get("settings", values))

    return RunFolder(folder, TRAINING).read_record(parse, "give a folder of a run")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Content of a checkpoint; nothing in it can run code.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be read ({reason}): give a checkpoint of a run.") from None

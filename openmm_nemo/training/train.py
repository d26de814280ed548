"""A training run in a folder: ``openmm-nemo train`` and ``openmm-nemo export``."""

import os
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from openmm_nemo.errors import InputError
from openmm_nemo.networks import NemoModel
from openmm_nemo.training.module import NemoTraining
from openmm_nemo.training.settings import TrainingSettings, read_settings
from openmm_nemo.training.stream import DomainData

SETTINGS_FILE = "settings.toml"
CHECKPOINT_FILE = "last.ckpt"
CHECKPOINT_MINUTES = 2


def train(config: Path, out: Path, resume: bool = False, devices: int | str = "auto") -> None:
    """Train a model as a TOML file says, see `TrainingSettings`.

    Writes to ``out``: settings.toml, metrics.csv, TensorBoard's files, and last.ckpt every two minutes and at the end.

    Parameters
    ----------
    config : Path
    out : Path
        Made if it does not exist.
    resume : bool
        Go on from last.ckpt.
    devices : int or str
        GPUs, or processes where there are none, see `lightning.pytorch.Trainer`.

    Raises
    ------
    InputError
        If the settings or the data cannot be read, or ``out`` holds a run already, or none to resume.
    """
    settings = read_settings(config)
    checkpoint = out / CHECKPOINT_FILE
    if resume and not checkpoint.exists():
        raise InputError(f"{out} has no {CHECKPOINT_FILE}: leave --resume out to start a run.")
    if not resume and checkpoint.exists():
        raise InputError(f"{out} has a run already: give --resume, or another --out.")
    data = DomainData(settings)
    module = NemoTraining(settings)
    if resume:
        data.start = read_checkpoint(checkpoint)["global_step"]
    out.mkdir(parents=True, exist_ok=True)
    (out / SETTINGS_FILE).write_text(config.read_text())
    trainer = lightning.Trainer(
        max_steps=settings.updates,
        devices=devices,
        logger=[CSVLogger(out, "", ""), TensorBoardLogger(out, "", "tensorboard")],
        callbacks=[
            EMAWeightAveraging(decay=settings.ema_decay),
            ModelCheckpoint(
                out,
                "last",
                train_time_interval=timedelta(minutes=CHECKPOINT_MINUTES),
                save_on_exception=True,
                enable_version_counter=False,
            ),
            RichProgressBar(),
        ],
        gradient_clip_val=settings.max_gradient_norm,
        val_check_interval=settings.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        inference_mode=False,  # forces are gradients
        use_distributed_sampler=False,
        enable_model_summary=False,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        trainer.fit(module, data, ckpt_path=checkpoint if resume else None, weights_only=True)
    trainer.save_checkpoint(checkpoint)


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


def export(checkpoint: Path, out: Path) -> NemoModel:
    """Write the averaged weights of a checkpoint as a model folder.

    Parameters
    ----------
    checkpoint : Path
        File in the folder of a run, beside its settings.
    out : Path
        Made if it does not exist.

    Raises
    ------
    InputError
        If the checkpoint or its settings cannot be read.
    """
    content = read_checkpoint(checkpoint)
    settings: TrainingSettings = read_settings(checkpoint.parent / SETTINGS_FILE)
    module = NemoTraining(settings)
    module.load_state_dict(content["state_dict"])
    model = module.model
    model.trained = True
    model.description = settings.description
    os.makedirs(out, exist_ok=True)
    model.save_pretrained(out)
    return model

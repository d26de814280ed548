"""How long a run took and on what hardware, kept in its checkpoints for the model card."""

import importlib.metadata
import platform
import re
import time
from pathlib import Path
from typing import Any, TypedDict

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback

SITTINGS = "sittings"
"""Key in the checkpoint."""


class Sitting(TypedDict):
    """An uninterrupted part of a run: from its start, or from where it was resumed, to a checkpoint.

    Attributes
    ----------
    updates : int
        Updates of the whole run at the end of this part.
    seconds : float
        Duration, without updates that were lost.
    processes : int
        Number of processes that shared each update.
    hardware, software : str
    training_domains, validation_domains : int
    """

    updates: int
    seconds: float
    processes: int
    hardware: str
    software: str
    training_domains: int
    validation_domains: int


class Record(Callback):
    """Adds the uninterrupted parts of a run to each of its checkpoints."""

    def __init__(self) -> None:
        self._before: list[Sitting] = []
        self._start = 0.0

    @property
    def seconds(self) -> float:
        """Duration of all parts."""
        return sum(sitting["seconds"] for sitting in self._before) + self._passed

    @property
    def _passed(self) -> float:
        return time.monotonic() - self._start

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def on_save_checkpoint(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Add this part so far to the earlier ones."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        sitting = Sitting(
            updates=trainer.global_step,
            seconds=self._passed,
            processes=trainer.world_size,
            hardware=hardware(module.device),
            software=", ".join(f"{name} {_version(name)}" for name in ("torch", "lightning")),
            training_domains=len(data.train),
            validation_domains=len(data.validation),
        )
        checkpoint[SITTINGS] = [*self._before, sitting]

    def on_load_checkpoint(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        """Restore the earlier parts."""
        self._before = checkpoint.get(SITTINGS, [])


def hardware(device: torch.device) -> str:
    """Name of a GPU, or of the processor and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{_processor()} ({threads} thread{'s' if threads > 1 else ''})"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _version(package: str) -> str:
    return importlib.metadata.version(package)

"""Export a run as a model that others can use: ``openmm-nemo export``."""

from pathlib import Path

import numpy as np

from openmm_nemo.data.splits import SPLIT_FILE, Split
from openmm_nemo.engine.torchscript import write_scripted
from openmm_nemo.errors import InputError
from openmm_nemo.files import completing
from openmm_nemo.models import NemoModel
from openmm_nemo.models.migration import current_names
from openmm_nemo.training.card import Run, model_card
from openmm_nemo.training.curves import read_metrics
from openmm_nemo.training.module import NemoTraining
from openmm_nemo.training.record import SITTINGS
from openmm_nemo.training.train import (
    CONFIG_COPY,
    CURVES_FILE,
    METRICS_FILE,
    draw_curves,
    read_checkpoint,
    read_run_settings,
)

CARD_FILE = "README.md"


def export(
    checkpoint: Path, out: Path, notes: Path | None = None, comparison: Path | None = None
) -> NemoModel:
    """Write the averaged weights of a checkpoint as a model folder.

    Writes to ``out``: config.json and model.safetensors, see `NemoModel.from_pretrained`; split.json and training.toml
    of the run; curves.png; TorchScript of the networks, see `scripted_networks`; and README.md, the model card.

    Parameters
    ----------
    checkpoint : Path
        File in the folder of a run, next to its settings.
    out : Path
        Made if it does not exist.
    notes : Path, optional
        Markdown to append to the card: limits, evaluation.
    comparison : Path, optional
        compare.md of ``openmm-nemo compare``, whose tables the card prints.

    Raises
    ------
    InputError
        If the checkpoint, its run, the notes or the comparison cannot be read.
    """
    folder = checkpoint.parent
    content = read_checkpoint(checkpoint)
    settings = read_run_settings(folder)
    text = None if notes is None else _read(notes, "--notes")
    tables = None if comparison is None else _read(comparison, "--comparison")
    split = Split.read(folder / SPLIT_FILE)
    config = folder / CONFIG_COPY
    run = Run(
        content["global_step"],
        content["skipped"],
        content.get(SITTINGS, []),
        _metrics(folder / METRICS_FILE),
        config.is_file(),
    )
    anew = settings.model.model_copy(update={"start": None})  # which may no longer exist
    module = NemoTraining(settings.model_copy(update={"model": anew}))
    module.load_state_dict(current_names(content["state_dict"]))
    model = module.model
    model.trained = True
    model.description = settings.description
    model.save_pretrained(out)
    split.write(out / SPLIT_FILE)
    if run.has_config:
        with completing(out / CONFIG_COPY) as partial:
            partial.write_bytes(config.read_bytes())
    draw_curves(folder, settings, out / CURVES_FILE)
    scripts = write_scripted(model, out)
    with completing(out / CARD_FILE) as partial:
        partial.write_text(
            model_card(out.resolve().name, model, settings, split, run, scripts, text, tables),
            encoding="utf-8",
        )
    return model


def _metrics(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_metrics(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} cannot be read ({error}): give a checkpoint of a run.") from None


def _read(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): give {option} a text file.") from None

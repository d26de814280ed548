"""``openmm-nemo train`` and ``openmm-nemo export``: from domains to a model."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import click

from openmm_nemo.errors import InputError
from openmm_nemo.runs.interruption import EXIT_CODE, exit_on_interrupt


@click.command()
@click.argument("config", type=click.Path(path_type=Path), metavar="CONFIG")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder to write.  [default: run/NAME, of CONFIG without its extension]",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option(
    "--devices",
    type=click.IntRange(1),
    help="GPUs, or processes where there are none.  [default: all GPUs, or one process]",
)
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True, help="Machines.")
@click.option("--seed", type=click.IntRange(0), help="Instead of the one in CONFIG.")
def train(
    config: Path,
    out: Path | None,
    resume: bool,
    devices: int | None,
    nodes: int,
    seed: int | None,
) -> None:
    """Train a model as the TOML file CONFIG says; see examples/configs.

    Writes to --out: settings.json, metrics.csv, gradient_norms.csv, TensorBoard's files, last.ckpt every few
    minutes, and curves.png.
    """
    folder = out or Path("run") / config.stem
    outcome = _training("train").train(config, folder, resume, devices, nodes, seed)
    if outcome is None:  # of all processes but the first
        return
    if outcome.interrupted:
        click.echo(f"Interrupted after update {outcome.updates}: --resume continues.")
        sys.exit(EXIT_CODE)
    why = ", because their gradients were not finite or too large" if outcome.skipped else ""
    click.echo(
        f"Trained {folder}: {outcome.updates} updates in {outcome.seconds:.0f} s; {outcome.skipped} of them were "
        f"left out{why}."
    )


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), metavar="CHECKPOINT")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option(
    "--notes",
    type=click.Path(path_type=Path),
    help="Markdown that the model card ends with: what the model is good for, and what not.",
)
def export(checkpoint: Path, out: Path, notes: Path | None) -> None:
    """Write the model of a CHECKPOINT of 'openmm-nemo train' to a folder that all other verbs read with --model.

    With the weights come the split, a model card (README.md), the curves of the run and TorchScript of the networks.
    """
    _training("export").export(checkpoint, out, notes)
    click.echo(f"Wrote the model to {out}.")


def _training(module: str) -> ModuleType:
    """A module of the training, which needs more packages than all else."""
    try:
        with exit_on_interrupt():
            return importlib.import_module(f"openmm_nemo.training.{module}")
    except ImportError as error:
        raise InputError(
            f"Training needs the package {error.name}: pip install 'openmm-nemo[train]'."
        ) from None

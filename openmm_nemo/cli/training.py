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
    help="Folder to write.  [default: run/NAME, where NAME is that of CONFIG without extension]",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out.")
@click.option(
    "--devices",
    type=click.IntRange(1),
    help="Number of GPUs, or of processes if there are none.  [default: all GPUs, or one process]",
)
@click.option(
    "--nodes", type=click.IntRange(1), default=1, show_default=True, help="Number of nodes."
)
@click.option("--seed", type=click.IntRange(0), help="Random seed, instead of the one in CONFIG.")
def train(
    config: Path,
    out: Path | None,
    resume: bool,
    devices: int | None,
    nodes: int,
    seed: int | None,
) -> None:
    """Train a model with the settings in a TOML file.

    CONFIG is the file; see examples/configs. Writes to --out: settings.json, metrics.csv, gradient_norms.csv,
    TensorBoard's files, last.ckpt every few minutes, and curves.png.
    """
    folder = out or Path("run") / config.stem
    outcome = _training("train").train(config, folder, resume, devices, nodes, seed)
    if outcome is None:  # in all processes but the first
        return
    if outcome.interrupted:
        click.echo(f"Interrupted after update {outcome.updates}: --resume continues the run.")
        sys.exit(EXIT_CODE)
    why = ", because their gradients were not finite or too large" if outcome.skipped else ""
    click.echo(
        f"Trained {folder}: {outcome.updates} updates in {outcome.seconds:.0f} s; {outcome.skipped} of them "
        f"were skipped{why}."
    )


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path), metavar="CHECKPOINT")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option(
    "--notes",
    type=click.Path(path_type=Path),
    help="Markdown to append to the model card: what the model is good for, and what not.",
)
@click.option(
    "--comparison",
    type=click.Path(path_type=Path),
    help="compare.md of 'openmm-nemo compare', to print its tables in the model card.",
)
def export(checkpoint: Path, out: Path, notes: Path | None, comparison: Path | None) -> None:
    """Export a trained model to a folder.

    CHECKPOINT was written by 'openmm-nemo train'; the other commands read the folder with --model. It contains the
    weights, the split, a model card (README.md), the curves of the run and TorchScript of the networks.
    """
    _training("export").export(checkpoint, out, notes, comparison)
    click.echo(f"Wrote the model to {out}.")


def _training(module: str) -> ModuleType:
    """A module of the training, which needs more packages than the rest."""
    try:
        with exit_on_interrupt():
            return importlib.import_module(f"openmm_nemo.training.{module}")
    except ImportError as error:
        raise InputError(
            f"Training needs the package {error.name}: pip install 'openmm-nemo[train]'."
        ) from None

"""``openmm-nemo models`` and ``openmm-nemo doctor``: what is installed."""

from itertools import chain
from pathlib import Path

import click

from openmm_nemo.doctor import examine, report, self_test
from openmm_nemo.models import list_models, write_registry


@click.command()
@click.option(
    "--write-registry",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write registry.json for the models in a folder instead, so that others can get them: by name, with "
    "NEMO_MODEL_PATH, or by URL.",
)
def models(folder: Path | None) -> None:
    """List the installed models."""
    if folder is not None:
        click.echo(write_registry(folder))
        return
    for name, description in list_models().items():
        click.echo(f"{name}\t{description}")


@click.command()
@click.option(
    "--report",
    "for_issue",
    is_flag=True,
    help="Print it for an issue: without paths, your name and that of the machine.",
)
def doctor(for_issue: bool) -> None:
    """Check the installation.

    Says which integrator, platforms and forces work here, and how to fix the others, and simulates a peptide for a few
    steps, which must be the same in OpenMM and in PyTorch.
    """
    findings = chain(examine(), self_test())
    if for_issue:
        click.echo(report(findings))
        return
    for finding in findings:
        click.echo(finding)

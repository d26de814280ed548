"""``openmm-nemo models`` and ``openmm-nemo doctor``: what is installed."""

import click

from openmm_nemo.doctor import examine
from openmm_nemo.models import list_models


@click.command()
def models() -> None:
    """List the installed models."""
    for name, description in list_models().items():
        click.echo(f"{name}\t{description}")


@click.command()
def doctor() -> None:
    """Check the installation.

    Says which integrator, platforms and forces work here, and how to fix the others.
    """
    for finding in examine():
        click.echo(finding)

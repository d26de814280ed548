"""``openmm-nemo models`` and ``openmm-nemo doctor``: what is installed."""

from itertools import chain

import click

from openmm_nemo.doctor import examine, report, self_test
from openmm_nemo.models import list_models


@click.command()
def models() -> None:
    """List the installed models."""
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

"""The command ``openmm-nemo``: every verb reads its options and calls one function."""

import sys

import click

from openmm_nemo import __version__
from openmm_nemo.cli.comparison import compare
from openmm_nemo.cli.domains import data
from openmm_nemo.cli.evaluation import evaluate
from openmm_nemo.cli.profiles import profile
from openmm_nemo.cli.sampling import sample
from openmm_nemo.cli.simulation import simulate
from openmm_nemo.cli.training import export, train
from openmm_nemo.errors import InputError
from openmm_nemo.networks import list_models


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="openmm-nemo")
def cli() -> None:
    """NEMO: neural coarse-grained energies of proteins, simulated in OpenMM."""


@click.command()
def models() -> None:
    """List the installed models."""
    for name, description in list_models().items():
        click.echo(f"{name}\t{description}")


@click.command()
def doctor() -> None:
    """Tell which integrator, platforms and forces work here, and what to do about those that do not."""
    from openmm_nemo.doctor import examine

    for finding in examine():
        click.echo(finding)


for verb in (simulate, sample, evaluate, train, export, compare, profile, data, models, doctor):
    cli.add_command(verb)


def main() -> None:
    """Entry point: bad input is one line on standard error and exit code 2."""
    try:
        cli(standalone_mode=False)
    except InputError as error:
        click.echo(f"openmm-nemo: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)

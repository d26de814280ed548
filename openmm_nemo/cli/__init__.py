"""The command ``openmm-nemo``: each verb reads its options and calls one function."""

import sys
from importlib import import_module

import click

from openmm_nemo.errors import InputError
from openmm_nemo.runs.interruption import EXIT_CODE, exit_on_interrupt
from openmm_nemo.version import __version__

VERBS = {
    "simulate": ("simulation", "Simulate a protein, from a structure or a sequence."),
    "exchange": (
        "exchange",
        "Simulate a protein at several temperatures that exchange replicas.",
    ),
    "sample": (
        "sampling",
        "Sample ensembles of structures, of one protein or of several.",
    ),
    "evaluate": ("evaluation", "Compare sampled ensembles with the native structures."),
    "analyze": ("analysis", "Analyse simulations of a protein."),
    "check-ensemble": (
        "analysis",
        "Check whether simulations sampled the Boltzmann distribution.",
    ),
    "train": ("training", "Train a model with the settings in a TOML file."),
    "export": ("training", "Export a trained model to a folder."),
    "compare": ("comparison", "Compare models with each other and with controls."),
    "profile": ("profiles", "Make the sequence profile of a protein from its homologues."),
    "data": ("domains", "Build, describe and split sets of protein domains."),
    "models": ("installation", "List the installed models."),
    "doctor": ("installation", "Check the installation."),
}
"""Module and summary of each verb; the summary is the first line of the verb's own help."""


class LazyGroup(click.Group):
    """Imports the module of a verb only when the verb is used: torch and OpenMM take seconds to load."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Names of the verbs."""
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of a verb."""
        if name not in VERBS:
            return None
        module, _ = VERBS[name]
        with exit_on_interrupt():
            command: click.Command = getattr(
                import_module(f"openmm_nemo.cli.{module}"), name.replace("-", "_")
            )
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in VERBS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="openmm-nemo")
def cli() -> None:
    """NEMO: neural coarse-grained energies of proteins, simulated in OpenMM."""


def main() -> None:
    """Entry point: bad input gives one line on standard error and exit code 2."""
    try:
        cli(standalone_mode=False)
    except InputError as error:
        click.echo(f"openmm-nemo: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_CODE)

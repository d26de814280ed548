"""``openmm-nemo exchange``: replica exchange in temperature."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from openmm_nemo.cli.inputs import counted
from openmm_nemo.cli.runs import given_options, run_in_folder, run_options, settings_of
from openmm_nemo.errors import InputError
from openmm_nemo.progress import progress
from openmm_nemo.runs.folder import RunFolder
from openmm_nemo.runs.ladder import choose_ladder
from openmm_nemo.runs.settings import (
    SIMULATION,
    SUMMARY_FILE,
    ExchangeSettings,
    SimulationRecord,
    SimulationSettings,
    in_kelvin,
)


@click.command()
@run_options
@click.option(
    "--temperatures",
    metavar="LIST",
    help="Temperature of each replica, kelvin: increasing, like 300,340,390.",
)
@click.option(
    "--lowest",
    type=float,
    help="Instead of --temperatures: lowest temperature, kelvin.  [default: 300]",
)
@click.option("--highest", type=float, help="Instead of --temperatures: highest, kelvin.")
@click.option(
    "--acceptance",
    type=float,
    help="Choose the temperatures between --lowest and --highest by a trial run, so that neighbours exchange with this "
    "probability.  [default: 0.5]",
)
@click.option("--trial-steps", type=int, help="Steps of the trial run.  [default: 1000]")
@click.option(
    "--interval",
    type=click.IntRange(1),
    help="Steps between attempts to exchange neighbours.  [default: 10]",
)
@click.option(
    "--metropolis",
    is_flag=True,
    default=None,
    help="Accept or reject every move, so that all temperatures are sampled exactly.",
)
def exchange(out: Path, steps: int | None, threads: int, resume: bool, **options: Any) -> None:
    """Simulate a protein at several temperatures that exchange replicas.

    Neighbouring temperatures exchange their configurations with the probability that leaves both Boltzmann
    distributions as they are. The steps between exchanges do so only with --metropolis.

    Writes what simulate --replicas writes: a folder replica-0, replica-1, ... for each temperature, in increasing
    order. In addition: exchanges.csv with the walker at each temperature after every attempt, summary.json with the
    acceptance of each pair and the round trips, and exchange.png.
    """
    torch.set_num_threads(threads)  # as in simulate
    given = given_options(out, steps, resume, options)
    if resume:
        folder = RunFolder(out, SIMULATION)
        folder.check_resumable()
        if folder.read_record(SimulationRecord.parse).settings.exchange is None:
            raise InputError(
                f"The run in {out} exchanges no replicas: resume it with 'openmm-nemo simulate'."
            )
        run_in_folder(out, None, steps)
    else:
        run_in_folder(out, _settings(out, given), steps)
    _print_summary(json.loads((out / SUMMARY_FILE).read_bytes()))


def _settings(out: Path, given: dict[str, Any]) -> SimulationSettings:
    """Settings of a new run; with a trial run, if it has to choose the temperatures."""
    interval = given.pop("interval", 10)
    listed = given.pop("temperatures", None)
    ends: dict[str, Any] = {
        name: given.pop(name)
        for name in ("lowest", "highest", "acceptance", "trial_steps")
        if name in given
    }
    if (listed is None) == ("highest" not in ends) or (listed is not None and ends):
        raise InputError(
            "Give --temperatures, or --highest with --lowest, --acceptance and --trial-steps as you need them."
        )
    settings = settings_of(given | {"anneal": False})
    acceptance = None
    if listed is not None:
        temperatures = _temperatures(listed)
    else:
        acceptance = ends.get("acceptance", 0.5)
        temperatures = _chosen(out, settings, acceptance, ends)
    return replace(
        settings,
        replicas=len(temperatures),
        exchange=ExchangeSettings(temperatures, interval, acceptance),
    )


def _temperatures(text: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise InputError(
            f"--temperatures {text!r} is not a list of numbers: give it like 300,340,390."
        ) from None


def _chosen(
    out: Path, settings: SimulationSettings, acceptance: float, ends: Mapping[str, Any]
) -> list[float]:
    """Temperatures from a trial run."""
    RunFolder(out, SIMULATION).check_new()  # not after the trial run
    steps = ends.get("trial_steps", 1000)
    with progress("Trial run", 0, steps) as update:
        temperatures = choose_ladder(
            settings, ends.get("lowest", 300.0), ends["highest"], acceptance, steps, update
        )
    click.echo(
        f"{counted(len(temperatures), 'temperature')} for an acceptance of {acceptance:g}: {in_kelvin(temperatures)}."
    )
    return temperatures


def _print_summary(summary: Mapping[str, Any]) -> None:
    rates = ", ".join(
        "none" if pair["acceptance"] is None else f"{pair['acceptance']:.2f}"
        for pair in summary["pairs"]
    )
    click.echo(
        f"{counted(summary['attempts'], 'attempt')}; accepted fraction of each pair of neighbours: {rates}; "
        f"{counted(summary['round_trips'], 'round trip')}."
    )

"""``openmm-nemo simulate --fasta``: simulations of several proteins, one after another."""

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from openmm_nemo.cli.inputs import counted
from openmm_nemo.engine.all_atoms import STEPS
from openmm_nemo.errors import InputError
from openmm_nemo.models.complex import ConditionedComplex
from openmm_nemo.progress import progress
from openmm_nemo.runs.interruption import EXIT_CODE
from openmm_nemo.runs.series import SimulationSeries
from openmm_nemo.runs.settings import CHAIN_MOVE_INTERVAL, SimulationSettings
from openmm_nemo.runs.simulation import SimulationRun


def plan_of(run: SimulationRun, total: int) -> str:
    """What a run up to ``total`` steps simulates, in words."""
    s = run.settings
    plan = f"{s.residues_in_words}, seed {s.seed}, to step {total}"
    if s.replicas > 1:
        plan = f"{s.replicas} replicas of {plan}"
    if s.exchange is not None:
        plan += f", at {s.temperatures}, exchanged every {counted(s.exchange.interval, 'step')}"
    if s.chain_moves:
        plan += (
            f", with {counted(s.chain_moves, 'move')} of chains every {CHAIN_MOVE_INTERVAL} steps"
        )
    if s.schedule is not None:
        plan += f", annealed: {s.temperatures} over the first {s.schedule.steps} steps"
    return plan


def advance(run: SimulationRun, total: int, label: str) -> bool:
    """Advance a run to ``total`` steps and add the all-atom model, if it has one; false if it was interrupted."""
    complete = run.step == total
    if not complete:
        with progress(label, run.step, total) as update:
            complete = run.run(total, update)
    if complete and run.settings.all_atom:
        with progress("Adding all atoms", 0, STEPS) as update:
            run.write_all_atom_model(update)
    return complete


def simulate_series(
    out: Path, settings: Mapping[str, SimulationSettings] | None, steps: int | None
) -> None:
    """Begin or resume a series, see `SimulationSeries`; a protein that fails does not stop the others."""
    failures = 0
    advanced = 0
    caveats: set[str] = set()
    with SimulationSeries(out, settings, steps) as series:
        if not series.model.trained:
            name = next(iter(series.settings.values())).model
            click.echo(
                f"Model {name} is untrained (random weights): expect no meaningful structure."
            )
        for name, of_protein in series.settings.items():
            total = of_protein.steps
            try:
                with series.run(name) as run:
                    if run.step >= total and not (run.step == total and run.lacks_all_atom_model):
                        continue
                    if isinstance(run.protein, ConditionedComplex):
                        for caveat in {run.protein.caveat} - {"", *caveats}:
                            click.echo(caveat)
                            caveats.add(caveat)
                    click.echo(f"{name}: simulating {plan_of(run, total)}.")
                    complete = advance(run, total, name)
            except InputError as error:
                click.echo(f"Not simulated: {name}: {error}")
                failures += 1
                continue
            if not complete:
                click.echo(
                    f"Interrupted {name} at step {run.step}: all files are complete; --resume continues the series."
                )
                sys.exit(EXIT_CODE)
            advanced += 1
        count = len(series.settings)
    if failures:
        raise InputError(f"{failures} of {count} proteins could not be simulated: see above.")
    if not advanced:
        raise InputError(
            f"All {count} simulations in {out} already have their steps: give a larger --steps to continue them."
        )
    click.echo(f"Wrote the simulations of {counted(advanced, 'protein')} to {out}.")

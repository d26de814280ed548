"""``openmm-nemo analyze`` and ``openmm-nemo check-ensemble``: what simulations sampled."""

import sys
from pathlib import Path

import click

from openmm_nemo.analysis.analyze import REPORT_FILE
from openmm_nemo.analysis.analyze import analyze as analyze_simulations
from openmm_nemo.analysis.check import TABLE_FILE, check_simulations
from openmm_nemo.analysis.ensemble_check import MAX_DEVIATION
from openmm_nemo.analysis.trajectories import read_simulations
from openmm_nemo.cli.inputs import read_reference
from openmm_nemo.errors import InputError
from openmm_nemo.progress import progress

INCONSISTENT = 1
"""Exit code if samples are not of the Boltzmann distribution."""

RUNS = click.argument("runs", type=click.Path(path_type=Path), metavar="RUN...", nargs=-1, required=True)  # fmt: skip
OUT = click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
SKIP = click.option(
    "--skip",
    type=click.IntRange(0),
    help="Frames of each trajectory to leave out of averages.  [default: those before equilibration]",
)


@click.command()
@RUNS
@OUT
@click.option(
    "--native",
    type=click.Path(path_type=Path),
    help="Structure to compare with, in RMSD and native contacts: PDB, mmCIF or GRO file.",
)
@click.option("--native-chain", help="Chain of the --native file.  [default: the first]")
@click.option(
    "--native-model", type=int, help="Model of the --native file, from 1.  [default: the first]"
)
@SKIP
@click.option(
    "--free-energies",
    is_flag=True,
    help="Reweight over temperature by MBAR; needs runs at two temperatures or more.",
)
@click.option(
    "--tica",
    "lag",
    type=click.IntRange(1),
    metavar="LAG",
    help="Find the slowest motions, with this lag in frames.",
)
def analyze(
    runs: tuple[Path, ...],
    out: Path,
    native: Path | None,
    native_chain: str | None,
    native_model: int | None,
    skip: int | None,
    free_energies: bool,
    lag: int | None,
) -> None:
    """Analyse simulations of a protein.

    Each RUN is a folder written by 'openmm-nemo simulate' or 'exchange'; all are of the same protein and model, at any
    temperatures. Writes to --out: analysis.html, with trajectories in 3D, averages and figures, which any browser opens
    offline; measures of all frames and averages as CSV; and the figures as PNG.
    """
    simulated = read_simulations(runs)
    x = None
    if native is not None:
        x = read_reference(native, native_chain, native_model, simulated[0].sequence, "native").ca
    elif (native_chain, native_model) != (None, None):
        raise InputError("--native-chain and --native-model go with --native FILE.")
    with progress("Measuring", 0, len(simulated)) as update:
        analysis = analyze_simulations(simulated, out, x, skip, free_energies, lag, update)
    for note in analysis.notes:
        click.echo(note)
    click.echo(f"Wrote {out / REPORT_FILE}.")


@click.command()
@RUNS
@OUT
@SKIP
def check_ensemble(runs: tuple[Path, ...], out: Path, skip: int | None) -> None:
    """Check whether simulations sampled the Boltzmann distribution.

    Each RUN is a folder written by 'openmm-nemo simulate' or 'exchange', of the same protein and model; together, they
    have two temperatures or more. The ratio of the energy distributions at two temperatures has a slope that is known
    exactly (Shirts 2013). It is fitted to independent frames; if it deviates by more than 3 standard errors, which
    happens by chance in 0.3% of all checks, the exit code is 1. Writes ensemble.csv and figures to --out.
    """
    checks = check_simulations(read_simulations(runs), out, skip)
    for check in checks:
        click.echo(
            f"{check.low:g} and {check.high:g} K: the slope is {check.slope / check.expected:.3f} ± "
            f"{check.error / check.expected:.3f} times that of the Boltzmann distribution "
            f"({check.n_low} and {check.n_high} independent frames, {check.deviation:+.1f} standard errors)."
        )
    click.echo(f"Wrote {out / TABLE_FILE}.")
    if not all(check.consistent for check in checks):
        click.echo(
            f"Not consistent with the Boltzmann distribution: more than {MAX_DEVIATION:g} standard errors."
        )
        sys.exit(INCONSISTENT)
    click.echo("Consistent with the Boltzmann distribution.")

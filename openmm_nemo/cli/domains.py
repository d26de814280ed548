"""``openmm-nemo data``: sets of protein domains."""

import sys
from pathlib import Path

import click

from openmm_nemo.cli.splits import split
from openmm_nemo.data.sets.building import FAILURES_FILE, build_set, plan_of, source_files
from openmm_nemo.data.sets.description import describe_set
from openmm_nemo.data.sets.labels import read_labels
from openmm_nemo.progress import progress
from openmm_nemo.runs.interruption import EXIT_CODE

SHOWN_FAILURES = 10


@click.group()
def data() -> None:
    """Build, describe and split sets of protein domains."""


data.add_command(split)


@data.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IN...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option(
    "--workers", type=click.IntRange(1), help="Number of processes.  [default: all processors]"
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path),
    help="CATH and SCOP codes: a table with the header id,cath,scop, or the domain list of a CATH release.",
)
def build(inputs: tuple[Path, ...], out: Path, workers: int | None, labels: Path | None) -> None:
    """Build a set of domains from structures, JSON lines and arrays (.npz), in files or whole folders.

    Writes to --out: domains.safetensors, and failures.csv with what could not be read and why. Rerun the same command
    to continue a build that was interrupted. docs/data-format.md describes the arrays, which may include profiles.
    """
    codes = None if labels is None else read_labels(labels)
    sources = source_files(inputs)
    total = len(sources.files)
    try:
        with progress("Reading", 0, len(plan_of(sources.files).tasks)) as update:
            built = build_set(inputs, out, workers, update, codes)
    except KeyboardInterrupt:
        click.echo(
            f"Interrupted: {out} keeps what has been read; rerun the same command to continue."
        )
        sys.exit(EXIT_CODE)
    for failure in built.failures[:SHOWN_FAILURES]:
        click.echo(f"Not taken: {failure.place}: {failure.reason}")
    if len(built.failures) > SHOWN_FAILURES:
        click.echo(f"and {len(built.failures) - SHOWN_FAILURES} more, see {out / FAILURES_FILE}")
    if sources.others:
        names = ", ".join(file.name for file in sources.others[:SHOWN_FAILURES])
        click.echo(f"Ignored because of their names: {len(sources.others)} files ({names})")
    if any(built.n_profiles.values()):
        counts = ", ".join(f"{count} {kind}" for kind, count in built.n_profiles.items())
        click.echo(f"Domains with a profile: {counts}")
    click.echo(
        f"Wrote {built.n_domains} domains from {total} files to {out}; {len(built.failures)} were not taken."
    )


@data.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="SET")
def info(folder: Path) -> None:
    """Describe a set: counts by length and class, a plot in SET/info.png, and a list of the domains in
    SET/domains.csv."""
    for line in describe_set(folder):
        click.echo(line)

"""``openmm-nemo data split``: training, validation and test by CATH and sequence clusters."""

from pathlib import Path

import click

from openmm_nemo.data.sets.building import SET_FILE
from openmm_nemo.data.sets.storage import DomainSet
from openmm_nemo.data.splits import describe_split
from openmm_nemo.data.splitting import make_split
from openmm_nemo.errors import InputError
from openmm_nemo.progress import progress


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="SET")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="JSON file to write.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Random seed.")
@click.option(
    "--validation",
    type=float,
    default=0.03,
    show_default=True,
    help="Maximum fraction of the domains to hold out for validation at each of the levels A, T and H.",
)
@click.option(
    "--test",
    type=float,
    default=0.03,
    show_default=True,
    help="The same for the test part.",
)
@click.option(
    "--test-class",
    "test_classes",
    multiple=True,
    default=["4"],
    show_default=True,
    metavar="NUMBER",
    help="CATH class to hold out entirely for the test; may be repeated.",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Number of processes.  [default: all processors]"
)
@click.option(
    "--max-rg-ratio",
    type=click.FloatRange(0, min_open=True),
    help="Leave out domains with a radius of gyration more than this factor above that of a globule of their length.",
)
@click.option(
    "--folds/--no-folds",
    default=True,
    show_default=True,
    help="Leave out chains without CATH codes that contain the fold of a held-out domain, found by TM-align. "
    "Thousands of such chains take seconds for each held-out domain.",
)
def split(
    folder: Path,
    out: Path,
    seed: int,
    validation: float,
    test: float,
    test_classes: tuple[str, ...],
    max_rg_ratio: float | None,
    workers: int | None,
    folds: bool,
) -> None:
    """Hold out CATH groups for validation and test.

    SET is a folder written by 'data build'. Writes to --out which of its domains are for training; which for validation
    and test, with the level (C, A, T, H) at which they are new and their sequence identity to the training set; and
    which are unused, each with the reason.
    """
    if out.is_dir() or not out.parent.is_dir():  # checked before minutes of work
        raise InputError(f"--out {out} cannot be written: name a file in a folder that exists.")
    domains = list(DomainSet(folder / SET_FILE))
    if not all(domain.cluster for domain in domains):
        click.echo(f"Clustering {len(domains)} sequences at 30% identity.", err=True)
    division = make_split(
        domains, seed, validation, test, test_classes, workers, max_rg_ratio, folds, progress
    )
    division.write(out)
    for line in describe_split(division, domains):
        click.echo(line)
    click.echo(f"Wrote the split of {len(domains)} domains to {out}.")

"""``openmm-nemo profile``: the sequence profile of a protein from its homologues."""

from pathlib import Path
from typing import Any

import click

from openmm_nemo.cli.inputs import read_proteins, sequence_of
from openmm_nemo.data.families.alignments import (
    MAX_GAPS,
    MIN_DISTANCE,
    Alignment,
    read_alignment,
    write_alignment,
)
from openmm_nemo.data.families.homologues import BITS_PER_RESIDUE, ITERATIONS, search_homologues
from openmm_nemo.data.families.profiles import information_content, write_profile
from openmm_nemo.data.families.profiles import profile as make_profile
from openmm_nemo.errors import InputError
from openmm_nemo.progress import progress


@click.command()
@click.option("--sequence", help="One-letter amino-acid codes.")
@click.option(
    "--fasta",
    type=click.Path(path_type=Path),
    help="FASTA file with one sequence, instead of --sequence.",
)
@click.option(
    "--alignment",
    "alignment_file",
    type=click.Path(path_type=Path),
    help="A3M, aligned FASTA or Stockholm file whose first sequence is the protein.",
)
@click.option(
    "--database",
    type=click.Path(path_type=Path),
    help="FASTA file to search with jackhmmer, instead of --alignment.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Profile to write, for 'simulate --profile'; comma-separated if it ends in .csv.",
)
@click.option(
    "--save-alignment",
    type=click.Path(path_type=Path),
    help="A3M file to write with the homologues that the profile was made from.",
)
@click.option(
    "--bits-per-residue",
    type=click.FloatRange(0, min_open=True),
    help=f"Minimum score of a homologue in the search.  [default: {BITS_PER_RESIDUE}]",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Number of threads for the search.  [default: all processors]",
)
def profile(
    sequence: str | None,
    fasta: Path | None,
    alignment_file: Path | None,
    database: Path | None,
    out: Path,
    save_alignment: Path | None,
    **search: Any,
) -> None:
    """Make the sequence profile of a protein from its homologues.

    The homologues come from an alignment or from a search in a database. Those with many gaps, and those nearly
    identical to another, are left out.
    """
    for file in filter(None, (out, save_alignment)):  # checked before the search
        if file.is_dir() or not file.parent.is_dir():
            raise InputError(f"{file} cannot be written: name a file in a folder that exists.")
    sequence = _query(sequence, fasta)
    given = {name: value for name, value in search.items() if value is not None}
    if alignment_file is not None and database is None:
        if given:
            raise InputError("--bits-per-residue and --workers go with --database.")
        found = read_alignment(alignment_file, sequence)
    elif database is not None and alignment_file is None:
        found = _search(sequence, database, **given)
    else:
        raise InputError("Give either --alignment or --database.")
    covering = found.drop_gapped()
    with progress("Comparing homologues", 0, len(covering)) as update:
        kept = covering.thin(progress=update)
    result = make_profile(kept)
    if save_alignment is not None:
        write_alignment(save_alignment, kept)
    write_profile(out, result)
    click.echo(
        f"Found {len(found) - 1} homologues, {len(covering) - 1} with at most {MAX_GAPS:.0%} gaps; "
        f"kept {len(kept) - 1} that differ by at least {MIN_DISTANCE:.0%}."
    )
    click.echo(
        f"Wrote the profile of {len(result)} residues to {out}: "
        f"{information_content(result).mean():.2f} bits of information per residue."
    )


def _query(sequence: str | None, fasta: Path | None) -> str | None:
    if sequence is not None and fasta is not None:
        raise InputError("Give either --sequence or --fasta.")
    if fasta is not None:
        records = read_proteins(fasta)
        if len(records) > 1:
            raise InputError(f"{fasta} has {len(records)} sequences: give a file with one.")
        return records[0].sequence
    return None if sequence is None else sequence_of(sequence)


def _search(sequence: str | None, database: Path, **options: Any) -> Alignment:
    if sequence is None:
        raise InputError("--database needs the protein: give --sequence or --fasta.")
    if not database.is_file():
        raise InputError(f"{database} is not a file: give a FASTA file of proteins.")
    # In kilobytes of the file, which is read once per iteration.
    total = ITERATIONS * database.stat().st_size // 1024
    with progress("Searching", 0, total) as update:
        return search_homologues(
            sequence, database, progress=lambda count: update(count // 1024), **options
        )

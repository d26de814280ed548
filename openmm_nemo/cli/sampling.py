"""``openmm-nemo sample``: ensembles of structures."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch

from openmm_nemo.cli.inputs import (
    DEFAULT_MODEL,
    counted,
    name_of_model,
    profiles_of_set,
    read_chain,
    read_proteins,
    sequence_of,
    structure_options,
)
from openmm_nemo.data.families.profiles import PROFILE_KINDS, read_profile, read_profiles
from openmm_nemo.data.sets.building import SET_FILE
from openmm_nemo.data.sets.domains import domain_of
from openmm_nemo.data.sets.storage import DomainSet
from openmm_nemo.data.splits import PARTS, Split
from openmm_nemo.encoders.embedding import read_embedding, read_embeddings
from openmm_nemo.errors import InputError
from openmm_nemo.models import NemoModel
from openmm_nemo.progress import progress
from openmm_nemo.residues import BREAK, Numbering
from openmm_nemo.runs.interruption import EXIT_CODE
from openmm_nemo.runs.source import SourceStructure
from openmm_nemo.sampling.engines import ENGINES
from openmm_nemo.sampling.ensembles import ensemble_size
from openmm_nemo.sampling.sampling import (
    MAX_SAMPLES,
    Protein,
    SamplingSettings,
    count_samples,
    sample_ensembles,
)

SHOWN_FAILURES = 10
SEQUENCE_ID = "sequence"


@click.command()
@structure_options
@click.option("--sequence", help="One-letter amino-acid codes.")
@click.option(
    "--fasta",
    type=click.Path(path_type=Path),
    help="FASTA file: sample all its proteins.",
)
@click.option(
    "--set",
    "domain_set",
    type=click.Path(path_type=Path),
    help="Folder written by 'openmm-nemo data build': sample all its domains.",
)
@click.option(
    "--ids",
    type=click.Path(path_type=Path),
    help="Text file of ids, one per line: sample only these domains of the --set.",
)
@click.option(
    "--split",
    type=click.Path(path_type=Path),
    help="File written by 'openmm-nemo data split': sample only one --part of the --set.",
)
@click.option(
    "--part", type=click.Choice(PARTS), help="Part of the --split to sample.  [default: test]"
)
@click.option(
    "-n",
    "n_samples",
    type=click.IntRange(1, MAX_SAMPLES),
    default=100,
    show_default=True,
    help="Number of structures per protein; 1 for a baseline.",
)
@click.option(
    "--steps",
    type=click.IntRange(0),
    default=250,
    show_default=True,
    help="Number of steps per simulation; 0: only minimise.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, min_open=True),
    default=300,
    show_default=True,
    help="Temperature, kelvin.",
)
@click.option(
    "--no-anneal",
    is_flag=True,
    help="Keep the temperature constant, also with a model whose schedule changes it.",
)
@click.option(
    "--minimise",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Number of steps that minimise U over internal coordinates after each simulation.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Random seed.")
@click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help="Installed model, model folder or URL of one.",
)
@click.option(
    "--profile",
    type=click.Path(path_type=Path),
    help="For a profile model: text file with one line of 20 numbers per residue; with --set or --fasta, JSON "
    "lines of frequencies in alignments, with the ids of the domains or the names of the records.",
)
@click.option(
    "--profile-kind",
    type=click.Choice(PROFILE_KINDS),
    help="For a profile model, with --set: kind of the set's own profiles.",
)
@click.option(
    "--embedding",
    type=click.Path(path_type=Path),
    help="For a model that takes embeddings: NumPy file (.npy) with one row of numbers per residue; with --set or "
    "--fasta, safetensors file with one such array per id or name.",
)
@click.option(
    "--engine",
    type=click.Choice(list(ENGINES)),
    default="torch",
    show_default=True,
    help="torch: many chains at once; openmm: one after another. The results are the same.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Number of processes on this machine.  [default: all processors]",
)
@click.option("--scheduler", help="Address of a Dask scheduler whose workers to use instead.")
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    help="Number of structures that a process samples at once.  [default: 10, or fewer for a long protein]",
)
def sample(
    out: Path,
    model: str,
    workers: int | None,
    scheduler: str | None,
    batch_size: int | None,
    n_samples: int,
    steps: int,
    temperature: float,
    no_anneal: bool,
    minimise: int,
    seed: int,
    engine: str,
    **sources: Any,
) -> None:
    """Sample ensembles of structures, of one protein or of several.

    Each structure is the last state of a separate simulation, or what a minimisation makes of it. Writes to --out: one
    folder per protein with coarse.h5 and atoms.h5 (MDTraj's HDF5), native.h5 if the experimental structure is known,
    and samples.csv with the seeds that reproduce the simulations in 'openmm-nemo simulate'; and sampling.json with the
    settings. Rerun the same command to continue after an interruption, or with a larger -n to add structures.

    \b
    On many machines, with Dask (pip install 'openmm-nemo[dask]'):
      dask scheduler                                                 prints its address
      dask worker ADDRESS --nworkers -1 --nthreads 1                 on every machine
      openmm-nemo sample --set SET --out FOLDER --scheduler ADDRESS
    """
    began = time.monotonic()
    torch.set_num_threads(1)
    if scheduler is not None and workers is not None:
        raise InputError(
            "--workers are processes on this machine, but --scheduler has its own: leave --workers out."
        )
    proteins = _proteins(**sources)
    for protein in proteins:
        _refuse_complex(protein.id, protein.sequence)
    settings = SamplingSettings(
        name_of_model(model), n_samples, steps, temperature, seed, engine, not no_anneal, minimise
    )
    network = NemoModel.from_pretrained(model)
    if not network.trained:
        click.echo(
            f"Model {settings.model} is untrained (random weights): expect no meaningful structure."
        )
    before = {protein.id: ensemble_size(out, protein.id) for protein in proteins}
    begun = sum(count_samples(out, protein.id) for protein in proteins)
    try:
        with progress("Sampling", begun, len(proteins) * n_samples) as update:
            sampled = sample_ensembles(
                out, network, proteins, settings, workers, scheduler, batch_size, update
            )
    except KeyboardInterrupt:
        click.echo(
            f"Interrupted: {out} keeps all finished batches; rerun the same command to continue."
        )
        sys.exit(EXIT_CODE)
    added = sum(n_samples - before[name] for name in sampled.ids)
    seconds = time.monotonic() - began
    click.echo(
        f"Wrote {counted(added, 'sample')} of {counted(len(sampled.ids), 'protein')} to {out} in {seconds:.0f} s."
    )
    there = [size for size in before.values() if size]
    if there:
        click.echo(
            f"{counted(sum(there), 'sample')} of {counted(len(there), 'protein')} had been there before."
        )
    for name, reason in list(sampled.failures.items())[:SHOWN_FAILURES]:
        click.echo(f"Not sampled: {name}: {reason}")
    if sampled.failures:
        raise InputError(
            f"{len(sampled.failures)} of {len(proteins)} proteins could not be sampled: see above, try another --seed."
        )


def _proteins(
    sequence: str | None,
    fasta: Path | None,
    pdb: Path | None,
    domain_set: Path | None,
    ids: Path | None,
    split: Path | None,
    part: str | None,
    profile: Path | None,
    profile_kind: str | None,
    embedding: Path | None,
    **choice: Any,
) -> list[Protein]:
    if sum(source is not None for source in (sequence, fasta, pdb, domain_set)) != 1:
        raise InputError("Give one of --sequence, --fasta, --pdb and --set.")
    if pdb is None and any(value is not None for value in choice.values()):
        raise InputError("--chain, --model-index, --residues and --longest-segment go with --pdb.")
    if domain_set is None and (ids, split) != (None, None):
        raise InputError("--ids and --split choose domains of a set: give --set.")
    if profile_kind is not None and (domain_set is None or profile is not None):
        raise InputError(
            "--profile-kind chooses among the profiles of a set: give --set, and no --profile."
        )
    if split is None and part is not None:
        raise InputError("--part belongs to a split: give --split.")
    if domain_set is None and fasta is None:
        rows = (
            None if profile is None else read_profile(profile),
            None if embedding is None else read_embedding(embedding),
        )
        if pdb is None:
            return [Protein(SEQUENCE_ID, sequence_of(sequence or ""), None, *rows)]
        structure = read_chain(pdb, **choice)
        _refuse_complex(structure.name, structure.sequence)
        domain, source = domain_of(structure), SourceStructure.of(structure, [pdb])
        protein = Protein(domain.id, domain.sequence, domain.ca, *rows, structure.numbering, source)
        return [protein]
    profiles = {} if profile is None else read_profiles(profile)
    embeddings = {} if embedding is None else read_embeddings(embedding)
    if domain_set is None:
        return [
            Protein(
                record.folder,
                record.sequence,
                None,
                profiles.get(record.name),
                embeddings.get(record.name),
            )
            for record in read_proteins(fasta or Path())
        ]
    domains = DomainSet(domain_set / SET_FILE)
    chosen = _chosen(domains, ids, split, part or "test")
    found = [domains.find(name) for name in chosen]
    if profile_kind is not None:
        profiles = profiles_of_set(domains.path, found, profile_kind)
        if len(profiles) < len(found):
            click.echo(
                f"{len(found) - len(profiles)} of {counted(len(found), 'domain')} have no profile of the kind "
                f"{profile_kind!r}."
            )
    return [
        Protein(
            domain.id,
            domain.sequence,
            domain.ca.copy(),
            profiles.get(domain.id),
            embeddings.get(domain.id),
            Numbering("A", domain.residue_ids),
        )
        for domain in found
    ]


def _refuse_complex(name: str, sequence: str) -> None:
    if BREAK in sequence:
        raise InputError(
            f"{name} is a complex, and 'sample' takes single chains: use 'openmm-nemo simulate', with --replicas for "
            "an ensemble."
        )


def _chosen(domains: DomainSet, ids: Path | None, split: Path | None, part: str) -> Sequence[str]:
    """Ids of the domains to sample."""
    if ids is not None and split is not None:
        raise InputError("Give either --ids or --split.")
    if split is not None:
        division = Split.read(split)
        division.check(domains)
        names = division.ids(part)
        if not names:
            raise InputError(f"The part {part} of {split} has no domains: choose another --part.")
        return names
    if ids is None:
        return domains.ids
    try:
        names = [line.strip() for line in ids.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{ids} cannot be read ({error}): give a text file of ids.") from None
    if not names:
        raise InputError(f"{ids} has no ids: give one per line.")
    return names

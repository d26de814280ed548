"""``openmm-nemo simulate``: a simulation in OpenMM."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from openmm_nemo.cli.inputs import read_proteins
from openmm_nemo.cli.runs import (
    given_options,
    one_source,
    run_in_folder,
    run_options,
    settings_of,
)
from openmm_nemo.cli.series import simulate_series
from openmm_nemo.data.families.profiles import read_profiles
from openmm_nemo.data.fasta import FastaRecord
from openmm_nemo.encoders.embedding import read_embeddings
from openmm_nemo.errors import InputError
from openmm_nemo.residues import BREAK, chain_name
from openmm_nemo.runs.folder import RunFolder
from openmm_nemo.runs.series import SERIES
from openmm_nemo.runs.settings import SimulationSettings
from openmm_nemo.sampling.sampling import sample_seeds


@click.command()
@run_options
@click.option(
    "--fasta",
    type=click.Path(path_type=Path),
    help="FASTA file, instead of --pdb: simulate all its proteins, each with its own seed from --seed. A record with a "
    "colon between sequences is a complex. --profile is then JSON lines of frequencies in alignments, --embedding a "
    "safetensors file of arrays, both with the names of the records; of a chain of a complex, NAME:A, NAME:B, ...",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, min_open=True),
    help="Temperature, kelvin.  [default: 300]",
)
@click.option(
    "--no-anneal",
    "anneal",
    flag_value=False,
    default=None,
    help="Keep the temperature constant, also with a model whose schedule changes it.",
)
@click.option(
    "--all-atom",
    is_flag=True,
    default=None,
    help="Write final_all_atom.pdb: the last structure with all atoms, relaxed in Amber's force field.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1),
    help="Independent copies of the protein, simulated together; each has files in a folder replica-0, ...  "
    "[default: 1]",
)
def simulate(out: Path, steps: int | None, threads: int, resume: bool, **options: Any) -> None:
    """Simulate a protein, from a structure or a sequence.

    Writes to --out: the coarse and the atomic trajectory, state.csv with one line per frame, state.png, the final
    structures as PDB, the checkpoint, and the OpenMM system and integrator as XML. All keep the chain name and the
    residue numbers of the structure. run.json has the settings and names the structure. With --fasta, there is a folder
    for each protein, named after it. With --replicas, trajectories, table, plot and final structures are in a folder
    for each replica.
    """
    # Torch uses all cores by default. Its threads wait for each other by spinning, which makes small networks tens of
    # times slower if anything else is running.
    torch.set_num_threads(threads)
    given = given_options(out, steps, resume, options)
    if resume and RunFolder(out, SERIES).holds_run:
        simulate_series(out, None, steps)
    elif "fasta" in given:
        simulate_series(out, _settings_by_name(given), None)
    else:
        run_in_folder(out, None if resume else settings_of(given), steps)


def _settings_by_name(given: dict[str, Any]) -> dict[str, SimulationSettings]:
    """Settings of new runs of all proteins in a FASTA file, by the names of their folders."""
    fasta = given.pop("fasta")
    if {"pdb", "sequence", "topology"} & given.keys():
        raise InputError(one_source())
    if "reference" in given:
        raise InputError("--reference goes with one protein: give --pdb or --sequence.")
    profiles = _by_name("profile", given.pop("profile", ()), read_profiles)
    embeddings = _by_name("embedding", given.pop("embedding", ()), read_embeddings)
    seed = given.pop("seed", random.randrange(1, 2**31))
    records = read_proteins(fasta)
    settings = {}
    some_are_complexes = any(BREAK in record.sequence for record in records)
    for record in records:
        own = dict(given)
        if some_are_complexes and BREAK not in record.sequence:
            own = {k: v for k, v in own.items() if k not in ("chain_moves", "reach")}
        settings[record.folder] = replace(
            # The seed of the first sample of 'openmm-nemo sample'.
            settings_of(
                own | {"sequence": record.sequence, "seed": sample_seeds(seed, record.folder, 1)[0]}
            ),
            profile=_rows_of(record, profiles),
            embedding=_rows_of(record, embeddings),
        )
    return settings


def _by_name(
    option: str, paths: Sequence[Path], read: Callable[[Path], Mapping[str, np.ndarray]]
) -> Mapping[str, np.ndarray]:
    """What a file says about the proteins, by name; nothing if none is given."""
    if len(paths) > 1:
        raise InputError(f"--{option} is one file for all proteins of --fasta: give it once.")
    return read(paths[0]) if paths else {}


def _rows_of(record: FastaRecord, rows: Mapping[str, np.ndarray]) -> list[Any] | None:
    """What is known about a protein, as lists; about a complex, for each chain, if it is known for any."""
    n_chains = len(record.sequence.split(BREAK))
    if n_chains == 1:
        return rows[record.name].tolist() if record.name in rows else None
    names = [f"{record.name}:{chain_name(k)}" for k in range(n_chains)]
    if not rows.keys() & set(names):
        return None
    return [rows[name].tolist() if name in rows else None for name in names]

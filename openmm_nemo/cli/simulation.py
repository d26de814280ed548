"""``openmm-nemo simulate``: a simulation in OpenMM."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
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
from openmm_nemo.encoders.embedding import read_embeddings
from openmm_nemo.errors import InputError
from openmm_nemo.runs.folder import RunFolder
from openmm_nemo.runs.series import SERIES
from openmm_nemo.runs.settings import SimulationSettings
from openmm_nemo.sampling.sampling import sample_seeds


@click.command()
@run_options
@click.option(
    "--fasta",
    type=click.Path(path_type=Path),
    help="FASTA file, instead of --pdb: simulate all its proteins, each with its own seed from --seed. --profile is "
    "then JSON lines of frequencies in alignments, --embedding a safetensors file of arrays, both with the names of "
    "the records.",
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
    profile, embedding = given.pop("profile", None), given.pop("embedding", None)
    profiles = {} if profile is None else read_profiles(profile)
    embeddings = {} if embedding is None else read_embeddings(embedding)
    seed = given.pop("seed", random.randrange(1, 2**31))
    records = read_proteins(fasta)
    settings = {}
    for record in records:
        rows = profiles.get(record.name), embeddings.get(record.name)
        settings[record.folder] = replace(
            # The seed of the first sample of 'openmm-nemo sample'.
            settings_of(
                given
                | {"sequence": record.sequence, "seed": sample_seeds(seed, record.folder, 1)[0]}
            ),
            profile=None if rows[0] is None else rows[0].tolist(),
            embedding=None if rows[1] is None else rows[1].tolist(),
        )
    return settings

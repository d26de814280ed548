"""``openmm-nemo simulate``: a simulation in OpenMM."""

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from openmm_nemo.cli.inputs import (
    DEFAULT_MODEL,
    STRUCTURE_CHOICES,
    name_of_model,
    read_chain,
    read_chain_of_frame,
    read_proteins,
    read_reference,
    sequence_of,
    structure_options,
)
from openmm_nemo.cli.series import advance, plan_of, simulate_series
from openmm_nemo.data import Structure
from openmm_nemo.data.families.profiles import read_profile, read_profiles
from openmm_nemo.encoders.embedding import read_embedding, read_embeddings
from openmm_nemo.errors import InputError
from openmm_nemo.runs.folder import RunFolder
from openmm_nemo.runs.interruption import EXIT_CODE
from openmm_nemo.runs.series import SERIES
from openmm_nemo.runs.settings import SimulationSettings
from openmm_nemo.runs.simulation import SimulationRun
from openmm_nemo.runs.source import SourceStructure
from openmm_nemo.sampling.sampling import sample_seeds

ONE_SOURCE = "Give one of --pdb, --sequence, --fasta, and --trajectory with --topology."


@click.command()
@structure_options
@click.option("--sequence", help="One-letter amino-acid codes, instead of --pdb.")
@click.option(
    "--fasta",
    type=click.Path(path_type=Path),
    help="FASTA file, instead of --pdb: simulate all its proteins.",
)
@click.option(
    "--topology",
    type=click.Path(path_type=Path),
    help="Instead of --pdb: topology of the --trajectory to start from, PDB, GRO or other.",
)
@click.option(
    "--frame",
    type=int,
    help="Frame of the --trajectory to start from, from 0; -1 is the last.  [default: 0]",
)
@click.option("--model", help=f"Installed model or model folder.  [default: {DEFAULT_MODEL}]")
@click.option(
    "--profile",
    type=click.Path(path_type=Path),
    help="Sequence profile for a profile model: text file with one line of 20 numbers per residue; with --fasta, JSON "
    "lines of frequencies in alignments, with the names of the records.",
)
@click.option(
    "--embedding",
    type=click.Path(path_type=Path),
    help="Embedding for a model that takes one: NumPy file (.npy) with one row of numbers per residue; with --fasta, "
    "safetensors file with one such array per name.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option(
    "--steps", type=click.IntRange(1), help="Total number of steps.  [default: 250, or as before]"
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
    "--seed",
    type=click.IntRange(1, 2**31 - 1),
    help="Random seed; with --fasta, each protein gets its own from it.  [default: random]",
)
@click.option(
    "--start",
    type=click.Choice(["z0", "native"]),
    help="Start from the network's initial state, or from the structure, as by default with --topology.  [default: z0]",
)
@click.option(
    "--reference",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Compare with this structure (without FILE: the one of --pdb), in RMSD and TM-score columns.",
)
@click.option("--reference-chain", help="Chain of the --reference FILE.  [default: the first]")
@click.option(
    "--reference-model",
    type=int,
    help="Model of the --reference FILE, from 1.  [default: the first]",
)
@click.option(
    "--report-interval", type=click.IntRange(1), help="Steps between frames.  [default: 10]"
)
@click.option(
    "--coarse",
    help="Coarse trajectory to write: .dcd, .xtc, .h5 or .pdb.  [default: coarse.dcd]",
)
@click.option(
    "--atoms", help="Atomic trajectory to write: .dcd, .xtc, .h5 or .pdb.  [default: atoms.dcd]"
)
@click.option(
    "--trajectory",
    help="With --topology: trajectory to start from, in a format of MDTraj. Without: another name for --coarse.",
)
@click.option(
    "--backend",
    type=click.Choice(["auto", "native", "torchforce", "python"]),
    help="How OpenMM calls the energy.  [default: auto]",
)
@click.option(
    "--platform",
    help="OpenMM platform.  [default: the fastest; OpenCL only if it finds a GPU]",
)
@click.option(
    "--precision",
    type=click.Choice(["single", "mixed", "double"]),
    help="Precision of the network (double: float64) and of GPU platforms.  [default: single]",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1,
    help="CPU threads for the network.  [default: 1]",
)
@click.option(
    "--no-side-chain-bead",
    "side_chain_bead",
    flag_value=False,
    default=None,
    help="Leave the centres of side chains (CEN) out of the atomic trajectory and final_atoms.pdb.",
)
@click.option(
    "--all-atom",
    is_flag=True,
    default=None,
    help="Write final_all_atom.pdb: the last structure with all atoms, relaxed in Amber's force field.",
)
@click.option(
    "--no-system",
    "write_system",
    flag_value=False,
    default=None,
    help="Do not write system.xml and integrator.xml; the former grows with the square of the length.",
)
@click.option(
    "--replicas",
    type=click.IntRange(1),
    help="Independent copies of the protein, simulated together; each has files in a folder replica-0, ...  "
    "[default: 1]",
)
@click.option("--resume", is_flag=True, help="Continue the run in --out; only --steps may change.")
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
    given = {name: value for name, value in options.items() if value is not None}
    series = RunFolder(out, SERIES)
    if resume:
        if given:
            names = ", ".join(map(_option, given))
            raise InputError(
                f"--resume takes all but --steps from the run in {out}: leave out {names}."
            )
        if series.holds_run:
            simulate_series(out, None, steps)
            return
        settings = None
    else:
        given |= {} if steps is None else {"steps": steps}
        if "fasta" in given:
            simulate_series(out, _settings_by_name(given), None)
            return
        settings = _settings(given)
    with SimulationRun(out, settings) as run:
        total = steps or run.settings.steps
        if run.step >= total and not (run.step == total and run.lacks_all_atom_model):
            raise InputError(
                f"The run in {out} already has {run.step} steps: give a larger --steps to continue it."
            )
        if not run.model.trained:
            click.echo(
                f"Model {run.settings.model} is untrained (random weights): expect no meaningful structure."
            )
        click.echo(f"Simulating {plan_of(run, total)}.")
        if run.settings.source is not None:
            for name in run.settings.source.changed_files():
                click.echo(
                    f"{name} has changed since the run began; the run continues from what was read then."
                )
        complete = advance(run, total, "Simulating")
    if not complete:
        click.echo(
            f"Interrupted at step {run.step}: all files are complete; --resume continues the run."
        )
        sys.exit(EXIT_CODE)
    click.echo(f"Wrote {total} steps to {out}.")


def _settings(given: dict[str, Any]) -> SimulationSettings:
    """Settings of a new run from the options that were given."""
    structure, sequence, source = _protein(given)
    start = given.pop("start", "z0" if structure is None or structure.frame is None else "native")
    if start == "native":
        if structure is None:
            raise InputError("--start native needs a structure: give --pdb.")
        given["start"] = structure.ca.tolist()
    reference = {name: given.pop(f"reference_{name}", None) for name in ("chain", "model")}
    if "reference" in given:
        given["reference"] = _reference(given["reference"], structure, sequence, **reference)
    elif any(value is not None for value in reference.values()):
        raise InputError("--reference-chain and --reference-model go with --reference FILE.")
    if "profile" in given:
        given["profile"] = read_profile(given["profile"]).tolist()
    if "embedding" in given:
        given["embedding"] = read_embedding(given["embedding"]).tolist()
    return SimulationSettings(
        sequence=sequence,
        model=name_of_model(given.pop("model", DEFAULT_MODEL)),
        seed=given.pop("seed", random.randrange(1, 2**31)),
        source=source,
        **given,
    )


def _settings_by_name(given: dict[str, Any]) -> dict[str, SimulationSettings]:
    """Settings of new runs of all proteins in a FASTA file, by the names of their folders."""
    fasta = given.pop("fasta")
    if {"pdb", "sequence", "topology"} & given.keys():
        raise InputError(ONE_SOURCE)
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
            _settings(
                given
                | {"sequence": record.sequence, "seed": sample_seeds(seed, record.folder, 1)[0]}
            ),
            profile=None if rows[0] is None else rows[0].tolist(),
            embedding=None if rows[1] is None else rows[1].tolist(),
        )
    return settings


def _protein(
    given: dict[str, Any],
) -> tuple[Structure | None, str, SourceStructure | None]:
    """Remove the options that say what to simulate, and read it; ``trajectory`` remains as the name of an output."""
    pdb, sequence, topology = (given.pop(name, None) for name in ("pdb", "sequence", "topology"))
    choice = {name: given.pop(name) for name in STRUCTURE_CHOICES if name in given}
    trajectory = None
    if topology is not None:
        trajectory = given.pop("trajectory", None)
        if trajectory is None:
            raise InputError("--topology names the atoms of a trajectory: give --trajectory, too.")
        if "model_index" in choice:
            raise InputError("--model-index goes with --pdb: a --trajectory has --frame.")
    elif "frame" in given:
        raise InputError("--frame belongs to a trajectory: give --trajectory and --topology.")
    if "coarse" in given:
        if "trajectory" in given:
            raise InputError(
                "Without --topology, --trajectory means the same as --coarse: give only --coarse."
            )
        given["trajectory"] = given.pop("coarse")
    if sum(source is not None for source in (pdb, sequence, topology)) != 1:
        raise InputError(ONE_SOURCE)
    if sequence is not None:
        if choice:
            names = ", ".join(map(_option, choice))
            raise InputError(
                f"A sequence has no {names}, which select from a structure: give --pdb."
            )
        return None, sequence_of(sequence), None
    if pdb is not None:
        structure, paths = read_chain(pdb, **choice), [pdb]
    else:
        frame, paths = given.pop("frame", 0), [Path(trajectory or ""), topology]
        structure = read_chain_of_frame(*paths, frame=frame, **choice)
    return structure, structure.sequence, SourceStructure.of(structure, paths)


def _reference(
    file: str,
    structure: Structure | None,
    sequence: str,
    chain: str | None,
    model: int | None,
) -> list[list[float]]:
    if file:
        structure = read_reference(Path(file), chain, model, sequence)
    elif (chain, model) != (None, None):
        raise InputError("--reference-chain and --reference-model go with --reference FILE.")
    elif structure is None:
        raise InputError("--reference without a file needs --pdb: give one of them.")
    return structure.ca.tolist()


def _option(name: str) -> str:
    parameters = click.get_current_context().command.params
    return next(parameter.opts[0] for parameter in parameters if parameter.name == name)

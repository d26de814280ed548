"""``openmm-nemo simulate``: a simulation in OpenMM."""

import random
import sys
from pathlib import Path
from typing import Any

import click
import torch

from openmm_nemo.cli.inputs import DEFAULT_MODEL, name_of_model, read_chain
from openmm_nemo.data import Structure
from openmm_nemo.data.families.profiles import read_profile
from openmm_nemo.encoders.embedding import read_embedding
from openmm_nemo.errors import InputError
from openmm_nemo.progress import progress
from openmm_nemo.residues import check_sequence
from openmm_nemo.runs.interruption import EXIT_CODE
from openmm_nemo.runs.settings import SimulationSettings
from openmm_nemo.runs.simulation import SimulationRun


@click.command()
@click.option("--pdb", type=click.Path(path_type=Path), help="PDB or mmCIF file, may be gzipped.")
@click.option("--sequence", help="One-letter amino-acid codes, instead of --pdb.")
@click.option("--chain", help="Chain of the --pdb file.  [default: the first protein chain]")
@click.option(
    "--model-index", type=int, help="Model of the --pdb file, from 1.  [default: the first]"
)
@click.option("--model", help=f"Installed model or folder of one.  [default: {DEFAULT_MODEL}]")
@click.option(
    "--profile",
    type=click.Path(path_type=Path),
    help="Text file of the sequence profile, a line of 20 numbers for each residue, for a profile model.",
)
@click.option(
    "--embedding",
    type=click.Path(path_type=Path),
    help="NumPy file (.npy) of one row of numbers per residue, for a model that takes embeddings.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--steps", type=click.IntRange(1), help="Steps in all.  [default: 250, or as before]")
@click.option(
    "--temperature", type=click.FloatRange(0, min_open=True), help="Kelvin.  [default: 300]"
)
@click.option(
    "--seed", type=click.IntRange(1, 2**31 - 1), help="Seed of the noise.  [default: random]"
)
@click.option(
    "--start",
    type=click.Choice(["z0", "native"]),
    help="Start from the network's initial state or from the --pdb structure.  [default: z0]",
)
@click.option(
    "--reference",
    is_flag=False,
    flag_value="",
    metavar="[FILE]",
    help="Compare with this structure (without FILE: with that of --pdb): RMSD and TM-score columns.",
)
@click.option(
    "--report-interval", type=click.IntRange(1), help="Steps between frames.  [default: 10]"
)
@click.option(
    "--trajectory", help="Coarse trajectory: .dcd, .xtc, .h5 or .pdb.  [default: coarse.dcd]"
)
@click.option("--atoms", help="Atomic trajectory: .dcd, .xtc, .h5 or .pdb.  [default: atoms.dcd]")
@click.option(
    "--backend",
    type=click.Choice(["auto", "torchforce", "python"]),
    help="How OpenMM calls the energy.  [default: auto]",
)
@click.option(
    "--platform",
    help="OpenMM platform.  [default: the fastest; OpenCL only if it finds a GPU]",
)
@click.option(
    "--precision",
    type=click.Choice(["single", "mixed", "double"]),
    help="Of the network (double: float64) and of GPU platforms.  [default: single]",
)
@click.option(
    "--threads", type=click.IntRange(1), default=1, help="Of the network on the CPU.  [default: 1]"
)
@click.option("--resume", is_flag=True, help="Continue the run in --out; only --steps may change.")
def simulate(out: Path, steps: int | None, threads: int, resume: bool, **options: Any) -> None:
    """Simulate a protein, from a structure or a sequence.

    Writes to --out: the coarse and the atomic trajectory, state.csv with a line per frame, state.png, the final
    structures as PDB, the checkpoint, and the OpenMM system and integrator as XML.
    """
    # Torch's own default is all cores. Its threads wait for each other by spinning, which makes small networks tens of
    # times slower wherever something else runs.
    torch.set_num_threads(threads)
    given = {name: value for name, value in options.items() if value is not None}
    if resume:
        if given:
            names = ", ".join("--" + name.replace("_", "-") for name in given)
            raise InputError(
                f"--resume takes all but --steps from the run in {out}: leave out {names}."
            )
        settings = None
    else:
        settings = _settings(given | ({} if steps is None else {"steps": steps}))
    with SimulationRun(out, settings) as run:
        total = steps or run.settings.steps
        if run.step >= total:
            raise InputError(
                f"The run in {out} has {run.step} steps already: give a larger --steps to continue it."
            )
        if not run.model.trained:
            click.echo(
                f"Model {run.settings.model} is untrained (random weights): expect no meaningful structure."
            )
        click.echo(
            f"Simulating {len(run.protein.sequence)} residues, seed {run.settings.seed}, to step {total}."
        )
        with progress("Simulating", run.step, total) as tell:
            complete = run.run(total, tell)
    if not complete:
        click.echo(f"Interrupted at step {run.step}: all files are complete, --resume continues.")
        sys.exit(EXIT_CODE)
    click.echo(f"Wrote {total} steps to {out}.")


def _settings(given: dict[str, Any]) -> SimulationSettings:
    """Settings of a new run from the options that were given."""
    pdb, sequence = given.pop("pdb", None), given.pop("sequence", None)
    if (pdb is None) == (sequence is None):
        raise InputError("Give either --pdb or --sequence.")
    structure = None
    choice = {"chain": given.pop("chain", None), "model_index": given.pop("model_index", None)}
    if pdb is not None:
        structure = read_chain(pdb, **choice)
        sequence = structure.sequence
    elif any(value is not None for value in choice.values()):
        raise InputError("--chain and --model-index go with --pdb.")
    sequence = check_sequence(sequence)
    if given.pop("start", "z0") == "native":
        if structure is None:
            raise InputError("--start native needs a structure: give --pdb.")
        given["start"] = structure.ca.tolist()
    if "reference" in given:
        given["reference"] = _reference(given["reference"], structure, sequence)
    if "profile" in given:
        given["profile"] = read_profile(given["profile"]).tolist()
    if "embedding" in given:
        given["embedding"] = read_embedding(given["embedding"]).tolist()
    return SimulationSettings(
        sequence=sequence,
        model=name_of_model(given.pop("model", DEFAULT_MODEL)),
        seed=given.pop("seed", random.randrange(1, 2**31)),
        **given,
    )


def _reference(file: str, structure: Structure | None, sequence: str) -> list[list[float]]:
    if file:
        structure = read_chain(Path(file))
    elif structure is None:
        raise InputError("--reference without a file needs --pdb: give one of them.")
    if structure.sequence != sequence:
        raise InputError(
            f"The reference {structure.name} has another sequence than the protein: give a structure of the same chain."
        )
    return structure.ca.tolist()

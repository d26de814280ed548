"""What verbs that run one simulation in a folder share: options, the settings they give, and the run itself."""

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from openmm_nemo.cli.inputs import (
    DEFAULT_MODEL,
    STRUCTURE_CHOICES,
    counted,
    name_of_model,
    read_chain,
    read_chain_of_frame,
    read_reference,
    sequence_of,
    structure_options,
)
from openmm_nemo.cli.series import advance, plan_of
from openmm_nemo.data import Structure
from openmm_nemo.data.families.profiles import read_profile
from openmm_nemo.encoders.embedding import read_embedding
from openmm_nemo.engine.pdb import chain_letters
from openmm_nemo.errors import InputError
from openmm_nemo.models.complex import ConditionedComplex
from openmm_nemo.residues import BREAK
from openmm_nemo.runs.chain_moves import count_moves
from openmm_nemo.runs.interruption import EXIT_CODE
from openmm_nemo.runs.settings import CHAIN_MOVE_INTERVAL, SimulationSettings
from openmm_nemo.runs.simulation import SimulationRun
from openmm_nemo.runs.source import SourceStructure

CHAIN_MOVES = 10
"""Rigid-body moves of the chains of a complex after every `CHAIN_MOVE_INTERVAL` steps, if the user does not choose."""

NONE = "none"
"""Instead of a file, for a chain without."""


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a simulation: its protein, its files, how it is computed, and --resume."""
    options = (
        click.option(
            "--sequence",
            help="One-letter amino-acid codes, instead of --pdb; of a complex, with a colon between chains.",
        ),
        click.option(
            "--topology",
            type=click.Path(path_type=Path),
            help="Instead of --pdb: topology of the --trajectory to start from, PDB, GRO or other.",
        ),
        click.option(
            "--frame",
            type=int,
            help="Frame of the --trajectory to start from, from 0; -1 is the last.  [default: 0]",
        ),
        click.option(
            "--model",
            help=f"Installed model, model folder or URL of one.  [default: {DEFAULT_MODEL}]",
        ),
        click.option(
            "--profile",
            type=click.Path(path_type=Path),
            multiple=True,
            help="Sequence profile for a profile model: text file with one line of 20 numbers per residue. Of a "
            "complex, once per chain, in order; 'none' for a chain without.",
        ),
        click.option(
            "--embedding",
            type=click.Path(path_type=Path),
            multiple=True,
            help="Embedding for a model that takes one: NumPy file (.npy) with one row of numbers per residue. Of a "
            "complex, as --profile.",
        ),
        click.option(
            "--out", type=click.Path(path_type=Path), required=True, help="Folder to write."
        ),
        click.option(
            "--steps",
            type=click.IntRange(1),
            help="Total number of steps.  [default: 250, or as before]",
        ),
        click.option(
            "--seed",
            type=click.IntRange(1, 2**31 - 1),
            help="Random seed.  [default: random]",
        ),
        click.option(
            "--start",
            type=click.Choice(["z0", "native"]),
            help="Start from the network's initial state, which nemo-fold and others draw with the seed, or from "
            "the structure, as by default with --topology.  [default: z0]",
        ),
        click.option(
            "--reference",
            is_flag=False,
            flag_value="",
            metavar="[FILE]",
            help="Compare with this structure (without FILE: the one of --pdb), in RMSD and TM-score columns.",
        ),
        click.option(
            "--reference-chain",
            help="Chain of the --reference FILE; of a complex, all chains, as in A:B.  [default: the first]",
        ),
        click.option(
            "--reference-model",
            type=int,
            help="Model of the --reference FILE, from 1.  [default: the first]",
        ),
        click.option(
            "--chain-moves",
            type=click.IntRange(0),
            help=f"Moves of whole chains of a complex after every {CHAIN_MOVE_INTERVAL} steps, accepted by Metropolis' "
            f"criterion.  [default: {CHAIN_MOVES}]",
        ),
        click.option(
            "--reach",
            type=float,
            help="Farther than this, Angstrom, no move takes the centre of a chain of a complex from those of all "
            "others.  [default: that of folded chains 15 Angstrom from contact]",
        ),
        click.option(
            "--report-interval", type=click.IntRange(1), help="Steps between frames.  [default: 10]"
        ),
        click.option(
            "--coarse",
            help="Coarse trajectory to write: .dcd, .xtc, .h5 or .pdb.  [default: coarse.dcd]",
        ),
        click.option(
            "--atoms",
            help="Atomic trajectory to write: .dcd, .xtc, .h5 or .pdb.  [default: atoms.dcd]",
        ),
        click.option(
            "--trajectory",
            help="With --topology: trajectory to start from, in a format of MDTraj. Without: another name for "
            "--coarse.",
        ),
        click.option(
            "--backend",
            type=click.Choice(["auto", "native", "torchforce", "python"]),
            help="How OpenMM calls the energy.  [default: auto]",
        ),
        click.option(
            "--platform",
            help="OpenMM platform.  [default: the fastest; OpenCL only if it finds a GPU]",
        ),
        click.option(
            "--precision",
            type=click.Choice(["single", "mixed", "double"]),
            help="Precision of the network (double: float64) and of GPU platforms.  [default: single]",
        ),
        click.option(
            "--threads",
            type=click.IntRange(1),
            default=1,
            help="CPU threads for the network.  [default: 1]",
        ),
        click.option(
            "--no-side-chain-bead",
            "side_chain_bead",
            flag_value=False,
            default=None,
            help="Leave the centres of side chains (CEN) out of the atomic trajectory and final_atoms.pdb.",
        ),
        click.option(
            "--no-system",
            "write_system",
            flag_value=False,
            default=None,
            help="Do not write system.xml and integrator.xml; the former grows with the square of the length.",
        ),
        click.option(
            "--resume", is_flag=True, help="Continue the run in --out; only --steps may change."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return structure_options(command)


def given_options(
    out: Path, steps: int | None, resume: bool, options: dict[str, Any]
) -> dict[str, Any]:
    """The options that were given.

    Raises
    ------
    InputError
        If there is one but --steps, and a run is to be resumed.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if resume and given:
        names = ", ".join(map(_option, given))
        raise InputError(
            f"--resume takes all but --steps from the run in {out}: leave out {names}."
        )
    return given | ({} if steps is None else {"steps": steps})


def one_source() -> str:
    """How a protein is given to the command that runs."""
    names = [parameter.name for parameter in click.get_current_context().command.params]
    fasta = "--fasta, " if "fasta" in names else ""
    return f"Give one of --pdb, --sequence, {fasta}and --trajectory with --topology."


def run_in_folder(out: Path, settings: SimulationSettings | None, steps: int | None) -> None:
    """Begin a run, or resume the one in the folder, and take it to its last step.

    Parameters
    ----------
    out : Path
    settings : SimulationSettings, optional
        Default: resume.
    steps : int, optional
        Total number of steps. Default: as in the settings.
    """
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
        if isinstance(run.protein, ConditionedComplex) and run.protein.caveat:
            click.echo(run.protein.caveat)
        click.echo(f"Simulating {plan_of(run, total)}.")
        names = [chain.chain for chain in run.protein.numbering.chains]
        renamed = [
            f"{name} is {letter}"
            for name, letter in zip(names, chain_letters(names), strict=True)
            if len(name) > 1
        ]
        if renamed:
            click.echo(f"PDB files have one letter for a chain: {', '.join(renamed)}.")
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
    if run.settings.chain_moves:
        proposed, accepted = count_moves(out)
        click.echo(f"{accepted} of {proposed} moves of chains were accepted.")
    click.echo(f"Wrote {total} steps to {out}.")


def settings_of(given: dict[str, Any]) -> SimulationSettings:
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
    for name, read in (("profile", read_profile), ("embedding", read_embedding)):
        if name in given:
            given[name] = _of_chains(name, given[name], sequence, read)
    if BREAK in sequence:
        given.setdefault("chain_moves", CHAIN_MOVES)
    return SimulationSettings(
        sequence=sequence,
        model=name_of_model(given.pop("model", DEFAULT_MODEL)),
        seed=given.pop("seed", random.randrange(1, 2**31)),
        source=source,
        **given,
    )


def _of_chains(
    option: str, paths: Sequence[Path], sequence: str, read: Callable[[Path], np.ndarray]
) -> list[Any]:
    """What files say about a protein, or about each chain of a complex, as lists of numbers."""
    n_chains = len(sequence.split(BREAK))
    if len(paths) != n_chains:
        remedy = (
            "give it once" if n_chains == 1 else "give it once per chain, 'none' for one without"
        )
        raise InputError(
            f"--{option} is given {counted(len(paths), 'time')} for {counted(n_chains, 'chain')}: {remedy}."
        )
    if n_chains == 1:
        return list(read(paths[0]).tolist())
    return [None if str(path) == NONE else read(path).tolist() for path in paths]


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
        raise InputError(one_source())
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

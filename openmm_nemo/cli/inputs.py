"""Inputs shared by several verbs: structures, sequences and the names of models."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import click
import numpy as np

from openmm_nemo.data import Structure, read_frame, read_structure
from openmm_nemo.data.fasta import FastaRecord, read_fasta
from openmm_nemo.data.sets.domains import Domain, profiles_of
from openmm_nemo.data.structures import join_chains
from openmm_nemo.errors import InputError
from openmm_nemo.models.pretrained import find_model, model_folders
from openmm_nemo.residues import BREAK, chain_in_words, read_sequences

DEFAULT_MODEL = "nemo-fold"

STRUCTURE_CHOICES = ("chain", "model_index", "residues", "longest_segment")
"""Parameters that choose what to read from a structure."""


def structure_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --pdb and the options in `STRUCTURE_CHOICES`."""
    options = (
        click.option(
            "--pdb",
            type=click.Path(path_type=Path),
            help="PDB, mmCIF or GRO file, may be gzipped.",
        ),
        click.option(
            "--chain",
            help="Chain of the structure; several, as in A:B, for a complex.  [default: the first protein chain]",
        ),
        click.option(
            "--model-index", type=int, help="Model of the --pdb file, from 1.  [default: the first]"
        ),
        click.option(
            "--residues",
            metavar="FIRST-LAST",
            help="Residues of the chain, in the numbering of the file, like 2-152 or 10-52A; of a complex, of each "
            "chain, like 2-152:10-52A.  [default: all]",
        ),
        click.option(
            "--longest-segment",
            is_flag=True,
            default=None,
            help="Take the longest part of the chain without a break.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def read_chain(path: Path, **choice: Any) -> Structure:
    """Read a chain, or the chains of a complex, from a structure file, and print its notes.

    Parameters
    ----------
    path : Path
    **choice
        Arguments of `read_structure`; of a complex, ``chain`` and ``residues`` have a colon between chains.
    """
    chains = _names_of_chains(choice.get("chain") or "", "chain")
    residues = choice.get("residues")
    if len(chains) == 1:
        structure = read_structure(path, **choice)
    else:
        ranges = [None] * len(chains) if residues is None else residues.split(BREAK)
        if len(ranges) != len(chains):
            raise InputError(
                f"--residues {residues!r} is for {counted(len(ranges), 'chain')}, and --chain names {len(chains)}: "
                "give a range per chain, with colons between them."
            )
        structure = join_chains(
            [
                read_structure(path, **choice | {"chain": chain, "residues": own})
                for chain, own in zip(chains, ranges, strict=True)
            ]
        )
    _print_notes(path, structure)
    return structure


def read_chain_of_frame(trajectory: Path, topology: Path, **choice: Any) -> Structure:
    """Read a chain from a frame, see `read_frame`, and print its notes."""
    if BREAK in (choice.get("chain") or ""):
        raise InputError(
            "A frame may have the chains of a complex in different images of its periodic box: write it to a PDB file "
            "with both chains in one place, and give --pdb."
        )
    structure = read_frame(trajectory, topology, **choice)
    _print_notes(trajectory, structure)
    return structure


def read_reference(
    path: Path, chain: str | None, model_index: int | None, sequence: str, option: str = "reference"
) -> Structure:
    """Read the part of a chain, or of the chains of a complex, with a given sequence, and print its notes.

    They and refusals name the options of the verb, which begin with that of the file, ``--{option}``.
    """
    sequences = sequence.split(BREAK)
    names: list[str | None] = [chain]
    if len(sequences) > 1:
        names = [*_names_of_chains(chain or "", f"{option}-chain")]
        if len(names) != len(sequences):
            raise InputError(
                f"The complex has {len(sequences)} chains: name as many of {path} with --{option}-chain, in the same "
                "order, as in A:B."
            )
    try:
        structures = [
            read_structure(path, name, model_index, sequence=own)
            for name, own in zip(names, sequences, strict=True)
        ]
        structure = structures[0] if len(structures) == 1 else join_chains(structures)
    except InputError as error:
        raise InputError(_with_options_of(option, str(error))) from None
    for note in structure.notes:
        click.echo(f"{path.name}: {_with_options_of(option, note)}")
    return structure


def _names_of_chains(text: str, option: str) -> list[str]:
    """Names of the chains of a complex, or of one chain."""
    names = text.split(BREAK)
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"--{option} {text} has {chain_in_words(name)} twice: name each chain of the complex once."
            )
    return names


def _with_options_of(option: str, message: str) -> str:
    return message.replace("--chain", f"--{option}-chain").replace(
        "--model-index", f"--{option}-model"
    )


def sequence_of(text: str) -> str:
    """Read a sequence, or those of a complex, see `residues.read_sequences`, and print its notes."""
    sequence, notes = read_sequences(text)
    for note in notes:
        click.echo(note)
    return sequence


def read_proteins(path: Path) -> list[FastaRecord]:
    """Read a FASTA file, see `read_fasta`, and print its notes.

    Raises
    ------
    InputError
        If a record cannot be used; if there are several, they are printed.
    """
    records, failures = read_fasta(path)
    lines = [f"{failure.place}: {failure.reason}" for failure in failures]
    if len(lines) == 1:
        raise InputError(lines[0])
    for line in lines:
        click.echo(line)
    if lines:
        raise InputError(
            f"{len(lines)} of {len(lines) + len(records)} records of {path} cannot be used, see above: correct or "
            "remove them."
        )
    for record in records:
        for note in record.notes:
            click.echo(f"{record.name}: {note}")
    return records


def name_of_model(model: str) -> str:
    """Name of an installed model, or the full path of another one."""
    folder = find_model(model)
    return model if folder.parent in model_folders() else str(folder.resolve())


def _print_notes(path: Path, structure: Structure) -> None:
    for note in structure.notes:
        click.echo(f"{path.name}: {note}")


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural where it is not 1."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def profiles_of_set(path: Path, domains: Collection[Domain], kind: str) -> dict[str, np.ndarray]:
    """Profiles of one kind by the id of the domain, of those domains of a set that have one.

    Raises
    ------
    InputError
        If none has.
    """
    profiles = profiles_of(domains, kind)
    if not profiles:
        raise InputError(
            f"None of these {len(domains)} domains of {path} has a profile of the kind {kind!r}: "
            "choose another --profile-kind."
        )
    return profiles

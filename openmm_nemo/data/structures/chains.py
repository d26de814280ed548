"""Protein chains from PDB and mmCIF files.

The reader is gemmi: it reads PDB and mmCIF, knows altlocs, insertion codes, modified residues and
microheterogeneity, and is a small wheel without compiled dependencies of its own.
"""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np

from openmm_nemo.data.failures import Failure
from openmm_nemo.data.structures.names import (
    BACKBONE,
    FORCE_FIELD_NAMES,
    SIDE_CHAIN_ATOMS,
    STANDARD,
    TERMINAL_OXYGENS,
    element,
    is_amino_acid,
)
from openmm_nemo.data.structures.parsing import parse, read_bytes
from openmm_nemo.data.structures.polymer import (
    ChainError,
    Residue,
    chain_breaks,
    known_residues,
    polymer_of,
)
from openmm_nemo.errors import InputError
from openmm_nemo.residues import MIN_LENGTH, THREE_LETTER

MIN_CA_DISTANCE = 2.0
"""Angstrom. Neighbours in a chain are 3.8 apart (trans) or 2.9 (cis)."""

_REMEDY = "choose another chain with --chain, or cut the file to one unbroken segment."


@dataclass(frozen=True, eq=False)
class Structure:
    """One protein chain.

    Attributes
    ----------
    name : str
        File name without folder and extensions, like "1l2y".
    chain : str
        Author chain name; empty if the file leaves it blank.
    model : int
        Model number as given in the file.
    sequence : str
        One letter a residue, modified residues as their parents, length L.
    ca : np.ndarray
        CA positions in Angstrom, shape (L, 3), float64.
    backbone : np.ndarray
        N, CA, C, O and the centre of mass of the side chain's heavy atoms (glycine: CA) in
        Angstrom, shape (L, 5, 3), float64; NaN where the file lacks the atoms.
    residue_ids : tuple[str, ...]
        Author numbering with insertion code, like "52A".
    notes : tuple[str, ...]
        One sentence for each choice that was made in reading the file.
    breaks : tuple[int, ...]
        Residues (from 0) whose CA is too far from the next one to be linked to it.
    """

    name: str
    chain: str
    model: int
    sequence: str
    ca: np.ndarray
    backbone: np.ndarray
    residue_ids: tuple[str, ...]
    notes: tuple[str, ...]
    breaks: tuple[int, ...]


def read_structure(
    path: str | Path, chain: str | None = None, model_index: int | None = None
) -> Structure:
    """Read one unbroken protein chain from a PDB or mmCIF file, plain or gzipped.

    The format is told by the content, so the extension does not matter.

    Parameters
    ----------
    path : str or Path
        The file.
    chain : str, optional
        Author chain name; the first protein chain of at least four known residues by default.
    model_index : int, optional
        Position of the model in the file, from 1; the first by default.

    Returns
    -------
    Structure

    Raises
    ------
    InputError
        If the file cannot be read, is cut short or holds no such model or protein chain, or if the
        chain is not one unbroken L-protein of at least four known residues with a CA atom each.
    """
    path = Path(path)
    parsed = parse(read_bytes(path), path)
    model, notes = _choose_model(parsed, model_index, path)
    proteins = _proteins(model, path)
    name, chain_notes = _choose_chain(model, proteins, chain, path)
    return _structure(path, model, name, proteins[name], [*notes, *chain_notes], unbroken=True)


def read_chains(path: str | Path) -> tuple[list[Structure], list[Failure]]:
    """Read all protein chains of the first model of a file; they may have breaks.

    Parameters
    ----------
    path : str or Path
        As for `read_structure`.

    Returns
    -------
    list of Structure
        Chains of equal sequence are taken once.
    list of Failure
        The chains that were not taken, and why.

    Raises
    ------
    InputError
        If the file cannot be read or holds no protein chain.
    """
    path = Path(path)
    model, notes = _choose_model(parse(read_bytes(path), path), None, path)
    structures: dict[str, Structure] = {}
    failures = []
    for name, polymer in _proteins(model, path).items():
        place = _place(name, path)
        try:
            structure = _structure(path, model, name, polymer, notes, unbroken=False)
        except InputError as error:
            reason = error.problem if isinstance(error, ChainError) else str(error)
            failures.append(Failure(place, reason))
            continue
        first = structures.setdefault(structure.sequence, structure)
        if first is not structure:
            reason = f"it has the sequence of chain {_shown(first.chain)}, which was taken"
            failures.append(Failure(place, reason))
    return list(structures.values()), failures


def _choose_model(
    parsed: gemmi.Structure, model_index: int | None, path: Path
) -> tuple[gemmi.Model, list[str]]:
    count = len(parsed)
    if model_index is None:
        notes = [f"Took model 1 of {count}; choose with --model-index."] if count > 1 else []
        return parsed[0], notes
    if not 1 <= model_index <= count:
        raise InputError(
            f"{path} has no model {model_index}: choose --model-index from 1 to {count}."
        )
    return parsed[model_index - 1], []


def _proteins(model: gemmi.Model, path: Path) -> dict[str, list[gemmi.Residue]]:
    """Return the protein residues of every protein chain by its name."""
    # An mmCIF chain comes in parts: the polymer, its ligands, its waters.
    parts: dict[str, list[gemmi.Residue]] = {}
    for part in model:
        parts.setdefault(part.name, []).extend(part)
    polymers = {name: polymer_of(residues) for name, residues in parts.items()}
    proteins = {
        name: residues
        for name, residues in polymers.items()
        if 2 * sum(is_amino_acid(residue.name) for residue in residues) > len(residues)
    }
    if not proteins:
        raise InputError(f"{path} has no protein chain: give a file that holds a protein.")
    return proteins


def _choose_chain(
    model: gemmi.Model, proteins: dict[str, list[gemmi.Residue]], wanted: str | None, path: Path
) -> tuple[str, list[str]]:
    """Return the name of the chain and the note on the choice."""
    listed = ", ".join(map(_shown, proteins))
    if wanted is not None:
        wanted = wanted.strip()
        if wanted not in proteins:
            there = any(part.name == wanted for part in model)
            what = "is not a protein" if there else "is not there"
            raise InputError(
                f"Chain {_shown(wanted)} of {path} {what}: choose --chain from {listed}."
            )
        return wanted, []
    chosen = next(
        (name for name, residues in proteins.items() if _known_count(residues) >= MIN_LENGTH),
        next(iter(proteins)),
    )
    notes = []
    if len(proteins) > 1:
        notes.append(f"Took chain {_shown(chosen)} of {listed}; choose with --chain.")
    return chosen, notes


def _structure(
    path: Path,
    model: gemmi.Model,
    chain_name: str,
    polymer: list[gemmi.Residue],
    notes: list[str],
    unbroken: bool,
) -> Structure:
    place = _place(chain_name, path)
    residues, cap_notes = known_residues(polymer, place)
    backbone = _backbone(residues)
    breaks = chain_breaks(backbone[:, 1])
    for i in breaks[:1] if unbroken else ():
        distance = np.linalg.norm(backbone[i + 1, 1] - backbone[i, 1])
        raise InputError(
            f"The chain breaks between residues {residues[i]} and {residues[i + 1]} of {place}, "
            f"whose CA atoms are {distance:.1f} Angstrom apart: {_REMEDY}"
        )
    _refuse_overlaps(residues, backbone[:, 1], place)
    return Structure(
        name=re.sub(r"\.(pdb|ent|cif|mmcif)$", "", re.sub(r"(?i)\.gz$", "", path.name), flags=re.I),
        chain=chain_name,
        model=model.num,
        sequence="".join(residue.letter for residue in residues),
        ca=backbone[:, 1].copy(),
        backbone=backbone,
        residue_ids=tuple(residue.number for residue in residues),
        notes=(*notes, *cap_notes, *_notes_on_residues(residues, backbone)),
        breaks=breaks,
    )


def _place(chain_name: str, path: Path) -> str:
    return f"chain {_shown(chain_name)} of {path}"


def _shown(chain_name: str) -> str:
    return chain_name or "''"


def _known_count(residues: list[gemmi.Residue]) -> int:
    return len({str(residue.seqid) for residue in residues if residue.name != "UNK"})


def _backbone(residues: list[Residue]) -> np.ndarray:
    """Return N, CA, C, O and side-chain centres of mass, shape (L, 5, 3), Angstrom."""
    backbone = np.full((len(residues), 5, 3), np.nan)
    for i, residue in enumerate(residues):
        for j, name in enumerate(BACKBONE):
            if name in residue.atoms:
                backbone[i, j] = residue.atoms[name].pos.tolist()
        modified = residue.name not in STANDARD and residue.name not in FORCE_FIELD_NAMES
        others = {"OXT"} if modified else TERMINAL_OXYGENS
        side_chain = [
            atom for name, atom in residue.atoms.items() if name not in others.union(BACKBONE)
        ]
        if residue.letter == "G":
            backbone[i, 4] = backbone[i, 1]
        elif len(side_chain) >= SIDE_CHAIN_ATOMS[residue.letter]:
            masses = [element(residue.name, atom).weight for atom in side_chain]
            positions = [atom.pos.tolist() for atom in side_chain]
            backbone[i, 4] = np.average(positions, axis=0, weights=masses)
    return backbone


def _refuse_overlaps(residues: list[Residue], ca: np.ndarray, place: str) -> None:
    for i in range(len(ca) - 1):
        distances = np.linalg.norm(ca[i + 1 :] - ca[i], axis=1)
        nearest = int(np.argmin(distances))
        if distances[nearest] < MIN_CA_DISTANCE:
            raise ChainError(
                f"Residues {residues[i]} and {residues[i + 1 + nearest]} of {place} overlap: their "
                f"CA atoms are {distances[nearest]:.1f} Angstrom apart",
                _REMEDY,
            )


def _notes_on_residues(residues: list[Residue], backbone: np.ndarray) -> list[str]:
    notes = []
    several = [residue for residue in residues if residue.conformer_count > 1]
    if several:
        notes.append(f"Took the conformer of highest occupancy in {_count(several)}.")
    mixed = [residue for residue in residues if residue.other_names]
    if mixed:
        listed = ", ".join(f"{residue} (not {', '.join(residue.other_names)})" for residue in mixed)
        notes.append(f"Took the residue of highest occupancy: {listed}.")
    doubled = [residue for residue in residues if residue.has_doubles]
    if doubled:
        notes.append(f"Took the first of atoms given twice without altlocs in {_count(doubled)}.")
    mapped = Counter(
        f"{residue.name}->{THREE_LETTER[residue.letter]}"
        for residue in residues
        if residue.name not in STANDARD
    )
    if mapped:
        listed = ", ".join(f"{pair} x{count}" for pair, count in mapped.items())
        notes.append(f"Took modified residues as their parents: {listed}.")
    unseen = [
        residue for residue in residues if any(atom.occ == 0 for atom in residue.atoms.values())
    ]
    if unseen:
        notes.append(f"Used atoms of occupancy 0 as they stand in {_count(unseen)}.")
    missing = np.isnan(backbone[:, :, 0])
    for what, rows in (
        ("N, C or O", missing[:, :4].any(axis=1)),
        ("side-chain atoms", missing[:, 4]),
    ):
        if rows.any():
            lacking = [residues[i] for i in np.flatnonzero(rows)]
            notes.append(f"The file lacks {what} in {_count(lacking)}.")
    return notes


def _count(residues: list[Residue]) -> str:
    if len(residues) == 1:
        return f"residue {residues[0]}"
    return f"{len(residues)} residues, the first {residues[0]}"

"""Protein chains from structure files.

The reader is gemmi: it reads PDB and mmCIF, handles altlocs, insertion codes, modified residues and microheterogeneity,
and is a small wheel without compiled dependencies of its own.
"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import gemmi
import numpy as np

from openmm_nemo.data.failures import Failure
from openmm_nemo.data.structures.molecules import protein_chains
from openmm_nemo.data.structures.names import (
    BACKBONE,
    SIDE_CHAIN_ATOMS,
    STANDARD,
    TERMINAL_OXYGENS,
    element,
    is_modified,
)
from openmm_nemo.data.structures.parsing import parse, read_bytes
from openmm_nemo.data.structures.polymer import (
    ChainError,
    Residue,
    chain_breaks,
    d_form_problem,
    problem_of,
    residues_of,
)
from openmm_nemo.data.structures.selection import Selection, choose_residues, segment_choices
from openmm_nemo.errors import InputError
from openmm_nemo.residues import BREAK, MIN_LENGTH, THREE_LETTER, Numbering, chain_in_words

MIN_CA_DISTANCE = 2.0
"""Angstrom. Neighbours in a chain are 3.8 apart (trans) or 2.9 (cis)."""


class SourceFile(NamedTuple):
    """A file that was read.

    Attributes
    ----------
    name : str
        File name without folder.
    sha256 : str
        Digest of the file on disk, as printed by ``sha256sum``.
    """

    name: str
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "SourceFile":
        """Name and digest of a file."""
        with path.open("rb") as file:
            return cls(path.name, hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True, eq=False)
class Structure:
    """One protein chain, or a segment of one; or a complex of several, see `join_chains` in complexes.py.

    Attributes
    ----------
    name : str
        File name without folder and extensions, like "1l2y".
    chain : str
        Author chain name; empty if the file leaves it blank for its only protein. Molecules that share a name, or have
        none, get names that the file does not use. Of a complex, all names, with colons between them.
    model : int
        Model number as given in the file.
    model_index : int
        Position of the model in the file, from 1.
    sequence : str
        One letter per residue, modified residues as their parents, length L; of a complex, with colons between chains.
    ca : np.ndarray
        CA positions in Angstrom, shape (L, 3), float64.
    backbone : np.ndarray
        N, CA, C, O and the centre of mass of the side chain's heavy atoms (glycine: CA) in
        Angstrom, shape (L, 5, 3), float64; NaN where the file lacks the atoms.
    residue_ids : tuple[str, ...]
        Author numbering with insertion code, like "52A".
    notes : tuple[str, ...]
        One sentence per choice that was made when the file was read.
    breaks : tuple[int, ...]
        Residues (from 0) whose CA is too far from the next one to be linked to it.
    sources : tuple[SourceFile, ...]
        The file; for a frame, the trajectory and its topology.
    frame : int or None
        Index of the frame in the trajectory, from 0; None for a structure file.
    chain_lengths : tuple[int, ...]
        Number of residues of each chain of a complex; empty for one chain.
    """

    name: str
    chain: str
    model: int
    model_index: int
    sequence: str
    ca: np.ndarray
    backbone: np.ndarray
    residue_ids: tuple[str, ...]
    notes: tuple[str, ...]
    breaks: tuple[int, ...]
    sources: tuple[SourceFile, ...]
    frame: int | None = None
    chain_lengths: tuple[int, ...] = ()

    @property
    def numbering(self) -> Numbering:
        """Names of the chain, or chains, and their residues."""
        return Numbering(self.chain, self.residue_ids, self.chain_lengths)

    @property
    def residue_numbers(self) -> tuple[int, ...]:
        """Author numbering without insertion codes, length L."""
        return self.numbering.numbers

    @property
    def insertion_codes(self) -> tuple[str, ...]:
        """Insertion code of each residue, or an empty string, length L."""
        return self.numbering.insertion_codes

    @property
    def segment(self) -> str:
        """First and last residue, as in "2-152"; of a complex, of each chain, as in "2-152:1-30"."""
        ids = [chain.residue_ids for chain in self.numbering.chains]
        return BREAK.join(f"{own[0]}-{own[-1]}" for own in ids)


class Source(NamedTuple):
    """A parsed model and its origin."""

    place: str
    name: str
    files: tuple[SourceFile, ...]
    model: gemmi.Model
    model_index: int
    cell: gemmi.UnitCell | None
    notes: list[str]
    frame: int | None = None


def read_structure(
    path: str | Path,
    chain: str | None = None,
    model_index: int | None = None,
    residues: str | None = None,
    longest_segment: bool = False,
    sequence: str | None = None,
) -> Structure:
    """Read one unbroken protein chain, or a segment of one, from a PDB, mmCIF or GRO file, plain or gzipped.

    The format is recognised by the content, so the extension does not matter.

    Parameters
    ----------
    path : str or Path
        The file.
    chain : str, optional
        Author chain name; the first protein chain of at least four known residues by default.
    model_index : int, optional
        Position of the model in the file, from 1; the first by default.
    residues : str, optional
        First and last residue to take, in author numbering, like "2-152" or "-4-52A"; all by default.
    longest_segment : bool
        Take the longest stretch without a chain break or a residue that NEMO cannot use; the first one if several are
        equal.
    sequence : str, optional
        Take the first stretch with this sequence.

    Returns
    -------
    Structure

    Raises
    ------
    InputError
        If the file cannot be read, is cut short or holds no such model or protein chain, or if the selection is not one
        unbroken L-protein of at least four known residues with a CA atom each.

    Examples
    --------
    >>> cage = read_structure("examples/data/1l2y.pdb")
    >>> cage.sequence
    'NLYIQWLKDGGPSSGRPPPS'
    >>> cage.ca.shape  # Angstrom
    (20, 3)
    """
    source = _read_source(Path(path), model_index)
    return structure_of(source, Selection(chain, residues, longest_segment, sequence))


def read_chains(path: str | Path) -> tuple[list[Structure], list[Failure]]:
    """Read all protein chains of the first model of a file; they may have breaks.

    Parameters
    ----------
    path : str or Path
        As for `read_structure`.

    Returns
    -------
    list of Structure
        The chains; only one of those with equal sequences.
    list of Failure
        The chains that were not taken, and why.

    Raises
    ------
    InputError
        If the file cannot be read or holds no protein chain.
    """
    source = _read_source(Path(path), None)
    proteins, notes = _proteins(source)
    structures: dict[str, Structure] = {}
    failures = []
    for name, polymer in proteins.items():
        place = _place(name, source.place)
        try:
            found = residues_of(polymer, place)
            _check_length(found, place)
            _check_residues(found, place)
            structure = _structure(source, name, found, [*source.notes, *notes])
        except InputError as error:
            reason = error.problem if isinstance(error, ChainError) else str(error)
            failures.append(Failure(place, reason))
            continue
        first = structures.setdefault(structure.sequence, structure)
        if first is not structure:
            reason = f"it has the sequence of {chain_in_words(first.chain)}, which was taken"
            failures.append(Failure(place, reason))
    return list(structures.values()), failures


def structure_of(source: Source, selection: Selection) -> Structure:
    """Choose a chain of a model, and what to take from it, see `read_structure`."""
    proteins, notes = _proteins(source)
    name, chain_notes = _choose_chain(source, proteins, selection.chain)
    place = _place(name, source.place)
    residues, segment_notes = choose_residues(residues_of(proteins[name], place), selection, place)
    whole = selection.residues is None
    _check_length(residues, place if whole else f"{selection.residues} of {place}")
    notes = [*source.notes, *notes, *chain_notes, *segment_notes]
    try:
        _check_residues(residues, place)
        structure = _structure(source, name, residues, notes)
        _refuse_breaks(structure, residues, place)
    except ChainError as error:
        choices = [error.choice] if error.choice else segment_choices(residues)
        choices = choices if selection.sequence is None else []
        choices += ["another chain with --chain"] if len(proteins) > 1 else []
        *others, last = choices or [""]
        listed = f"{', '.join(others)} or {last}" if others else last
        remedy = f"choose {listed}" if listed else "give another structure"
        raise InputError(f"{error.problem}: {remedy}.") from None
    return structure


def stem(path: Path) -> str:
    """Return a file name without the extensions of structure files."""
    return re.sub(
        r"\.(pdb|ent|cif|mmcif|gro)$", "", re.sub(r"(?i)\.gz$", "", path.name), flags=re.I
    )


def _read_source(path: Path, model_index: int | None) -> Source:
    parsed = parse(read_bytes(path), path)
    count = len(parsed)
    if model_index is not None and not 1 <= model_index <= count:
        raise InputError(
            f"{path} has no model {model_index}: choose --model-index from 1 to {count}."
        )
    notes = []
    if model_index is None and count > 1:
        notes = [f"Took model 1 of {count}; choose with --model-index."]
    index = model_index or 1
    # The cell of a crystal does not cut molecules; the cell of a simulation has no symmetry.
    in_box = parsed.cell.is_crystal() and parsed.spacegroup_hm in ("", "P 1")
    return Source(
        place=str(path),
        name=stem(path),
        files=(SourceFile.of(path),),
        model=parsed[index - 1],
        model_index=index,
        cell=parsed.cell if in_box else None,
        notes=notes,
    )


def _proteins(source: Source) -> tuple[dict[str, list[gemmi.Residue]], list[str]]:
    chains, notes = protein_chains(source.model, source.cell)
    if not chains:
        raise InputError(f"{source.place} has no protein chain: give a file that holds a protein.")
    return chains, notes


def _choose_chain(
    source: Source, proteins: dict[str, list[gemmi.Residue]], wanted: str | None
) -> tuple[str, list[str]]:
    """Return the name of the chain and the note on the choice."""
    listed = ", ".join(map(_shown, proteins))
    if wanted is not None:
        wanted = wanted.strip()
        if wanted not in proteins:
            there = any(part.name == wanted for part in source.model)
            which = f"Chain {wanted}" if wanted else "The chain without a name"
            what = "is not a protein" if there else "does not exist"
            raise InputError(f"{which} of {source.place} {what}: choose --chain from {listed}.")
        return wanted, []
    chosen = next(
        (name for name, residues in proteins.items() if _known_count(residues) >= MIN_LENGTH),
        next(iter(proteins)),
    )
    notes = []
    if len(proteins) > 1:
        notes.append(f"Took {chain_in_words(chosen)} of {listed}; choose with --chain.")
    return chosen, notes


def _check_residues(residues: list[Residue], place: str) -> None:
    """Raise ChainError if NEMO cannot use one of the residues."""
    if residues and all(residue.name == "UNK" for residue in residues):
        raise ChainError(f"The residues of {place} are unknown (UNK)")
    # The most informative problem first: for a D-protein, not that one of its residues has no parent.
    for problem in (d_form_problem, problem_of):
        for residue in residues:
            found = problem(residue, place)
            if found:
                raise ChainError(found)


def _check_length(residues: list[Residue], place: str) -> None:
    if len(residues) < MIN_LENGTH:
        raise InputError(
            f"There are only {len(residues)} residues in {place}: NEMO needs at least {MIN_LENGTH}."
        )


def _refuse_breaks(structure: Structure, residues: list[Residue], place: str) -> None:
    for i in structure.breaks[:1]:
        distance = np.linalg.norm(structure.ca[i + 1] - structure.ca[i])
        raise ChainError(
            f"The chain breaks between residues {residues[i]} and {residues[i + 1]} of {place}, "
            f"whose CA atoms are {distance:.1f} Angstrom apart"
        )


def _structure(source: Source, chain: str, residues: list[Residue], notes: list[str]) -> Structure:
    backbone = _backbone(residues)
    _refuse_overlaps(residues, backbone[:, 1], _place(chain, source.place))
    return Structure(
        name=source.name,
        chain=chain,
        model=source.model.num,
        model_index=source.model_index,
        sequence="".join(residue.letter for residue in residues),
        ca=backbone[:, 1].copy(),
        backbone=backbone,
        residue_ids=tuple(residue.number for residue in residues),
        notes=(*notes, *_notes_on_residues(residues, backbone)),
        breaks=chain_breaks(backbone[:, 1]),
        sources=source.files,
        frame=source.frame,
    )


def _place(chain_name: str, source: str) -> str:
    return f"{chain_in_words(chain_name)} of {source}"


def _shown(chain_name: str) -> str:
    """Return a chain name as it is typed for --chain."""
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
        others = {"OXT"} if is_modified(residue.name) else TERMINAL_OXYGENS
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
                "a segment without one of them, with --residues",
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
    for modified, what in (
        (False, "Read names of force fields as standard ones"),
        (True, "Took modified residues as their parents"),
    ):
        mapped = Counter(
            f"{residue.name}->{THREE_LETTER[residue.letter]}"
            for residue in residues
            if residue.name not in STANDARD and is_modified(residue.name) == modified
        )
        if mapped:
            listed = ", ".join(f"{pair} x{count}" for pair, count in mapped.items())
            notes.append(f"{what}: {listed}.")
    unseen = [
        residue for residue in residues if any(atom.occ == 0 for atom in residue.atoms.values())
    ]
    if unseen:
        notes.append(f"Used the positions of atoms with occupancy 0 in {_count(unseen)}.")
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

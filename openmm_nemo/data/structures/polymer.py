"""The residues of a protein chain: which belong to it, and one conformer of each."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import gemmi
import numpy as np

from openmm_nemo.data.structures.names import BACKBONE, element, is_amino_acid, parent
from openmm_nemo.errors import InputError
from openmm_nemo.residues import MIN_LENGTH

SAME_PLACE = 0.1
"""Angstrom. A backbone atom given twice farther apart than this is an atom of two molecules."""

MAX_PEPTIDE_BOND = 2.0
"""Angstrom from C to the next N; the ideal length is 1.33."""

MAX_CA_DISTANCE = 4.2
"""Angstrom. Neighbours in a chain are 3.8 apart (trans) or 2.9 (cis)."""


class ChainError(InputError):
    """A chain that NEMO cannot use.

    Attributes
    ----------
    problem : str
        Why, without what who asked for this chain can do about it.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}: {remedy}")
        self.problem = problem


@dataclass(frozen=True)
class Residue:
    """A residue after the choice of one conformer; ``atoms`` are its heavy atoms by name."""

    name: str
    number: str
    letter: str
    atoms: dict[str, gemmi.Atom]
    conformer_count: int
    other_names: tuple[str, ...]  # microheterogeneity: what else the file has in this place
    has_doubles: bool  # an atom is there twice with no altloc to tell them apart

    def __str__(self) -> str:
        return f"{self.name} {self.number}"


def chain_breaks(ca: np.ndarray) -> tuple[int, ...]:
    """Residues (from 0) whose CA, of ``ca (L, 3)`` in Angstrom, is too far from the next one to be linked to it."""
    steps = np.linalg.norm(np.diff(ca, axis=0), axis=1)
    return tuple(np.flatnonzero(steps > MAX_CA_DISTANCE).tolist())


def polymer_of(residues: list[gemmi.Residue]) -> list[gemmi.Residue]:
    """Return the residues that are linked into the chain, not its ligands, ions and waters.

    What the file says (mmCIF entities, PDB residues before TER) counts. Files that say nothing are
    read by record: amino acids in ATOM records belong to the chain, those in HETATM records if they
    are bonded to a neighbour that does.
    """
    belongs = [
        residue.entity_type == gemmi.EntityType.Polymer
        or (residue.het_flag != "H" and is_amino_acid(residue.name))
        for residue in residues
    ]
    last = len(residues) - 1
    for order, step in ((range(1, last + 1), -1), (range(last - 1, -1, -1), 1)):
        for i in order:
            if belongs[i + step] and residues[i].entity_type == gemmi.EntityType.Unknown:
                pair = (
                    (residues[i - 1], residues[i]) if step < 0 else (residues[i], residues[i + 1])
                )
                belongs[i] = belongs[i] or _is_bonded(*pair)
    return [residue for residue, inside in zip(residues, belongs, strict=True) if inside]


def _is_bonded(residue: gemmi.Residue, following: gemmi.Residue) -> bool:
    """Tell if a peptide bond links the two, by the CA atoms where there are no others."""
    for first, second, limit in (("C", "N", MAX_PEPTIDE_BOND), ("CA", "CA", MAX_CA_DISTANCE)):
        if first in residue and second in following:
            return residue[first][0].pos.dist(following[second][0].pos) < limit
    return False


def known_residues(polymer: list[gemmi.Residue], place: str) -> tuple[list[Residue], list[str]]:
    """Choose a conformer a residue and check that NEMO knows every residue."""
    polymer, caps = _split_caps(polymer)
    notes = []
    if caps:
        names = ", ".join(f"{cap.name} {cap.seqid}" for cap in caps)
        notes.append(f"Left out the groups that cap the chain: {names}.")
    residues = [_one_conformer(group, place) for group in _positions(polymer)]
    for residue in residues:
        if gemmi.find_tabulated_residue(residue.name).kind == gemmi.ResidueKind.AAD:
            raise ChainError(
                f"Residue {residue.number} of {place} is the D-amino acid {residue.name}",
                "NEMO's mirror-image-sensitive energy is for L-proteins; choose another chain "
                "with --chain.",
            )
    if residues and all(residue.name == "UNK" for residue in residues):
        raise ChainError(
            f"The residues of {place} are unknown (UNK)", "choose another chain with --chain."
        )
    for residue in residues:
        if not residue.letter:
            raise ChainError(
                f"Residue {residue} of {place} has no parent among the twenty amino acids",
                "choose another chain with --chain, or cut the file to a segment without it.",
            )
        if "CA" not in residue.atoms:
            raise ChainError(
                f"Residue {residue} of {place} has no CA atom",
                "choose another chain with --chain, or cut the file to a segment without it.",
            )
    if len(residues) < MIN_LENGTH:
        raise InputError(
            f"Only {len(residues)} residues are in {place}: NEMO needs at least {MIN_LENGTH}."
        )
    return residues, notes


def _split_caps(
    polymer: list[gemmi.Residue],
) -> tuple[list[gemmi.Residue], list[gemmi.Residue]]:
    """Part the chain from groups such as ACE and NH2 at its ends."""

    def is_cap(residue: gemmi.Residue) -> bool:
        return not is_amino_acid(residue.name) and "CA" not in residue

    start, end = 0, len(polymer)
    while start < end and is_cap(polymer[start]):
        start += 1
    while start < end and is_cap(polymer[end - 1]):
        end -= 1
    return polymer[start:end], polymer[:start] + polymer[end:]


def _positions(polymer: list[gemmi.Residue]) -> Iterator[list[gemmi.Residue]]:
    """Yield the residues that share a place in the chain: several under microheterogeneity."""
    for _, same_number in groupby(polymer, key=lambda residue: str(residue.seqid)):
        group = list(same_number)
        # Only altlocs make alternatives; without them the numbering of the file is at fault.
        if all(atom.has_altloc() for residue in group for atom in residue):
            yield group
        else:
            yield from ([residue] for residue in group)


def _one_conformer(group: list[gemmi.Residue], place: str) -> Residue:
    """Return the conformer of highest mean occupancy, of equals the first by letter."""
    occupancies: dict[str, list[float]] = {}
    for residue in group:
        for atom in residue:
            if atom.has_altloc() and not element(residue.name, atom).is_hydrogen:
                occupancies.setdefault(atom.altloc, []).append(atom.occ)
    means = {letter: sum(values) / len(values) for letter, values in occupancies.items()}
    ranked = sorted(means, key=lambda letter: (-means[letter], letter))
    best = ranked[0] if ranked else "\0"
    residue = next((r for r in group if any(atom.altloc == best for atom in r)), group[0])
    number = str(residue.seqid)

    atoms: dict[str, gemmi.Atom] = {}
    has_doubles = False
    # An atom that the best conformer lacks comes from the next best.
    for letter in ["\0", *ranked]:
        names = set(atoms)
        for atom in residue:
            if atom.altloc != letter or element(residue.name, atom).is_hydrogen:
                continue
            if atom.name in atoms and atom.name not in names:
                has_doubles = True
                if atom.name in BACKBONE and atom.pos.dist(atoms[atom.name].pos) > SAME_PLACE:
                    raise InputError(
                        f"Residue {residue.name} {number} of {place} has atom {atom.name} in two "
                        "places: give each molecule of the file its own chain name."
                    )
            if not all(map(math.isfinite, atom.pos.tolist())):
                raise InputError(
                    f"Atom {atom.name} of residue {residue.name} {number} of {place} has "
                    "coordinates that are not finite: mend the file."
                )
            atoms.setdefault(atom.name, atom)
    return Residue(
        name=residue.name,
        number=number,
        letter=parent(residue.name),
        atoms=atoms,
        conformer_count=len(ranked),
        other_names=tuple(other.name for other in group if other is not residue),
        has_doubles=has_doubles,
    )

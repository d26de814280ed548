"""The residues that belong to a protein chain, with one conformer of each."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

import gemmi
import numpy as np

from openmm_nemo.data.structures.names import (
    AMINO_ACID_KINDS,
    BACKBONE,
    Kind,
    element,
    is_modified,
    kind_of,
    look_up,
    may_be_amino_acid,
    parent,
)
from openmm_nemo.errors import InputError

SAME_RESIDUE = 2.0
"""Angstrom. Residues with one number whose CA atoms are nearer than this are alternatives; neighbours never are."""

SAME_PLACE = 0.1
"""Angstrom. A backbone atom given twice at a larger distance than this belongs to two molecules."""

MAX_PEPTIDE_BOND = 2.0
"""Angstrom from C to the next N; the ideal length is 1.33."""

MAX_CA_DISTANCE = 4.2
"""Angstrom. Neighbours in a chain are 3.8 apart (trans) or 2.9 (cis)."""


class ChainError(InputError):
    """A chain that NEMO cannot use.

    Attributes
    ----------
    problem : str
        The reason, without the suggested remedy.
    choice : str
        What to choose instead; empty if any other part of the chain will do.
    """

    def __init__(self, problem: str, choice: str = "") -> None:
        super().__init__(f"{problem}.")
        self.problem = problem
        self.choice = choice


@dataclass(frozen=True)
class Residue:
    """A residue after the choice of one conformer; ``atoms`` are its heavy atoms by name."""

    name: str
    number: str
    letter: str
    atoms: dict[str, gemmi.Atom]
    conformer_count: int
    other_names: tuple[str, ...]  # microheterogeneity: other residues in this place
    has_doubles: bool  # an atom occurs twice without altlocs to distinguish them

    def __str__(self) -> str:
        return f"{self.name} {self.number}"


def chain_breaks(ca: np.ndarray) -> tuple[int, ...]:
    """Residues (from 0) whose CA, of ``ca (L, 3)`` in Angstrom, is too far from the next one to be linked to it."""
    steps = np.linalg.norm(np.diff(ca, axis=0), axis=1)
    return tuple(np.flatnonzero(steps > MAX_CA_DISTANCE).tolist())


def polymer_of(residues: list[gemmi.Residue]) -> list[gemmi.Residue]:
    """Return the amino acids that are linked into a chain, not its caps, ligands, ions and waters.

    What the file says (mmCIF entities, PDB residues before TER) takes precedence. Otherwise the record decides: amino
    acids in ATOM records belong to the chain; those in HETATM records, residues of unknown kind, and residues that have
    the backbone of an amino acid but the name of something else, do if they are bonded to a neighbour that does.
    """
    possible = [r for r in residues if kind_of(r) == Kind.LIGAND or may_be_amino_acid(r)]
    is_amino = [kind_of(residue) in AMINO_ACID_KINDS for residue in possible]
    belongs = [
        residue.entity_type == gemmi.EntityType.Polymer or (residue.het_flag != "H" and amino)
        for residue, amino in zip(possible, is_amino, strict=True)
    ]
    last = len(possible) - 1
    for order, step in ((range(1, last + 1), -1), (range(last - 1, -1, -1), 1)):
        for i in order:
            if belongs[i + step] and possible[i].entity_type == gemmi.EntityType.Unknown:
                belongs[i] = belongs[i] or is_bonded(possible[i + step], possible[i])
                belongs[i] = belongs[i] or is_bonded(possible[i], possible[i + step])
    return [residue for residue, inside in zip(possible, belongs, strict=True) if inside]


def is_bonded(residue: gemmi.Residue, following: gemmi.Residue) -> bool:
    """Whether a peptide bond links the two; judged by the CA atoms if there are no others."""
    for first, second, limit in (("C", "N", MAX_PEPTIDE_BOND), ("CA", "CA", MAX_CA_DISTANCE)):
        if first in residue and second in following:
            return residue[first][0].pos.dist(following[second][0].pos) < limit
    return False


def in_order_of_bonds(
    residues: list[gemmi.Residue],
) -> tuple[list[gemmi.Residue], list[gemmi.Residue]]:
    """Return the residues with strays moved to where they belong, and the strays.

    Some programs list HETATM records after all others, including those of modified residues in the chain. A stray is
    not bonded to its neighbours in the file, but to two residues of the chain, or to one if the file does not say that
    it is a ligand.
    """
    fragments: list[list[gemmi.Residue]] = []
    for residue in residues:
        if fragments and _has_peptide_bond(fragments[-1][-1], residue):
            fragments[-1].append(residue)
        else:
            fragments.append([residue])
    moved: list[gemmi.Residue] = []
    strays = [fragment for fragment in fragments if _may_be_stray(fragment)]
    while strays:
        stray = strays.pop(0)
        others = [fragment for fragment in fragments if fragment is not stray]
        before = next((f for f in others if _has_peptide_bond(f[-1], stray[0])), None)
        after = next((f for f in others if _has_peptide_bond(stray[-1], f[0])), None)
        if before is not None and after is not None:
            for residue in stray:
                residue.entity_type = gemmi.EntityType.Polymer
        elif any(residue.entity_type != gemmi.EntityType.Unknown for residue in stray):
            continue
        if before is not None:
            before.extend(stray)
        elif after is not None:
            after[:0] = stray
        else:
            continue
        moved += [residue for residue in stray if residue not in moved]
        fragments = others
    return [residue for fragment in fragments for residue in fragment], moved


def _may_be_stray(fragment: list[gemmi.Residue]) -> bool:
    return all(residue.het_flag == "H" and may_be_amino_acid(residue) for residue in fragment)


def _has_peptide_bond(residue: gemmi.Residue, following: gemmi.Residue) -> bool:
    return "C" in residue and "N" in following and is_bonded(residue, following)


def from_n_terminus(polymer: list[gemmi.Residue]) -> tuple[list[gemmi.Residue], bool]:
    """Return the residues from the N-terminus on, and whether the file has them in reverse order."""
    steps = [
        (is_bonded(first, second), is_bonded(second, first))
        for first, second in pairwise(polymer)
        if "N" in first and "C" in first and "N" in second and "C" in second
    ]
    forward, backward = np.sum(steps, axis=0) if steps else (0, 0)
    return (polymer[::-1], True) if backward > forward else (polymer, False)


def residues_of(polymer: list[gemmi.Residue], place: str) -> list[Residue]:
    """Return one conformer of each residue of a chain."""
    return [_one_conformer(group, place) for group in _positions(polymer)]


def problem_of(residue: Residue, place: str) -> str | None:
    """Return the reason why NEMO cannot use a residue, or None."""
    problem = d_form_problem(residue, place)
    if problem is None and not residue.letter:
        problem = f"Residue {residue} of {place} has no parent among the twenty amino acids"
    if problem is None and "CA" not in residue.atoms:
        problem = f"Residue {residue} of {place} has no CA atom"
    return problem


def d_form_problem(residue: Residue, place: str) -> str | None:
    """Return the problem with a D-amino acid, or None."""
    known = look_up(residue.name)
    named = known is not None and known.kind == Kind.D_AMINO_ACID
    if not named and not (is_modified(residue.name) and _is_d_form(residue)):
        return None
    return (
        f"Residue {residue.number} of {place} is the D-amino acid {residue.name}, but NEMO's mirror-image-sensitive "
        "energy is for L-proteins"
    )


def _is_d_form(residue: Residue) -> bool:
    """Whether the CA is in D-form, because the tables do not say for all residues; false if atoms are missing."""
    if any(name not in residue.atoms for name in ("N", "CA", "C", "CB")):
        return False
    n, ca, c, cb = (np.array(residue.atoms[name].pos.tolist()) for name in ("N", "CA", "C", "CB"))
    return bool(np.cross(n - ca, c - ca) @ (cb - ca) < 0)


def _positions(polymer: list[gemmi.Residue]) -> Iterator[list[gemmi.Residue]]:
    """Yield the residues that share a place in the chain: several under microheterogeneity."""
    for _, same_number in groupby(
        polymer, key=lambda residue: (residue.subchain, str(residue.seqid))
    ):
        group = list(same_number)
        if len(group) > 1 and _are_alternatives(group):
            yield group
        else:
            yield from ([residue] for residue in group)


def _are_alternatives(group: list[gemmi.Residue]) -> bool:
    """Whether residues with the same number share a place: all atoms have altlocs, or they share a backbone.

    Two backbones in two places are two residues, with an error in the numbering of the file.
    """
    if all(atom.has_altloc() for residue in group for atom in residue):
        return True
    backbones = [atom.pos for residue in group for atom in residue if atom.name == "CA"]
    return all(
        "CA" in residue or any(atom.has_altloc() for atom in residue) for residue in group
    ) and all(position.dist(backbones[0]) < SAME_RESIDUE for position in backbones)


def _one_conformer(group: list[gemmi.Residue], place: str) -> Residue:
    """Return the conformer of highest mean occupancy, or the first by letter if several are equal."""
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
    # The backbone that it shares with the others is given in one of them.
    shared = [
        atom
        for other in group
        if other is not residue
        for atom in other
        if atom.name in BACKBONE and not atom.has_altloc() and atom.name not in residue
    ]

    atoms: dict[str, gemmi.Atom] = {}
    has_doubles = False
    # An atom that the best conformer lacks comes from the next best.
    for letter in ["\0", *ranked]:
        names = set(atoms)
        for atom in [*residue, *shared]:
            if atom.altloc != letter or element(residue.name, atom).is_hydrogen:
                continue
            if atom.name in atoms and atom.name not in names:
                has_doubles = True
                if atom.name in BACKBONE and atom.pos.dist(atoms[atom.name].pos) > SAME_PLACE:
                    raise InputError(
                        f"Residue {residue.name} {number} of {place} has atom {atom.name} in two "
                        "places: give each molecule in the file its own chain name."
                    )
            if not all(map(math.isfinite, atom.pos.tolist())):
                raise InputError(
                    f"Atom {atom.name} of residue {residue.name} {number} of {place} has "
                    "coordinates that are not finite: fix the file."
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

"""Find the protein chains in a model of a file: one per molecule, with a name to choose it by."""

import string
from collections import Counter
from collections.abc import Iterator
from itertools import count, pairwise, product
from typing import NamedTuple

import gemmi

from openmm_nemo.data.structures.names import (
    AMINO_ACID_KINDS,
    Kind,
    copies,
    kind_of,
    may_be_amino_acid,
)
from openmm_nemo.data.structures.polymer import (
    MAX_CA_DISTANCE,
    from_n_terminus,
    in_order_of_bonds,
    is_bonded,
    polymer_of,
)
from openmm_nemo.residues import chain_in_words

MAX_RESIDUE = 10.0
"""Angstrom. No atom of an amino acid is farther from its CA; ARG reaches 7.5."""

LAST_OXYGENS = {"OXT", "OT2", "OC2"}
"""Atoms that a residue has only at the end of a chain, in any force field."""

SHOWN_NAMES = 6


class Proteins(NamedTuple):
    """Result of `protein_chains`.

    Attributes
    ----------
    chains : dict of str to list of gemmi.Residue
        The amino acids of each protein molecule by the name of its chain, in the order of the file.
    notes : list of str
        One sentence per choice, and one for everything that is left out.
    """

    chains: dict[str, list[gemmi.Residue]]
    notes: list[str]


def protein_chains(model: gemmi.Model, cell: gemmi.UnitCell | None) -> Proteins:
    """Find the protein molecules of a model.

    Parameters
    ----------
    model : gemmi.Model
        Its chains may come in parts; residues of one part share a ``subchain``.
    cell : gemmi.UnitCell, optional
        Box of a simulation, which may have cut molecules; they are made whole in place.

    Returns
    -------
    Proteins
        Without chains if there is no protein.
    """
    parts: dict[str, list[gemmi.Residue]] = {}
    for part in model:
        parts.setdefault(part.name, []).extend(part)
    names = _free_names(set(parts))
    chains: dict[str, list[gemmi.Residue]] = {}
    left_out: list[gemmi.Residue] = []
    notes = []
    for name, residues in parts.items():
        if cell is not None and make_whole(residues, cell):
            notes.append(f"Made {chain_in_words(name)} whole, which the periodic box had cut.")
        residues, is_reversed = from_n_terminus(residues)
        residues, moved = in_order_of_bonds(residues)
        polymer = polymer_of(residues)
        taken = set()
        if any(kind_of(residue) in AMINO_ACID_KINDS for residue in polymer):
            taken = {id(residue) for residue in polymer}
            if is_reversed:
                notes.append(
                    f"Reversed {chain_in_words(name)}, which the file lists from its C-terminus."
                )
            if moved:
                listed = _listed([f"{residue.name} {residue.seqid}" for residue in moved])
                notes.append(
                    f"Moved residues of {chain_in_words(name)} to where they are bonded: {listed}."
                )
            molecules = _molecules(polymer, _before_caps(residues, taken), named=bool(name))
            called = [
                name if i == 0 and (name or len(molecules) == 1) else next(names)
                for i in range(len(molecules))
            ]
            chains |= dict(zip(called, molecules, strict=True))
            if len(molecules) > 1:
                where = f"Chain {name}" if name else "The file"
                what = "holds" if name else "has no chain names for its"
                notes.append(
                    f"{where} {what} {len(molecules)} protein molecules: they are called {_listed(called)} here."
                )
        left_out += [residue for residue in residues if id(residue) not in taken]
    return Proteins(chains, notes + _note_on_left_out(left_out))


def make_whole(residues: list[gemmi.Residue], cell: gemmi.UnitCell) -> bool:
    """Move residues by box vectors, in place, to the images where they are linked; return whether any was moved."""
    moved = False
    shift = gemmi.Position(0, 0, 0)
    before: gemmi.Position | None = None
    for residue in residues:
        if not may_be_amino_acid(residue) or "CA" not in residue:
            continue
        ca = residue["CA"][0].pos
        place = ca + shift
        if before is not None and before.dist(place) > MAX_CA_DISTANCE:
            nearest = cell.find_nearest_pbc_position(before, ca, 0)
            place = nearest if before.dist(nearest) < MAX_CA_DISTANCE else ca
        shift, before = place - ca, place
        for atom in residue:
            target = atom.pos + shift
            if target.dist(place) > MAX_RESIDUE:
                target = cell.find_nearest_pbc_position(place, target, 0)
            if target.dist(atom.pos) > MAX_RESIDUE:
                moved = True
                atom.pos = target
    return moved


def _before_caps(residues: list[gemmi.Residue], taken: set[int]) -> set[int]:
    """Return the identities of those residues taken that a cap separates from the next one taken."""
    before = set()
    last: int | None = None
    for residue in residues:
        if id(residue) in taken:
            last = id(residue)
        elif last is not None and kind_of(residue) == Kind.CAP:
            before.add(last)
    return before


def _molecules(
    polymer: list[gemmi.Residue], before_caps: set[int], named: bool
) -> list[list[gemmi.Residue]]:
    """Split the amino acids under one chain name where another molecule begins.

    That is where residues are not bonded and a number is repeated, or a TER record or a cap lies between them. Without
    a chain name, it is also indicated by segments, ends of chains and numbers that do not increase; a missing loop has
    none of these.
    """
    molecules = [polymer[:1]]
    numbers = {str(polymer[0].seqid)}
    for residue, following in pairwise(polymer):
        number = str(following.seqid)
        begins = (
            number in numbers
            or residue.subchain != following.subchain
            or id(residue) in before_caps
        )
        if not named:
            begins = (
                begins
                or residue.segment != following.segment
                or (following.seqid.num or 0) < (residue.seqid.num or 0)
                or any(atom.name in LAST_OXYGENS for atom in residue)
            )
        if begins and not _share_place(residue, following) and not is_bonded(residue, following):
            molecules.append([])
            numbers.clear()
        molecules[-1].append(following)
        numbers.add(number)
    return molecules


def _share_place(residue: gemmi.Residue, following: gemmi.Residue) -> bool:
    """Whether two residues may be alternatives."""
    return residue.subchain == following.subchain and residue.seqid == following.seqid


def _free_names(taken: set[str]) -> Iterator[str]:
    """Yield chain names that the file does not use: A to Z, a to z, 0 to 9, AA."""
    signs = string.ascii_uppercase + string.ascii_lowercase + string.digits
    for length in count(1):
        for letters in product(signs, repeat=length):
            name = "".join(letters)
            if name not in taken:
                yield name


def _listed(names: list[str]) -> str:
    rest = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _note_on_left_out(residues: list[gemmi.Residue]) -> list[str]:
    counts: Counter[Kind] = Counter()
    names: dict[Kind, dict[str, None]] = {}
    for residue in residues:
        kind = kind_of(residue)
        if kind in AMINO_ACID_KINDS:  # not part of a chain
            kind = Kind.LIGAND
        counts[kind] += copies(residue)
        names.setdefault(kind, {})[residue.name] = None
    if not counts:
        return []
    listed = [
        f"{counts[kind]} {kind}{'' if counts[kind] == 1 else 's'} ({_listed(list(names[kind]))})"
        for kind in Kind
        if kind in counts
    ]
    return [f"Left out {', '.join(listed)}."]

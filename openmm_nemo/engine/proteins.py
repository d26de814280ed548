"""Proteins in ordinary OpenMM topologies, coarse or all-atom."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from openmm import app

from openmm_nemo.data.structures.names import AMINO_ACID_KINDS, look_up, parent
from openmm_nemo.errors import InputError
from openmm_nemo.residues import MIN_LENGTH


def protein_calphas(
    topology: app.Topology, atoms: Iterable[int] | None = None, real_bonds: bool = False
) -> list[list[Any]]:
    """C-alpha atoms of every protein.

    A protein is a run of residues of a chain in which each is bonded to the next. Residues without any bond in the
    topology count as bonded to their neighbours. Left out are runs of fewer than four residues, such as free amino
    acids, and all other molecules, also if they have an atom named CA.

    Parameters
    ----------
    topology : openmm.app.Topology
    atoms : iterable of int, optional
        Indices of the atoms to choose from. Default: all.
    real_bonds : bool
        Whether bonds come from a force field. OpenMM joins neighbours in a PDB file without looking at positions, so
        that a jump in the residue numbers may be a gap; with at least four residues on both sides, it is an error.

    Returns
    -------
    list of list of openmm.app.topology.Atom
        At least one.

    Raises
    ------
    InputError
        If there is no protein, or a chain may have a gap.
    """
    chosen = None if atoms is None else set(atoms)
    pairs = {(bond.atom1.residue.index, bond.atom2.residue.index) for bond in topology.bonds()}
    bonded = {index for pair in pairs for index in pair}

    def are_apart(first: Any, second: Any) -> bool:
        """Whether the topology has bonds of both residues, but none between them."""
        i, j = first.index, second.index
        return {i, j} <= bonded and not {(i, j), (j, i)} & pairs

    proteins = []
    for chain in topology.chains():
        beads = [bead for residue in chain.residues() if (bead := calpha(residue)) is not None]
        runs: list[list[Any]] = []
        for bead in beads:
            if chosen is not None and bead.index not in chosen:
                continue
            last = runs[-1][-1].residue if runs else None
            jump = last is not None and not real_bonds and _jump(last, bead.residue)
            if last is None or jump or are_apart(last, bead.residue):
                runs.append([])
            runs[-1].append(bead)
        runs = [run for run in runs if len(run) >= MIN_LENGTH]
        for before, after in pairwise(runs):
            first, second = before[-1].residue, after[0].residue
            if not are_apart(first, second):
                raise InputError(
                    f"Chain {chain.id} may have a gap between the residues {first.name} {first.id} and {second.name} "
                    f"{second.id}: give the C-alpha atoms of one side as atoms, or number the residues "
                    "consecutively if there is none."
                )
        proteins += runs
    if not proteins:
        raise InputError(
            f"The topology has no protein of at least {MIN_LENGTH} residues with C-alpha atoms (named CA) among the "
            "atoms: NEMO has nothing to act on."
        )
    return proteins


def calpha(residue: Any) -> Any:
    """The C-alpha atom of an amino acid, or of an unknown residue that has its backbone or is only one bead."""
    atoms = {atom.name.strip(): atom for atom in residue.atoms()}  # old prmtop files pad names
    known = look_up(residue.name)
    if known is None:
        bead = atoms.get("CA") if {"N", "C"} <= atoms.keys() or len(atoms) == 1 else None
        is_calcium = bead is not None and bead.element is app.element.calcium
        return None if is_calcium else bead
    return atoms.get("CA") if known.kind in AMINO_ACID_KINDS else None


def letter(bead: Any) -> str:
    """One-letter code of the residue of a C-alpha atom.

    Raises
    ------
    InputError
        If it is not one of the twenty amino acids.
    """
    residue = bead.residue
    code = parent(residue.name)
    if not code:
        raise InputError(
            f"Residue {residue.name} {residue.id} of chain {residue.chain.id} is not one of the twenty amino acids: "
            "leave it out of the atoms."
        )
    return code


def _jump(first: Any, second: Any) -> bool:
    """Whether the numbers of two residues do not follow each other; insertion codes do not change the number."""
    try:
        return int(second.id) - int(first.id) not in (0, 1)
    except ValueError:  # not numbers
        return False

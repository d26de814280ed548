"""ParmEd structures: proteins as such, and NEMO on the proteins of systems from AMBER, CHARMM and GROMACS files."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import mdtraj as md
import numpy as np
import openmm as mm
import parmed
import torch
from openmm import unit
from parmed.amber import AmberMask
from parmed.exceptions import MaskError, ParameterError

from openmm_nemo.data.structures.polymer import chain_breaks
from openmm_nemo.engine.protein import Protein
from openmm_nemo.engine.proteins import letter, protein_calphas
from openmm_nemo.engine.system import NemoTopology, add_to_system, initial_positions
from openmm_nemo.engine.trajectory import SIDE_CHAIN_BEAD, atom_topology, coarse_topology
from openmm_nemo.engine.units import ANGSTROM_PER_NM, value_in
from openmm_nemo.errors import InputError
from openmm_nemo.residues import RESIDUE_MASS_DALTON

CA_BOND = 3.8
"""Angstrom. Length of the bonds of C-alpha atoms at which NEMO has no strain, see `chain_features`."""


def coarse_structure(protein: Protein, positions: Any = None) -> parmed.Structure:
    """ParmEd structure of one C-alpha atom per residue.

    The masses are those of residues. The bonds have NEMO's equilibrium length and a force constant of zero, because
    NEMO's energy, which `create_system` adds, contains them.

    Parameters
    ----------
    protein : ConditionedModel
    positions : Quantity or array-like, shape (L, 3), optional
        Positions, nm. Default: `initial_positions`.

    Returns
    -------
    parmed.Structure

    Raises
    ------
    ValueError
        If the positions have another shape.
    """
    structure = _structure(protein, coarse_topology(protein.sequence, protein.numbering))
    for atom, code in zip(structure.atoms, protein.sequence, strict=True):
        atom.mass = RESIDUE_MASS_DALTON[code]
    bond_type = parmed.BondType(0.0, CA_BOND, list=structure.bond_types)
    structure.bond_types.append(bond_type)
    for bond in structure.bonds:
        bond.type = bond_type
    structure.coordinates = ANGSTROM_PER_NM * _trace(protein, positions)
    return structure


def atom_structure(
    protein: Protein, positions: Any = None, side_chain_bead: bool = True
) -> parmed.Structure:
    """ParmEd structure of the imputed atoms N, CA, C and O, and of the centre of mass of the side chain.

    There are no parameters: the atoms have the masses of their elements, the side chain's centre has none.

    Parameters
    ----------
    protein : ConditionedModel
    positions : Quantity or array-like, shape (L, 3), optional
        Positions of the C-alpha atoms that the others are imputed from, nm. Default: `initial_positions`.
    side_chain_bead : bool
        Whether there is an atom at the side chain's centre.

    Returns
    -------
    parmed.Structure

    Raises
    ------
    ValueError
        If the positions have another shape.
    """
    x = torch.as_tensor(ANGSTROM_PER_NM * _trace(protein, positions)).to(protein.s)
    with torch.no_grad():
        atoms = protein.impute(x).double().cpu().numpy()
    topology = atom_topology(protein.sequence, protein.numbering, side_chain_bead)
    structure = _structure(protein, topology)
    for atom, source in zip(structure.atoms, topology.atoms, strict=True):
        atom.mass = 0.0 if atom.name == SIDE_CHAIN_BEAD else source.element.mass
    structure.coordinates = atoms[:, : topology.n_atoms // topology.n_residues].reshape(-1, 3)
    return structure


def _structure(protein: Protein, topology: md.Topology) -> parmed.Structure:
    """Atoms and bonds of an MDTraj topology, with the names of the protein's residues and chain."""
    structure = parmed.Structure()
    residues = [
        (residue.name, int(residue.id), residue.chain.id, residue.insertionCode.strip())
        for residue in NemoTopology(protein).residues()
    ]
    for atom in topology.atoms:
        new = parmed.Atom(name=atom.name, atomic_number=atom.element.number)
        structure.add_atom(new, *residues[atom.residue.index])
    for first, second in topology.bonds:
        bond = parmed.Bond(structure.atoms[first.index], structure.atoms[second.index])
        structure.bonds.append(bond)
    return structure


def _trace(protein: Protein, positions: Any) -> np.ndarray:
    """Positions (L, 3) of C-alpha atoms, nm."""
    if positions is None:
        positions = initial_positions(protein)
    x = np.asarray(value_in(positions, unit.nanometer), dtype=float)
    expected = len(protein.sequence), 3
    if x.shape != expected:
        raise ValueError(f"positions has shape {x.shape}: it must be {expected}.")
    return x


class FoundProtein(NamedTuple):
    """A protein in a ParmEd structure.

    Attributes
    ----------
    number : int
        Number among the proteins of the structure, from 1.
    chain : str
        Chain name; empty in AMBER and GROMACS files, the segment in CHARMM files.
    sequence : str
        One letter per residue, modified residues as their parents, length L.
    residues : tuple of str
        Names and numbers as in ParmEd, which counts from 0 if the file has no numbers.
    particles : tuple of int
        Indices of the C-alpha atoms, length L.
    """

    number: int
    chain: str
    sequence: str
    residues: tuple[str, ...]
    particles: tuple[int, ...]

    def __str__(self) -> str:
        chain = f" of chain {self.chain}" if self.chain else ""
        return f"protein {self.number}{chain} ({self.residues[0]} to {self.residues[-1]})"


def find_proteins(
    structure: parmed.Structure, atoms: str | Iterable[int] | None = None
) -> list[FoundProtein]:
    """Find the proteins of a structure by names of residues and atoms, and by bonds.

    A protein is an unbroken run of at least four amino acids, by whatever names force fields call them; caps, solvent,
    ions and ligands are left out. So two parts of a chain without a bond between them are two proteins.

    Parameters
    ----------
    structure : parmed.Structure
        From files of AMBER, CHARMM or GROMACS, or from an OpenMM system.
    atoms : str or iterable of int, optional
        Atoms to choose from: an AMBER mask such as ":1-20", or indices. Default: all.

    Returns
    -------
    list of FoundProtein
        At least one.

    Raises
    ------
    InputError
        If there is no protein, an amino acid has no parent among the twenty, or the mask is wrong.
    """
    chosen = _selected(structure, atoms) if isinstance(atoms, str) else atoms
    proteins: list[FoundProtein] = []
    for beads in protein_calphas(structure.topology, chosen, real_bonds=True):
        found = FoundProtein(
            number=len(proteins) + 1,
            chain=beads[0].residue.chain.id.strip(),
            sequence="".join(map(letter, beads)),
            residues=tuple(
                f"{bead.residue.name} {bead.residue.id}{bead.residue.insertionCode.strip()}"
                for bead in beads
            ),
            particles=tuple(bead.index for bead in beads),
        )
        proteins.append(found)
    return proteins


def _selected(structure: parmed.Structure, mask: str) -> list[int]:
    try:
        return list(AmberMask(structure, mask).Selected())
    except (MaskError, ValueError) as error:
        raise InputError(
            f"atoms={mask!r} is not an AMBER mask ({error}): give one like ':1-20'."
        ) from None


def create_system(
    protein: Protein,
    structure: parmed.Structure,
    chain: str | None = None,
    number: int | None = None,
    atoms: str | Iterable[int] | None = None,
    backend: str = "auto",
    force_group: int = 31,
    **options: Any,
) -> mm.System:
    """System of a structure, with NEMO's force on the C-alpha atoms of one of its proteins.

    Parameters
    ----------
    protein : ConditionedModel
    structure : parmed.Structure
        With its parameters (a CHARMM structure has them after ``load_parameters``), or made by `coarse_structure`.
    chain : str, optional
        Chain of the protein. Default: any that has the protein's sequence.
    number : int, optional
        Number of the protein in `find_proteins`. Default: any that has the protein's sequence.
    atoms : str or iterable of int, optional
        See `find_proteins`.
    backend : {"auto", "native", "torchforce", "python"}
        See `create_force`.
    force_group : int
        ParmEd gives every kind of term a group of its own; the default is free.
    **options
        For the structure's ``createSystem``: nonbondedMethod, constraints, implicitSolvent, ...

    Returns
    -------
    openmm.System

    Raises
    ------
    InputError
        If not exactly one protein fits, it has a break, ``protein`` is a complex, or the structure has no parameters;
        and as for `find_proteins`.
    """
    if len(protein.chain_lengths) > 1:
        raise InputError(
            f"The model is of a complex of {len(protein.chain_lengths)} chains: call its add_to_system with the "
            "particles of the chains in find_proteins, chain after chain."
        )
    found = _choose(protein.sequence, find_proteins(structure, atoms), chain, number)
    if structure.coordinates is not None:
        _refuse_breaks(found, structure.coordinates)
    try:
        system = structure.createSystem(**options)
    except ParameterError as error:
        raise InputError(
            f"The structure lacks parameters of a force field ({error}): load it from a prmtop, from a psf with "
            "load_parameters, or from a top file."
        ) from None
    add_to_system(protein, system, found.particles, backend, force_group)
    return system


def _choose(
    sequence: str, proteins: Sequence[FoundProtein], chain: str | None, number: int | None
) -> FoundProtein:
    possible = [
        found
        for found in proteins
        if (chain is None or found.chain == chain) and (number is None or found.number == number)
    ]
    if not possible:
        wanted = [f"chain={chain!r}"] if chain is not None else []
        wanted += [f"number={number}"] if number is not None else []
        raise InputError(
            f"No protein has {' and '.join(wanted)}: choose from {', '.join(map(str, proteins))}."
        )
    fitting = [found for found in possible if found.sequence == sequence]
    if not fitting:
        differences = "; ".join(_difference(sequence, found) for found in possible)
        raise InputError(
            f"No protein of the structure has the sequence {sequence} of the model ({differences}): condition the "
            "model on a sequence of find_proteins."
        )
    if len(fitting) > 1:
        raise InputError(
            f"The sequence is that of {len(fitting)} proteins, {', '.join(map(str, fitting))}: choose one with chain "
            "or number."
        )
    return fitting[0]


def _difference(sequence: str, found: FoundProtein) -> str:
    if len(found.sequence) != len(sequence):
        return f"{found} has {len(found.sequence)} residues, not {len(sequence)}"
    first = next(i for i, code in enumerate(sequence) if found.sequence[i] != code)
    return f"{found} has {found.residues[first]} in place of {sequence[first]}"


def _refuse_breaks(found: FoundProtein, coordinates: np.ndarray) -> None:
    ca = np.asarray(coordinates)[list(found.particles)]
    for i in chain_breaks(ca)[:1]:
        distance = np.linalg.norm(ca[i + 1] - ca[i])
        raise InputError(
            f"The C-alpha atoms of {found.residues[i]} and {found.residues[i + 1]} in {found} are {distance:.1f} "
            "Angstrom apart: make a protein whole that a periodic box cuts, or choose the atoms on one side of a gap."
        )

"""Forces on the C-alphas of any simulation, for force matching (nemo.md, 6).

A bead is the C-alpha of a residue, and the force on it is the sum of the forces on all atoms of the residue. Its mean,
with the C-alphas held, is the force of their free energy if the residue can be moved independently: no constraint ties
it to other atoms, and none of its own atoms is frozen (Noid et al., J. Chem. Phys. 128, 244114, 2008; Kraemer et al.,
J. Phys. Chem. Lett. 14, 3970, 2023).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import gemmi
import mdtraj as md
import numpy as np
import openmm as mm
from openmm import unit
from openmm.app.internal.unitcell import computePeriodicBoxVectors

from openmm_nemo.data.force_frames import ForceFrames
from openmm_nemo.data.structures.names import is_amino_acid, parent
from openmm_nemo.engine.units import ANGSTROM_PER_NM, GAS_CONSTANT, value_in
from openmm_nemo.errors import InputError
from openmm_nemo.plugin import platform_names
from openmm_nemo.progress import progress
from openmm_nemo.residues import MIN_LENGTH

MAX_CA_NM = 0.5
"""Neighbours farther apart than this, instead of 0.38 nm, are not bonded or are in different periodic images."""

CONSTRAINT_NM = 0.05
"""Files round coordinates, but a constraint that is violated by more than this belongs to other atoms."""


def record_forces(
    trajectory: md.Trajectory,
    system: mm.System,
    temperature: Any,
    chain: int | None = None,
    platform: str = "CPU",
    properties: Mapping[str, str] | None = None,
) -> ForceFrames:
    """Evaluate the forces on the C-alphas of a protein chain in every frame of a simulation.

    Use the most precise coordinates that you have: the rounding in XTC files adds noise to the forces.

    Parameters
    ----------
    trajectory : mdtraj.Trajectory
        Frames of all particles of the system, with whole molecules; with unit cells if the system is periodic.
    system : openmm.System
        System that was simulated, with constraints only inside residues (``app.HBonds`` or none).
    temperature : Quantity or float
        Temperature of the simulation, kelvin: forces are in units of its kT.
    chain : int, optional
        Index of the chain in ``trajectory.topology``. Default: the only one with amino acids.
    platform : str
        OpenMM platform.
    properties : mapping of str to str, optional
        Properties of the platform, such as ``{"Precision": "mixed"}``.

    Returns
    -------
    ForceFrames

    Raises
    ------
    InputError
        If trajectory and system do not match, or the chain is not one unbroken protein of at least four residues; if
        its residues cannot be moved independently; if OpenMM cannot compute forces, or they are not finite.
    """
    kelvin = float(value_in(temperature, unit.kelvin))
    if not (np.isfinite(kelvin) and kelvin > 0):
        raise InputError(f"The temperature is {kelvin} K: give the temperature of the simulation.")
    n = system.getNumParticles()
    if trajectory.n_atoms != n:
        raise InputError(
            f"The trajectory has {trajectory.n_atoms} atoms and the system {n} particles: give all particles."
        )
    periodic = system.usesPeriodicBoundaryConditions()
    if periodic and trajectory.unitcell_lengths is None:
        raise InputError(
            "The system is periodic, but the trajectory has no unit cells: load it from a file that has them."
        )
    if not np.isfinite(trajectory.xyz).all():
        frame = int(np.argmin(np.isfinite(trajectory.xyz).all((1, 2))))
        raise InputError(f"Frame {frame} has positions that are not finite: leave out this frame.")
    beads = _beads(trajectory.topology, chain)
    _check_map(system, beads)
    _check_frames(trajectory, system, beads, periodic)
    context = _context(system, platform, properties or {})
    forces = np.empty((len(trajectory), len(beads.residues), 3), dtype=np.float32)
    moves = beads.of_atom >= 0
    for i in range(n):  # forces on virtual sites are already on the atoms that carry them
        moves[i] &= not system.isVirtualSite(i)
    with progress("Frames", 0, len(trajectory)) as update:
        for k in range(len(trajectory)):
            forces[k] = _mapped(_forces(context, trajectory, k, periodic), beads, moves)
            update(k + 1)
    forces /= GAS_CONSTANT * kelvin * ANGSTROM_PER_NM
    positions = (trajectory.xyz[:, beads.ca] * ANGSTROM_PER_NM).astype(np.float32)
    return ForceFrames(beads.sequence, positions, forces, kelvin)


class _Beads(NamedTuple):
    """The residues of a chain.

    Attributes
    ----------
    residues : list of mdtraj Residue
        Residues, L of them.
    sequence : str
        One-letter codes.
    ca : ndarray, shape (L,)
        Atom indices of the C-alphas.
    of_atom : ndarray, shape (N,)
        Index of the residue that each atom belongs to; -1: none.
    """

    residues: list[Any]
    sequence: str
    ca: np.ndarray
    of_atom: np.ndarray


def _beads(topology: md.Topology, number: int | None) -> _Beads:
    proteins = {
        chain.index: chain
        for chain in topology.chains
        if any(is_amino_acid(residue.name) for residue in chain.residues)
    }
    if not proteins:
        raise InputError(
            "The trajectory has no chain of amino acids: give a trajectory of a protein."
        )
    listed = ", ".join(map(str, proteins))
    if number is None and len(proteins) > 1:
        raise InputError(f"The trajectory has the protein chains {listed}: choose one with chain.")
    if number is not None and number not in proteins:
        raise InputError(f"The trajectory has no protein chain {number}: choose from {listed}.")
    residues = list(proteins[next(iter(proteins)) if number is None else number].residues)
    inside = [i for i, residue in enumerate(residues) if is_amino_acid(residue.name)]
    residues = residues[
        inside[0] : inside[-1] + 1
    ]  # without caps, and without waters in the same chain
    ca, letters = [], []
    for residue in residues:
        tabulated = gemmi.find_tabulated_residue(residue.name)
        if not parent(residue.name) or tabulated.kind == gemmi.ResidueKind.AAD:
            raise InputError(
                f"Residue {residue} of the trajectory is not one of the twenty amino acids or derived from one: "
                "choose another chain."
            )
        here = [atom.index for atom in residue.atoms if atom.name == "CA"]
        if len(here) != 1:
            raise InputError(
                f"Residue {residue} of the trajectory has {len(here)} CA atoms: give a trajectory with one per residue."
            )
        ca += here
        letters.append(parent(residue.name))
    if len(residues) < MIN_LENGTH:
        raise InputError(
            f"The chain of the trajectory has {len(residues)} residues: NEMO needs at least {MIN_LENGTH}."
        )
    of_atom = np.full(topology.n_atoms, -1)
    for bead, residue in enumerate(residues):
        of_atom[[atom.index for atom in residue.atoms]] = bead
    return _Beads(residues, "".join(letters), np.array(ca), of_atom)


def _check_map(system: mm.System, beads: _Beads) -> None:
    """Refuse residues that cannot be moved independently."""
    for k in range(system.getNumConstraints()):
        i, j, _ = system.getConstraintParameters(k)
        if beads.of_atom[i] != beads.of_atom[j]:
            bead = beads.residues[max(beads.of_atom[i], beads.of_atom[j])]
            raise InputError(
                f"A constraint of the system ties an atom of residue {bead} to one outside it: simulate with "
                "constraints only inside residues, such as app.HBonds."
            )
    for i in np.flatnonzero(beads.of_atom >= 0).tolist():
        if not system.isVirtualSite(i) and not system.getParticleMass(i)._value > 0:
            raise InputError(
                f"Residue {beads.residues[beads.of_atom[i]]} has an atom without mass, which cannot move: "
                "simulate the whole chain."
            )


def _check_frames(
    trajectory: md.Trajectory, system: mm.System, beads: _Beads, periodic: bool
) -> None:
    """Refuse chains that are broken in any frame, and atoms that do not match those of the system."""
    links, shortest, longest = _links(system, beads)
    for k, x in enumerate(trajectory.xyz):
        apart = np.linalg.norm(np.diff(x[beads.ca], axis=0), axis=1)
        i = int(np.argmax(apart))
        if apart[i] > MAX_CA_NM:
            raise InputError(
                f"The CA atoms of {beads.residues[i]} and {beads.residues[i + 1]} are {10 * apart[i]:.1f} Angstrom "
                f"apart in frame {k}: make molecules whole (trajectory.image_molecules()), and choose a chain without "
                "gaps."
            )
        if not len(links):
            continue
        apart = np.linalg.norm(x[links[:, 0]] - x[links[:, 1]], axis=1)
        wrong = (apart < shortest) | (apart > longest)
        if wrong.any():
            first = links[np.argmax(wrong)]
            names = " and ".join(str(trajectory.topology.atom(int(i))) for i in first)
            raise InputError(
                f"The atoms {names} of frame {k} are {10 * apart[np.argmax(wrong)]:.2f} Angstrom apart, which a "
                "constraint of the system does not allow: give frames of this system, with the atoms in its order."
            )
        if periodic and apart.max() > trajectory.unitcell_lengths[k].min() / 2:
            raise InputError(
                f"The chain is torn by the periodic box in frame {k}: make molecules whole "
                "(trajectory.image_molecules())."
            )


def _links(system: mm.System, beads: _Beads) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bonds and constraints of the chain, (n, 2), and the shortest and longest lengths allowed, nm."""
    pairs: list[tuple[int, int, float, float]] = []
    for k in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(k)
        pairs.append((i, j, length._value - CONSTRAINT_NM, length._value + CONSTRAINT_NM))
    for force in system.getForces():
        if isinstance(force, mm.HarmonicBondForce):
            for k in range(force.getNumBonds()):
                i, j, *_ = force.getBondParameters(k)
                pairs.append((i, j, 0.0, np.inf))
    pairs = [pair for pair in pairs if max(beads.of_atom[list(pair[:2])]) >= 0]
    table = np.array(pairs, dtype=float).reshape(-1, 4)
    return table[:, :2].astype(int), table[:, 2], table[:, 3]


def _context(system: mm.System, platform: str, properties: Mapping[str, str]) -> mm.Context:
    if platform not in platform_names():
        raise InputError(
            f"The platform {platform!r} is not available here: choose one of {', '.join(platform_names())}."
        )
    chosen = mm.Platform.getPlatformByName(platform)
    try:
        return mm.Context(system, mm.VerletIntegrator(0.001), chosen, dict(properties))
    except mm.OpenMMException as error:
        raise InputError(
            f"OpenMM cannot use the system on {platform} ({error}): fix the system, or choose another platform or "
            "properties."
        ) from None


def _forces(
    context: mm.Context, trajectory: md.Trajectory, frame: int, periodic: bool
) -> np.ndarray:
    """Forces (N, 3) on all particles in a frame, kJ/mol/nm."""
    try:
        if periodic:
            lengths = trajectory.unitcell_lengths[frame].astype(float)
            angles = np.radians(trajectory.unitcell_angles[frame].astype(float))
            context.setPeriodicBoxVectors(*computePeriodicBoxVectors(*lengths, *angles))
        context.setPositions(trajectory.xyz[frame].astype(float))
        context.computeVirtualSites()
        forces = context.getState(forces=True).getForces(asNumpy=True)._value
    except mm.OpenMMException as error:
        raise InputError(
            f"OpenMM cannot compute the forces of frame {frame} ({error}): give frames of this system."
        ) from None
    if not np.isfinite(forces).all():
        raise InputError(f"Frame {frame} has forces that are not finite: leave out this frame.")
    return forces


def _mapped(forces: np.ndarray, beads: _Beads, moves: np.ndarray) -> np.ndarray:
    """Forces (L, 3) on the residues."""
    total = np.zeros((len(beads.residues), 3))
    np.add.at(total, beads.of_atom[moves], forces[moves])
    return total

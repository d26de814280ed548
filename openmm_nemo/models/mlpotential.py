"""NEMO as a potential of OpenMM-ML, on the proteins of ordinary topologies."""

import copy
from collections.abc import Iterable
from itertools import combinations, pairwise
from typing import Any

import openmm as mm
from openmm import app
from openmmml.embeddings.utilities import InterpolationHelper, addCustomNonbondedExclusions
from openmmml.mlpotential import MLPotentialImpl

from openmm_nemo.data.structures.names import AMINO_ACID_KINDS, look_up, parent
from openmm_nemo.engine.forces import create_force
from openmm_nemo.errors import InputError
from openmm_nemo.models import NemoModel
from openmm_nemo.residues import MIN_LENGTH


class NemoPotentialImpl(MLPotentialImpl):
    """NEMO's energy on the C-alpha atoms of every protein of a topology, coarse or all-atom.

    Every run of residues of a chain in which each is bonded to the next gets one force. Residues without any bond in
    the topology count as bonded to their neighbours. Left out are runs of fewer than four residues, such as free amino
    acids, and all other molecules, also if they have an atom named CA. A jump in the residue numbers of a chain may be
    a gap or not; if there are at least four residues on both sides, it is an error.

    In a mixed system, NEMO replaces the nonbonded interactions of the force field between two C-alpha atoms of a
    protein, and the force field computes all else; no atoms are added. NEMO has no periodic images.

    Parameters
    ----------
    model : NemoModel
    """

    def __init__(self, model: NemoModel):
        self.model = model

    def addForces(
        self,
        topology: app.Topology,
        system: mm.System,
        atoms: Iterable[int] | None,
        forceGroup: int,
        backend: str = "auto",
    ) -> None:
        """Add one force per protein to ``system``; ``atoms`` restricts which atoms it may act on.

        Raises
        ------
        InputError
            If there is no protein, a chain may have a gap, or a residue is not one of the twenty amino acids.
        """
        for beads in _proteins(topology, atoms):
            protein = self.model.condition("".join(map(_letter, beads)))
            particles = [bead.index for bead in beads]
            # The system may still be empty: OpenMM-ML collects forces in one to interpolate between potentials.
            system.addForce(create_force(protein, backend, particles, forceGroup))

    def getSupportedEmbeddings(self) -> list[str]:
        """Names of the embeddings that `createMixedSystem` takes."""
        return ["mechanical"]

    def createMixedSystem(
        self,
        topology: app.Topology,
        system: mm.System,
        atoms: list[int],
        forceGroup: int,
        interpolate: bool,
        embedding: str,
        returnInfo: bool = False,
        mlLongRange: bool = False,
        backend: str = "auto",
    ) -> mm.System | dict[str, Any]:
        """System of a force field in which NEMO acts on C-alpha atoms, with mechanical embedding.

        OpenMM-ML's own embedding removes the angles and torsions at the chosen atoms and caps their bonds with
        hydrogens, as for potentials that describe these.

        Raises
        ------
        InputError
            As for `addForces`; or if ``atoms`` has others than C-alpha atoms of amino acids, ``mlLongRange`` is true,
            or a TorchForce is to be interpolated.
        """
        if mlLongRange:
            raise InputError("NEMO has no periodic images: leave mlLongRange out.")
        if interpolate and backend == "torchforce":
            raise InputError(
                "OpenMM cannot copy a TorchForce, which interpolate=True needs: use backend='python'."
            )
        chosen = set(atoms)
        for atom in topology.atoms():
            if atom.index in chosen and _bead(atom.residue) is not atom:
                raise InputError(
                    f"atoms has atom {atom.name} of residue {atom.residue.name} {atom.residue.id}: NEMO acts only on "
                    "C-alpha atoms, so give only these, and the force field computes the others."
                )
        mixed = copy.deepcopy(system)
        for beads in _proteins(topology, chosen):
            _remove_pairs(mixed, [bead.index for bead in beads])
        if interpolate:
            interpolation = InterpolationHelper()
            interpolation.addMLPotentialTerms(self, topology, atoms, forceGroup, backend=backend)
            interpolation.setupNonbonded(mixed, system)
            interpolation.setupInterpolation(mixed)
        else:
            self.addForces(topology, mixed, atoms, forceGroup, backend)
        if not returnInfo:
            return mixed
        same = list(range(topology.getNumAtoms()))
        return {"system": mixed, "topology": topology, "oldToNew": same}


def _remove_pairs(system: mm.System, particles: list[int]) -> None:
    """Remove the nonbonded interactions of all pairs of some particles."""
    periodic = system.usesPeriodicBoundaryConditions()
    for force in system.getForces():
        if isinstance(force, mm.NonbondedForce):
            for i, j in combinations(particles, 2):
                force.addException(i, j, 0.0, 1.0, 0.0, True)
            # With Ewald summation, the reciprocal part of an excluded pair is subtracted for the nearest image.
            force.setExceptionsUsePeriodicBoundaryConditions(periodic)
        elif isinstance(force, mm.CustomNonbondedForce):
            addCustomNonbondedExclusions(force, particles)


def _proteins(topology: app.Topology, atoms: Iterable[int] | None) -> list[list[Any]]:
    """C-alpha atoms of every protein, see `NemoPotentialImpl`."""
    chosen = None if atoms is None else set(atoms)
    pairs = {(bond.atom1.residue.index, bond.atom2.residue.index) for bond in topology.bonds()}
    bonded = {index for pair in pairs for index in pair}

    def are_apart(first: Any, second: Any) -> bool:
        """Whether the topology has bonds of both residues, but none between them."""
        i, j = first.index, second.index
        return {i, j} <= bonded and not {(i, j), (j, i)} & pairs

    proteins = []
    for chain in topology.chains():
        beads = [bead for residue in chain.residues() if (bead := _bead(residue)) is not None]
        runs: list[list[Any]] = []
        for bead in beads:
            if chosen is not None and bead.index not in chosen:
                continue
            last = runs[-1][-1].residue if runs else None
            if last is None or are_apart(last, bead.residue) or _jump(last, bead.residue):
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


def _bead(residue: Any) -> Any:
    """The C-alpha atom of an amino acid, or of an unknown residue that has its backbone or is only one bead."""
    atoms = {atom.name.strip(): atom for atom in residue.atoms()}  # old prmtop files pad names
    known = look_up(residue.name)
    if known is None:
        bead = atoms.get("CA") if {"N", "C"} <= atoms.keys() or len(atoms) == 1 else None
        is_calcium = bead is not None and bead.element is app.element.calcium
        return None if is_calcium else bead
    return atoms.get("CA") if known.kind in AMINO_ACID_KINDS else None


def _letter(bead: Any) -> str:
    residue = bead.residue
    letter = parent(residue.name)
    if not letter:
        raise InputError(
            f"Residue {residue.name} {residue.id} of chain {residue.chain.id} is not one of the twenty amino acids: "
            "leave it out of the atoms."
        )
    return letter


def _jump(first: Any, second: Any) -> bool:
    """Whether the numbers of two residues do not follow each other; insertion codes do not change the number."""
    try:
        return int(second.id) - int(first.id) not in (0, 1)
    except ValueError:  # not numbers
        return False

"""NEMO as a potential of OpenMM-ML, on the proteins of ordinary topologies."""

import copy
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import openmm as mm
from openmm import app
from openmmml.embeddings.utilities import InterpolationHelper, addCustomNonbondedExclusions
from openmmml.mlpotential import MLPotentialImpl

from openmm_nemo.engine.forces import create_forces
from openmm_nemo.engine.proteins import calpha, letter, protein_calphas
from openmm_nemo.errors import InputError
from openmm_nemo.models import NemoModel


class NemoPotentialImpl(MLPotentialImpl):
    """NEMO's energy on the C-alpha atoms of every protein of a topology, coarse or all-atom.

    Every protein gets one force; `openmm_nemo.engine.proteins.protein_calphas` says what a protein is.

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
        for beads in protein_calphas(topology, atoms):
            protein = self.model.condition("".join(map(letter, beads)))
            particles = [bead.index for bead in beads]
            # The system may still be empty: OpenMM-ML collects forces in one to interpolate between potentials.
            for force in create_forces(protein, backend, particles, forceGroup):
                system.addForce(force)

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
            if atom.index in chosen and calpha(atom.residue) is not atom:
                raise InputError(
                    f"atoms has atom {atom.name} of residue {atom.residue.name} {atom.residue.id}: NEMO acts only on "
                    "C-alpha atoms, so give only these, and the force field computes the others."
                )
        mixed = copy.deepcopy(system)
        for beads in protein_calphas(topology, chosen):
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

"""Entry point for OpenMM-ML: ``MLPotential("nemo").createSystem(topology)``."""

from collections.abc import Iterable

import openmm as mm
from openmm import app
from openmmml.mlpotential import MLPotentialImpl, MLPotentialImplFactory

from openmm_nemo.data.structures.names import parent
from openmm_nemo.engine.system import add_to_system
from openmm_nemo.errors import InputError
from openmm_nemo.models import NemoModel


class NemoPotentialImplFactory(MLPotentialImplFactory):
    """Creates `NemoPotentialImpl`."""

    def createImpl(self, name: str, model: str = "nemo-mini") -> "NemoPotentialImpl":
        """Potential of an installed model or of a model folder."""
        return NemoPotentialImpl(NemoModel.from_pretrained(model))


class NemoPotentialImpl(MLPotentialImpl):
    """NEMO's energy on the C-alpha atoms of every protein chain of a topology, coarse or all-atom.

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
        """Add one force per chain to ``system``; ``atoms`` restricts which atoms it may act on.

        Raises
        ------
        InputError
            If there is no C-alpha atom, or a residue with one is not one of the twenty amino acids.
        """
        chosen = None if atoms is None else set(atoms)
        found = False
        for chain in topology.chains():
            beads = [
                a for a in chain.atoms() if a.name == "CA" and (chosen is None or a.index in chosen)
            ]
            # Calcium ions are also named CA.
            beads = [a for a in beads if a.element is None or a.element.symbol != "Ca"]
            if not beads:
                continue
            found = True
            letters = [parent(bead.residue.name) for bead in beads]
            for bead, letter in zip(beads, letters, strict=True):
                if not letter:
                    raise InputError(
                        f"Residue {bead.residue.name} {bead.residue.id} of chain {chain.id} is not one of the twenty "
                        "amino acids: leave it out of the atoms."
                    )
            protein = self.model.condition("".join(letters))
            add_to_system(protein, system, [bead.index for bead in beads], backend, forceGroup)
        if not found:
            raise InputError(
                "The topology has no C-alpha atoms (named CA): NEMO has nothing to act on."
            )

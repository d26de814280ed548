"""Entry point for OpenMM-ML: ``MLPotential("nemo").createSystem(topology)``."""

from typing import TYPE_CHECKING

from openmm_nemo.models import NemoModel

if TYPE_CHECKING:
    from openmm_nemo.models.mlpotential import NemoPotentialImpl


class NemoPotentialImplFactory:
    """Creates `NemoPotentialImpl`.

    OpenMM-ML loads this class while it is being imported, so that nothing here can import OpenMM-ML before it is used.
    """

    def createImpl(self, name: str, model: str = "nemo-fold") -> "NemoPotentialImpl":
        """Potential of an installed model or of a model folder."""
        from openmm_nemo.models.mlpotential import NemoPotentialImpl

        return NemoPotentialImpl(NemoModel.from_pretrained(model))

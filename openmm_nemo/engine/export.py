"""TorchScript modules of a conditioned protein, in OpenMM's units."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from openmm_nemo.engine.units import ANGSTROM_PER_NM, KT_MODEL
from openmm_nemo.models import ConditionedModel


class EnergyModule(nn.Module):
    """Energy of one protein as TorchForce calls it.

    Parameters
    ----------
    protein : ConditionedModel
    particles : sequence of int, optional
        Which particles of the system are its residues, in order. Default: all.
    """

    particles: Tensor
    l1: Tensor
    l2: Tensor
    mask: Tensor

    def __init__(self, protein: ConditionedModel, particles: Sequence[int] | None = None):
        super().__init__()
        self.network = protein.energy_network
        self.kt: float = KT_MODEL
        self.angstrom_per_nm: float = ANGSTROM_PER_NM
        self.subset: bool = particles is not None
        index = [] if particles is None else list(particles)
        self.register_buffer("particles", torch.tensor(index, dtype=torch.int64))
        self.register_buffer("l1", protein.l1.unsqueeze(0))
        self.register_buffer("l2", protein.l2.unsqueeze(0))
        self.register_buffer("mask", torch.ones_like(protein.l1[:, 0]).unsqueeze(0))

    def forward(self, positions: Tensor, nemo_scale: Tensor) -> Tensor:
        """Energy in kJ/mol of ``positions (N, 3)`` in nm, times ``nemo_scale``."""
        if self.subset:
            positions = positions[self.particles]
        x = positions.to(self.l1.dtype).unsqueeze(0) * self.angstrom_per_nm
        u = self.network(x, self.l1, self.l2, self.mask)[0]
        return u.to(positions.dtype) * self.kt * nemo_scale.to(positions.dtype)


class ImputationModule(nn.Module):
    """Backbone reconstruction of one protein.

    Parameters
    ----------
    protein : ConditionedModel
    """

    s: Tensor
    mask: Tensor

    def __init__(self, protein: ConditionedModel):
        super().__init__()
        self.network = protein.imputation
        self.angstrom_per_nm: float = ANGSTROM_PER_NM
        self.register_buffer("s", protein.s.unsqueeze(0))
        self.register_buffer("mask", torch.ones_like(protein.s[:, 0]).unsqueeze(0))

    def forward(self, positions: Tensor) -> Tensor:
        """Positions (L, 5, 3) of N, CA, C, O and the side chain's centre, for ``positions (L, 3)``; nm."""
        x = positions.to(self.s.dtype).unsqueeze(0) * self.angstrom_per_nm
        return self.network(x, self.s, self.mask)[0].to(positions.dtype) / self.angstrom_per_nm


def _script(module: nn.Module) -> torch.jit.ScriptModule:
    # Not frozen: constants would stay behind when TorchForce moves the module to the device of its platform.
    return torch.jit.script(module.eval())


def export_energy(
    protein: ConditionedModel, particles: Sequence[int] | None = None
) -> torch.jit.ScriptModule:
    """TorchScript energy of a protein: positions in nm and ``nemo_scale`` in, kJ/mol out.

    Parameters
    ----------
    protein : ConditionedModel
    particles : sequence of int, optional
        Particles of the system that are its residues, in order. Default: all.

    Returns
    -------
    torch.jit.ScriptModule
        ``forward(positions (N, 3), nemo_scale ()) -> ()``. Save it with its method ``save``.
    """
    return _script(EnergyModule(protein, particles))


def export_imputation(protein: ConditionedModel) -> torch.jit.ScriptModule:
    """TorchScript imputation of a protein: ``forward(positions (L, 3)) -> (L, 5, 3)``, both in nm."""
    return _script(ImputationModule(protein))

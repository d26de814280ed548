"""The energy of a protein, or of independent copies of it, in OpenMM's units."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from openmm_nemo.energies import ProteinEnergy
from openmm_nemo.engine.units import ANGSTROM_PER_NM, KT_MODEL


class Potential(nn.Module):
    """Energy of one protein, kJ/mol, as a function of positions in nm.

    Parameters
    ----------
    energy : ProteinEnergy
    particles : sequence of int, optional
        Indices of the positions that are its residues, in order. Default: all.
    """

    particles: Tensor

    def __init__(self, energy: ProteinEnergy, particles: Sequence[int] | None = None):
        super().__init__()
        self.energy = energy
        self.kt: float = KT_MODEL
        self.angstrom_per_nm: float = ANGSTROM_PER_NM
        self.subset: bool = particles is not None
        index = [] if particles is None else list(particles)
        self.register_buffer("particles", torch.tensor(index, dtype=torch.int64))

    def forward(self, positions: Tensor, nemo_scale: Tensor) -> Tensor:
        """Energy in kJ/mol of ``positions (N, 3)`` in nm, times ``nemo_scale``."""
        if self.subset:
            positions = positions[self.particles]
        dtype = self.energy.coefficient_values()[0].dtype
        x = positions.to(dtype).unsqueeze(0) * self.angstrom_per_nm
        u = self.energy(x)[0]
        return u.to(positions.dtype) * self.kt * nemo_scale.to(positions.dtype)


class ReplicaPotential(nn.Module):
    """Energy of independent copies of a protein, kJ/mol, as a function of positions in nm: one batch.

    Parameters
    ----------
    energy : ProteinEnergy
    replicas : int
        Number of copies R.
    particles : sequence of int, optional
        Indices of the positions that are their residues, in order, copy by copy. Default: all.
    """

    particles: Tensor

    def __init__(
        self, energy: ProteinEnergy, replicas: int, particles: Sequence[int] | None = None
    ):
        super().__init__()
        self.energy = energy
        self.replicas: int = replicas
        self.kt: float = KT_MODEL
        self.angstrom_per_nm: float = ANGSTROM_PER_NM
        self.subset: bool = particles is not None
        index = [] if particles is None else list(particles)
        self.register_buffer("particles", torch.tensor(index, dtype=torch.int64))

    def energies(self, positions: Tensor, nemo_scale: Tensor, chosen: int = -1) -> Tensor:
        """Energy of each copy (R,), or of a chosen one (1,), in kJ/mol, times ``nemo_scale``."""
        if self.subset:
            positions = positions[self.particles]
        x = positions.reshape(self.replicas, -1, 3)
        if chosen >= 0:
            x = x[chosen : chosen + 1]
        dtype = self.energy.coefficient_values()[0].dtype
        u = self.energy(x.to(dtype) * self.angstrom_per_nm)
        return u.to(x.dtype) * self.kt * nemo_scale.to(x.dtype)

    def forward(self, positions: Tensor, nemo_scale: Tensor, nemo_replica: Tensor) -> Tensor:
        """Sum of `energies` of ``positions (N, 3)`` in nm; of ``nemo_replica`` alone if that is not negative."""
        return self.energies(positions, nemo_scale, int(nemo_replica.item())).sum()

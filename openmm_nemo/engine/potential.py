"""The energy of a protein in OpenMM's units."""

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

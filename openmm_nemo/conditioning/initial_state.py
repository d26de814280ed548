"""Head that predicts the initial state z(0) from residue features."""

import math

import torch
from torch import Tensor, nn

from openmm_nemo.networks.blocks import initialise

# Initial state of an untrained model.
BOND_LENGTH = 3.8  # Angstrom, between consecutive C-alphas
BOND_ANGLE = 1.85  # radian, between those of helices (1.6) and strands (2.1)


class InitialState(nn.Conv1d):
    """Unconstrained internal coordinates (b~, a~, d), in the row layout of `openmm_nemo.geometry.internal`.

    The dihedral is the polar angle of a point in the plane, so that the network never has to jump
    from pi to -pi.

    Parameters
    ----------
    channels : int
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 4, 1)

    def initialise(self, second_moment: float = 1.0) -> None:
        """Start with the bonds and angles of real chains and random dihedrals.

        Parameters
        ----------
        second_moment : float
            Mean square of the features.
        """
        initialise(self.weight, second_moment=second_moment)
        stretch = math.log(math.expm1(BOND_LENGTH))
        bend = math.log(BOND_ANGLE / (math.pi - BOND_ANGLE))
        with torch.no_grad():
            self.weight[0] *= 0.01
            self.weight[1] *= 0.1
        self.bias = nn.Parameter(torch.tensor([stretch, bend, 0.0, 0.0]))

    def forward(self, h: Tensor) -> Tensor:
        """``h (B, C, L)`` to z(0) (B, L, 3) with zeros for the rigid-body coordinates."""
        stretch, bend, sine, cosine = self._conv_forward(h, self.weight, self.bias).unbind(1)
        undefined = sine * sine + cosine * cosine < 1e-6
        twist = torch.atan2(
            torch.where(undefined, torch.zeros_like(sine), sine),
            torch.where(undefined, torch.ones_like(cosine), cosine),
        )
        index = torch.arange(h.shape[2], device=h.device).unsqueeze(-1)
        first_row = torch.arange(1, 4, device=h.device)
        defined = (index >= first_row).to(h.dtype)
        return torch.stack([stretch, bend, twist], dim=-1) * defined

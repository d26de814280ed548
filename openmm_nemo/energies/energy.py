"""Neural energy: a deep Markov random field (paper, equation 3)."""

from torch import Tensor, nn

from openmm_nemo.config import NemoConfig
from openmm_nemo.energies.learned import StructureNetwork


class Energy(nn.Module):
    """U(x; s) = sum l1(s) f1(x) + sum l2(s) f2(x)."""

    def __init__(self, config: NemoConfig) -> None:
        super().__init__()
        self.structure_network = StructureNetwork(config)

    def forward(self, x: Tensor, l1: Tensor, l2: Tensor, mask: Tensor) -> Tensor:
        """Energies of chains.

        Parameters
        ----------
        x : Tensor, shape (B, L, 3)
            Angstrom.
        l1 : Tensor, shape (B, L, C1)
        l2 : Tensor, shape (B, L, L, C2)
            Coefficients from the sequence network, kT; a batch size of 1 is broadcast.
        mask : Tensor, shape (B, L)
            1 for residues, 0 for padding, which comes last and whose positions are not read.

        Returns
        -------
        Tensor, shape (B,)
            kT.
        """
        f1, f2 = self.structure_network(x, mask)
        return (l1 * f1).sum(dim=[1, 2]) + (l2 * f2).sum(dim=[1, 2, 3])

"""Atoms from the C-alpha trace (nemo.md section 4; paper, 2.4)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from openmm_nemo.config import NemoConfig
from openmm_nemo.encoders import input_width, node_features
from openmm_nemo.geometry import N_CHAIN_FEATURES, chain_features, residue_frames
from openmm_nemo.geometry.padding import without_padding
from openmm_nemo.geometry.vectors import unit
from openmm_nemo.networks.blocks import ResidualStack, convolution, initialise

ATOM_NAMES = ("N", "CA", "C", "O", "CEN")
"""Order of the imputed atoms; CEN is the centre of mass of the side chain (R in the paper)."""

INITIAL_DISTANCES = (1.46, 0.05, 1.52, 2.4, 2.0)
"""Distances from the C-alpha in an untrained network, close to real ones, Angstrom."""


class Imputation(nn.Module):
    """X[i, j] = x[i] + r_ij frame_i e_ij, with r_ij > 0 and unit vectors e_ij from a 1D network."""

    def __init__(self, config: NemoConfig) -> None:
        super().__init__()
        channels = node_features(config)
        self.input = convolution(1, N_CHAIN_FEATURES, channels - input_width(config))
        self.network = ResidualStack(
            channels,
            config.imputation_blocks,
            config.node_width,
            1,
            config.dropout,
            config.dilations,
        )
        self.output = convolution(1, channels, 4 * len(ATOM_NAMES))
        initialise(self.input.weight, second_moment=0.25)
        initialise(self.output.weight)
        # The first output of each atom is its distance: start near the real one.
        start = torch.zeros(len(ATOM_NAMES), 4)
        start[:, 0] = torch.tensor(INITIAL_DISTANCES).expm1().log()
        with torch.no_grad():
            self.output.weight[::4] *= 0.1
        self.output.bias = nn.Parameter(start.flatten())

    def forward(self, x: Tensor, s: Tensor, mask: Tensor) -> Tensor:
        """Atoms of chains.

        Parameters
        ----------
        x : Tensor, shape (B, L, 3)
            Angstrom.
        s : Tensor, shape (B, L, q)
            Input of the sequence network.
        mask : Tensor, shape (B, L)
            1 for residues, 0 for padding, which comes last and whose positions are not read.

        Returns
        -------
        Tensor, shape (B, L, 5, 3)
            N, CA, C, O and the side chain's centre of mass, Angstrom; zero at padding.
        """
        mask = mask.to(x.dtype)
        x = without_padding(x, mask)
        return self.place(x, self.offsets(chain_features(x), s, mask), mask)

    def offsets(self, features: Tensor, s: Tensor, mask: Tensor) -> Tensor:
        """Output of the network (B, L, 20) for ``features (B, L, F)``, see `chain_features`, and ``s``."""
        h = self.input(features.transpose(1, 2))
        h = self.network(torch.cat([s.transpose(1, 2), h], dim=1), mask)
        return self.output(h).transpose(1, 2)

    def place(self, x: Tensor, offsets: Tensor, mask: Tensor) -> Tensor:
        """Atoms (B, L, 5, 3) at ``x (B, L, 3)`` from the result of `offsets`."""
        output = offsets.unflatten(-1, (-1, 4))
        offset = F.softplus(output[..., :1]) * unit(output[..., 1:])
        turned = offset @ residue_frames(x, mask).transpose(-1, -2)
        return (x.unsqueeze(-2) + turned) * mask[:, :, None, None]

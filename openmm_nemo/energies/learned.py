"""Structure network: invariant features of a chain (nemo.md 3.1, 3.2; paper, 2.2, Table 3)."""

import torch
from torch import Tensor, nn

from openmm_nemo.config import NemoConfig
from openmm_nemo.geometry import N_CHAIN_FEATURES, chain_features, pair_geometry, radial_basis
from openmm_nemo.geometry.internal import bond_directions
from openmm_nemo.geometry.vectors import cross, dot, place_rows
from openmm_nemo.networks.blocks import ResidualStack, convolution, initialise
from openmm_nemo.networks.message_passing import pair_mask


def without_padding(x: Tensor, mask: Tensor) -> Tensor:
    """Positions with padding moved to the origin, so that nothing there (even NaN) spreads."""
    return torch.where(mask.unsqueeze(-1) > 0, x, torch.zeros_like(x))


def pair_directions(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Distances and smooth directions v_ij.

    The unit vectors of `pair_geometry` are faded out where they jump, so that forces stay finite:
    where x[j] is on top of x[i] (below about 1 Angstrom), and where the angle at x[i] is straight,
    so that it has no frame. They are also faded with distance, as 1 / (1 + (D / 10 Angstrom)^2):
    turning x[i]'s frame turns all x[j] however far, and the torques of far pairs would add up to
    forces that grow with the length of the chain.

    Parameters
    ----------
    x : Tensor, shape (B, L, 3)
        Angstrom.
    mask : Tensor, shape (B, L)

    Returns
    -------
    distance : Tensor, shape (B, L, L)
        Angstrom.
    direction : Tensor, shape (B, L, L, 3)
        Direction of x[j] in the frame of x[i], of length below 1; zero for the ends of the chain.
    """
    distance, direction = pair_geometry(x)
    u, _ = bond_directions(x)
    normal = cross(u[:, :-1], u[:, 1:])
    squared_sine = dot(normal, normal)
    bent = place_rows((squared_sine / (squared_sine + 0.1)).unsqueeze(-1), 1, x.shape[1])
    # The residue before a padded one has a frame here that it would not have alone.
    has_next = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], dim=1)
    bent = bent * has_next.unsqueeze(-1)
    squared = distance * distance
    fade = distance * torch.rsqrt(squared + 1) / (1 + squared / 100)
    return distance, direction * (fade * bent).unsqueeze(-1)


class StructureNetwork(nn.Module):
    """1D and 2D convolutional networks over the invariant base features of a chain.

    The first 1D feature is the strain of the bond (j-1, j), sqrt(1 + (b - 3.8)^2) - 1 with b in
    Angstrom. All others are bounded: without one that grows, exp(-U) could not be normalised and a
    chain would come apart for good.
    """

    def __init__(self, config: NemoConfig) -> None:
        super().__init__()
        c1, c2 = config.node_features, config.pair_features
        n_rbf = len(config.rbf_centres)
        self.rbf_centres: Tensor
        self.rbf_widths: Tensor
        self.register_buffer("rbf_centres", torch.tensor(config.rbf_centres), persistent=False)
        self.register_buffer("rbf_widths", torch.tensor(config.rbf_widths), persistent=False)
        self.node_input = convolution(1, N_CHAIN_FEATURES, c1)
        self.pair_input = convolution(2, n_rbf + 3, c2)
        self.node_network = ResidualStack(
            c1, config.feature_blocks, config.node_width, 1, config.dropout, config.dilations
        )
        self.pair_network = ResidualStack(
            c2, config.pair_blocks, config.pair_width, 2, config.dropout
        )
        self.node_output = convolution(1, c1, c1 - 1)
        self.pair_output = convolution(2, c2, c2)
        # Mean squares: cosines and sines of a C-alpha chain; few radial functions are on at a time.
        initialise(self.node_input.weight, second_moment=0.25)
        initialise(self.pair_input.weight, second_moment=0.25)
        initialise(self.node_output.weight)
        initialise(self.pair_output.weight)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Features of chains.

        Parameters
        ----------
        x : Tensor, shape (B, L, 3)
            Angstrom.
        mask : Tensor, shape (B, L)
            1 for residues, 0 for padding, which comes last and whose positions are not read.

        Returns
        -------
        f1 : Tensor, shape (B, L, C1)
        f2 : Tensor, shape (B, L, L, C2)
            Zero at padding.
        """
        mask = mask.to(x.dtype)
        x = without_padding(x, mask)
        pairs = pair_mask(mask)
        chain = chain_features(x)
        distance, direction = pair_directions(x, mask)
        rbf = radial_basis(distance, self.rbf_centres, self.rbf_widths)

        h = self.node_input(chain.transpose(1, 2))
        p = self.pair_input(torch.cat([rbf, direction], dim=-1).permute(0, 3, 1, 2))
        h = torch.tanh(self.node_output(self.node_network(h, mask)))
        p = torch.tanh(self.pair_output(self.pair_network(p, pairs)))
        stretch = chain[..., :1]
        strain = torch.sqrt(1 + stretch * stretch) - 1
        f1 = torch.cat([strain, h.transpose(1, 2)], dim=-1) * mask.unsqueeze(-1)
        f2 = p.permute(0, 2, 3, 1) * pairs.unsqueeze(-1)
        return f1, f2

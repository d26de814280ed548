"""Coefficients between two chains: the sequence network sees both at once, with a break between them."""

import torch
from torch import Tensor

from openmm_nemo.conditioning.sequence import SequenceNetwork, SequenceOutput
from openmm_nemo.config import NemoConfig


def break_width(config: NemoConfig) -> int:
    """Number of masked positions that a network takes for a break between two chains.

    Residues on both sides are farther apart than the largest separation that the network knows, so that all have the
    same relative position: as far apart as it goes. No convolution reaches across, so that it sees both sides as ends
    of chains.
    """
    reach = max(config.node_width // 2 * max(config.dilations), *config.pair_dilations)
    return max(config.max_separation, reach, config.pair_width // 2, config.message_pair_width // 2)


def coefficients_between(
    network: SequenceNetwork, config: NemoConfig, first: Tensor, second: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Coefficients of the pairs of residues of two chains, the same whichever chain comes first.

    A network knows the sign of relative positions: the means over both orders of the chains.

    Parameters
    ----------
    network : SequenceNetwork
        In evaluation mode.
    config : NemoConfig
    first, second : Tensor, shape (1, L, q), (1, M, q)
        Inputs of the network for either chain.

    Returns
    -------
    list of Tensor, shape (1, L, M, C)
        For all tensors that the terms have for pairs: of residues i of the first chain and j of the second.
    list of Tensor, shape (1, M, L, C)
        Of residues i of the second chain and j of the first.
    """
    n, m = first.shape[1], second.shape[1]
    one_order = _pairs_with_break(network, config, first, second)
    other_order = one_order
    if n != m or not torch.equal(first, second):
        other_order = _pairs_with_break(network, config, second, first)
    forth = [
        (a[:, :n, -m:] + b[:, -n:, :m]) / 2 for a, b in zip(one_order, other_order, strict=True)
    ]
    back = [
        (a[:, -m:, :n] + b[:, :m, -n:]) / 2 for a, b in zip(one_order, other_order, strict=True)
    ]
    return forth, back


def _pairs_with_break(
    network: SequenceNetwork, config: NemoConfig, first: Tensor, second: Tensor
) -> list[Tensor]:
    """Coefficients (1, N, N, C) of the pairs of both chains with a break between them."""
    gap = first.new_zeros(1, break_width(config), first.shape[2])
    s = torch.cat([first, gap, second], dim=1)
    mask = torch.cat([torch.ones_like(part[..., 0]) for part in (first, gap, second)], dim=1)
    mask[:, first.shape[1] : first.shape[1] + gap.shape[1]] = 0
    output: SequenceOutput = network(s, mask)
    return [values for values in output.coefficients if values.dim() == 4]

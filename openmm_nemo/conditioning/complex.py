"""Several chains: the sequence network sees each alone, and each pair at once, with a break between them."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from openmm_nemo.conditioning.sequence import SequenceNetwork, SequenceOutput
from openmm_nemo.config import NemoConfig
from openmm_nemo.geometry.chains import chain_slices


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


def joined_output(
    network: SequenceNetwork, config: NemoConfig, chains: Sequence[Tensor]
) -> SequenceOutput:
    """The outputs for several chains as one of the residues of all, one chain after the other.

    Within a chain, all values are those of the chain alone; between chains, coefficients are those of
    `coefficients_between`. The step sizes are those of the first chain, and the preconditioners of other chains contain
    the ratios.

    Parameters
    ----------
    network : SequenceNetwork
        In evaluation mode.
    config : NemoConfig
    chains : sequence of Tensor, shape (1, L, q)
        Inputs of the network for each chain.
    """
    outputs = [network(s, torch.ones_like(s[..., 0])) for s in chains]
    coefficients = [
        torch.cat(parts, dim=1) if parts[0].dim() == 3 else _block_diagonal(parts)
        for parts in zip(*(output.coefficients for output in outputs), strict=True)
    ]
    _fill_between(network, config, chains, [values for values in coefficients if values.dim() == 4])
    first = outputs[0]
    cartesian = [
        o.cartesian_step / first.cartesian_step * o.cartesian_preconditioner for o in outputs
    ]
    internal = [o.internal_step / first.internal_step * o.internal_preconditioner for o in outputs]
    return SequenceOutput(
        coefficients=coefficients,
        z0=torch.cat([output.z0 for output in outputs], dim=1),
        cartesian_step=first.cartesian_step,
        internal_step=first.internal_step,
        cartesian_preconditioner=torch.cat(cartesian, dim=1),
        internal_preconditioner=torch.cat(internal, dim=1),
        secondary_structure=torch.cat([output.secondary_structure for output in outputs], dim=1),
    )


def _block_diagonal(parts: Sequence[Tensor]) -> Tensor:
    """Coefficients (1, L, L, C) of all pairs from those (1, L', L', C) within each chain; zero between chains."""
    n = sum(part.shape[1] for part in parts)
    values = parts[0].new_zeros(1, n, n, parts[0].shape[-1])
    places = chain_slices([part.shape[1] for part in parts])
    for chain, part in zip(places, parts, strict=True):
        values[:, chain, chain] = part
    return values


def _fill_between(
    network: SequenceNetwork,
    config: NemoConfig,
    chains: Sequence[Tensor],
    coefficients: Sequence[Tensor],
) -> None:
    """Set the coefficients (1, L, L, C) between all pairs of chains; those of equal chains are computed once."""
    places = chain_slices([chain.shape[1] for chain in chains])
    kinds = [next(k for k, other in enumerate(chains) if _equal(other, chain)) for chain in chains]
    known: dict[tuple[int, int], tuple[list[Tensor], list[Tensor]]] = {}
    for a, b in combinations(range(len(chains)), 2):
        pair = kinds[a], kinds[b]
        if pair not in known:
            forth, back = coefficients_between(network, config, chains[a], chains[b])
            known[pair], known[pair[::-1]] = (forth, back), (back, forth)
        for values, from_a, from_b in zip(coefficients, *known[pair], strict=True):
            values[:, places[a], places[b]] = from_a
            values[:, places[b], places[a]] = from_b


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first, second)

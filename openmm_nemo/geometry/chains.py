"""Several chains in one array of positions, one after the other."""

from collections.abc import Sequence
from itertools import accumulate


def chain_slices(lengths: Sequence[int]) -> list[slice]:
    """Rows of the residues of chains of these lengths."""
    return [slice(end - n, end) for n, end in zip(lengths, accumulate(lengths), strict=True)]

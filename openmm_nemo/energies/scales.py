"""Positive factors of terms: few numbers, trained apart from the many coefficients."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Scales(nn.Module):
    """Positive factors, stored as logarithms, so that training cannot change their sign.

    Fixed functions have coefficients that are learnt as if every pair and residue were alone; their sum counts the same
    evidence several times. Scales, which only the energy contains, correct this without touching the coefficients.

    Parameters
    ----------
    initial : sequence of float
    """

    def __init__(self, initial: Sequence[float]) -> None:
        super().__init__()
        self.logarithms = nn.Parameter(torch.tensor(initial).log())

    def forward(self) -> Tensor:
        """The factors (n,)."""
        return self.logarithms.exp()

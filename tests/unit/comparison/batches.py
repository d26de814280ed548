"""Batches with an energy whose values are known by hand."""

import torch
from torch import Tensor, nn

from openmm_nemo.dynamics import StepParameters
from openmm_nemo.geometry import cartesian_to_internal
from openmm_nemo.models.batch import ConditionedBatch
from tests.helpers import random_chain


class Springs(nn.Module):
    """U = k sum (b - 4 Angstrom)^2 over bonds, with k the only coefficient of a chain."""

    n_coefficients = 1

    def __init__(self) -> None:
        super().__init__()
        self.terms: dict[str, nn.Module] = {"springs": self}
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, coefficients: list[Tensor], mask: Tensor) -> Tensor:
        bonds = torch.linalg.vector_norm(x[:, 1:] - x[:, :-1] + 1e-6, dim=-1)
        return self.one * coefficients[0] * ((bonds - 4) ** 2 * mask[:, 1:]).sum(1)


class Handed(Springs):
    """U = k sum (a x b) . c over three consecutive bonds a, b, c: k times the sine of their dihedral if all are unit
    vectors at right angles.
    """

    def forward(self, x: Tensor, coefficients: list[Tensor], mask: Tensor) -> Tensor:
        bonds = (x[:, 1:] - x[:, :-1]) * mask[:, 1:, None]
        normal = torch.linalg.cross(bonds[:, :-2], bonds[:, 1:-1])
        return self.one * coefficients[0] * (normal * bonds[:, 2:]).sum([1, 2])


def springs(
    lengths: list[int],
    k: list[float],
    step: float = 0.01,
    energy: type[Springs] = Springs,
) -> ConditionedBatch:
    """Chains of these lengths with these constants and the same step sizes in all coordinates."""
    n = max(lengths)
    mask = torch.tensor([[1.0] * length + [0.0] * (n - length) for length in lengths])
    z0 = torch.stack([cartesian_to_internal(random_chain(n, seed=s).float()) for s in lengths])
    sizes = torch.full((len(lengths),), step)
    cz = mask[..., None].expand(-1, -1, 3).clone()
    parameters = StepParameters(sizes, sizes, mask, cz, mask)
    return ConditionedBatch(
        mask, z0 * mask[..., None], torch.empty(0), parameters, [torch.tensor(k)], energy()
    )

"""Models with every parameter and statistic away from its initial value, and chains to feed them."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from openmm_nemo.config import NemoConfig
from openmm_nemo.geometry import internal_to_cartesian
from openmm_nemo.models import NemoModel
from openmm_nemo.networks import BatchRenorm

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def make_model(
    preset: str = "tiny", profile: bool = False, dtype=torch.float64, lstm_units: int = 0
) -> NemoModel:
    torch.manual_seed(7)
    config = NemoConfig.preset(preset, profile)
    if lstm_units:
        config = replace(config, kind="baseline", lstm_units=lstm_units)
    model = NemoModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        for module in model.modules():
            if isinstance(module, BatchRenorm):
                module.running_mean.normal_(std=0.2)
                module.running_var.uniform_(0.5, 1.5)
    return model.eval().to(dtype)


def make_chain(length: int, seed: int, dtype=torch.float64) -> Tensor:
    """A C-alpha trace of helices, strands and coil, (length, 3)."""
    generator = torch.Generator().manual_seed(seed)

    def noise() -> Tensor:
        return torch.randn(length, generator=generator, dtype=torch.float64)

    kind = torch.randint(0, 3, (length // 6 + 1,), generator=generator)
    kind = kind.repeat_interleave(6)[:length]
    b = 3.8 + 0.05 * noise()
    a = torch.tensor([1.59, 2.1, 1.85])[kind] + 0.1 * noise()
    d = torch.tensor([0.87, -2.9, 0.0])[kind] + torch.tensor([0.15, 0.4, 1.8])[kind] * noise()
    z = torch.stack([b.expm1().log(), (a / (math.pi - a)).log(), d], dim=-1)
    return internal_to_cartesian(z).to(dtype)


def make_sequence_input(length: int, width: int, seed: int, dtype=torch.float64) -> Tensor:
    """One-hot, with a random profile if the width is 40, (length, width)."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(0, 20, (length,), generator=generator)
    profile = torch.rand(length, width - 20, generator=generator)
    return torch.cat([torch.eye(20)[index], profile], dim=-1).to(dtype)


def make_batch(lengths: list[int], width: int, dtype=torch.float64, padding: float = 0.0):
    """Chains x (B, L, 3), inputs s (B, L, width) and mask (B, L); padding is random of that size."""
    size = max(lengths)
    x = padding * torch.randn(len(lengths), size, 3, dtype=dtype)
    s = padding * torch.randn(len(lengths), size, width, dtype=dtype)
    mask = torch.zeros(len(lengths), size, dtype=dtype)
    for k, length in enumerate(lengths):
        x[k, :length] = make_chain(length, k, dtype)
        s[k, :length] = make_sequence_input(length, width, k, dtype)
        mask[k, :length] = 1
    return x, s, mask


def random_rotation(seed: int, dtype=torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    return (q * torch.linalg.det(q).sign()).to(dtype)


DEGENERATE_CHAINS = {
    "straight": torch.arange(8.0)[:, None] * torch.tensor([3.8, 0, 0]),
    "straight, oblique": torch.arange(8.0)[:, None] * torch.tensor([2.2, 2.2, 2.2]),
    "coincident": torch.zeros(8, 3),
    "folded back": torch.tensor([[0.0, 0, 0], [3.8, 0, 0]]).repeat(4, 1),
    "two points in one place": torch.cat([make_chain(7, 0).float(), make_chain(7, 0).float()[-1:]]),
    "a contact of zero length": torch.cat(
        [make_chain(7, 0).float(), make_chain(7, 0).float()[2:3]]
    ),
    "shortest": make_chain(4, 0).float(),
}

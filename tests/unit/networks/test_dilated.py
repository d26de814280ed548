"""Blocks of one dilated convolution."""

import pytest
import torch
import torch.nn.functional as F

from openmm_nemo.networks.dilated import DilatedBlock, PositionNorm
from tests.helpers import normal
from tests.tolerances import assert_close


def test_normalisation_is_over_the_channels_of_each_position():
    h = 3 + 2 * normal(2, 8, 5, 5)
    norm = PositionNorm(8).double()
    out = norm(h)
    for place in ((0, 1, 2), (1, 4, 4)):
        b, i, j = place
        values = h[b, :, i, j]
        expected = (values - values.mean()) / (values.var(unbiased=False) + 1e-5).sqrt()
        assert_close(out[b, :, i, j], expected, "rounding")


@pytest.mark.parametrize("dimensions", [1, 2])
def test_an_untrained_block_adds_nothing(dimensions):
    h = normal(2, 6, *(7,) * dimensions)
    block = DilatedBlock(6, 2, dimensions).double()
    assert block(h, torch.ones(2, 1, *(7,) * dimensions)).equal(h)


@pytest.mark.parametrize("dilation", [1, 3])
def test_a_block_is_two_convolutions_beside_its_input(dilation):
    """By hand, residue by residue; what the mask leaves out is zero for both."""
    torch.manual_seed(1)
    block = DilatedBlock(4, dilation, 1).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_()
    h, mask = normal(1, 4, 9), torch.ones(1, 1, 9, dtype=torch.float64)
    mask[..., 7:] = 0
    wide, mix, norm = block.spread, block.mix, block.norm.norm
    inner = torch.zeros(4, 9, dtype=torch.float64)
    for j in range(7):
        inner[:, j] = F.elu(F.layer_norm(h[0, :, j], (4,), norm.weight, norm.bias))
    expected = h[0].clone()
    for j in range(7):
        total = wide.bias.clone()
        for tap in range(3):
            at = j + (tap - 1) * dilation
            if 0 <= at < 9:
                total = total + wide.weight[:, :, tap] @ inner[:, at]
        expected[:, j] += mix.weight[:, :, 0] @ F.elu(total) + mix.bias
    assert_close(block(h, mask)[0], expected, "rounding")

"""Residual stacks and message passing against plain implementations."""

import math

import pytest
import torch
from torch.nn.functional import conv1d, conv2d, silu

from openmm_nemo.networks import ResidualStack
from openmm_nemo.networks.message_passing import OuterExpansion, PairAttention, pair_mask
from tests.tolerances import assert_close


@pytest.mark.parametrize("dimensions", [1, 2])
def test_stack_is_blocks_of_three_normalised_convolutions(dimensions):
    torch.manual_seed(0)
    stack = ResidualStack(6, 2, 3, dimensions, 0.1, (1, 2)).double().eval()
    for parameter in stack.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    h = torch.randn((2, 6) + (9,) * dimensions, dtype=torch.float64)
    shape = [-1] + [1] * dimensions
    convolve = conv1d if dimensions == 1 else conv2d

    def normalise(layer, y):
        y = y / math.sqrt(1 + layer.eps)
        return y * layer.weight.view(shape) + layer.bias.view(shape)

    expected = h
    for block, dilation in zip(stack.blocks, (1, 2), strict=True):
        y = expected
        for layer, pad in ((block.mix_in, 0), (block.spread, dilation), (block.mix_out, 0)):
            y = silu(normalise(layer.norm, y))
            weight = layer.convolution.weight
            y = convolve(y, weight, padding=pad, dilation=max(pad, 1))
        expected = expected + y
    expected = normalise(stack.norm, expected)
    assert_close(stack(h, torch.ones_like(h[:, 0])), expected, "rounding")


@pytest.mark.parametrize("dimensions", [1, 2])
def test_padding_is_the_zero_padding_beyond_the_end(dimensions):
    torch.manual_seed(1)
    stack = ResidualStack(4, 3, 5, dimensions, 0.1, (1, 2, 4)).double().eval()
    for parameter in stack.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    h = torch.randn((1, 4) + (12,) * dimensions, dtype=torch.float64)
    mask = torch.zeros(1, 12, dtype=torch.float64)
    mask[:, :7] = 1
    inside = (slice(None), slice(None)) + (slice(7),) * dimensions
    full = mask if dimensions == 1 else pair_mask(mask)
    padded = stack(h, full)
    alone = h[inside]
    assert_close(padded[inside], stack(alone, torch.ones_like(alone[:, 0])), "rounding")
    padded[inside] = 0
    assert padded.eq(0).all()


def test_dropout_keeps_nine_in_ten():
    torch.manual_seed(2)
    stack = ResidualStack(8, 1, 3, 1, 0.1)
    layer = stack.blocks[0].mix_in
    torch.nn.init.eye_(layer.convolution.weight[:, :, 0])
    h = torch.randn(1, 8, 5000)
    dropped = layer(h, torch.ones(1, 5000)).eq(0).float().mean()
    assert dropped == pytest.approx(0.1, abs=0.01)


def test_attention_gathers_over_residues_only():
    torch.manual_seed(3)
    attention = PairAttention(6, 3, heads=2).double()
    h = torch.randn(1, 6, 5, dtype=torch.float64)
    p = torch.randn(1, 3, 5, 5, dtype=torch.float64)
    mask = torch.tensor([[1.0, 1, 1, 1, 0]], dtype=torch.float64)

    def linear(layer, y):
        return layer.weight.flatten(1) @ y

    gathered = []
    for i in range(4):
        weights = []
        for head in range(2):
            rows = slice(3 * head, 3 * head + 3)
            q = linear(attention.query, h[0])[rows, i]
            k = linear(attention.key, h[0])[rows, :4]
            logits = q @ k / math.sqrt(3) + linear(attention.pair_logit, p[0, :, i, :4])[head]
            weights.append(logits.softmax(-1))
        v = linear(attention.value, h[0])[:, :4]
        gathered.append(
            torch.cat(
                [v[:3] @ weights[0], v[3:] @ weights[1]] + [p[0, :, i, :4] @ w for w in weights]
            )
        )
    expected = linear(attention.output, torch.stack(gathered, dim=1))
    assert_close(attention(h, p, mask)[0, :, :4], expected, "rounding")


def test_outer_expansion_is_a_bilinear_form():
    torch.manual_seed(4)
    expansion = OuterExpansion(6, 3, rank=4, gain=1.0).double()
    h = torch.randn(1, 6, 5, dtype=torch.float64)
    left, right = expansion.left(h)[0], expansion.right(h)[0]
    outer = torch.einsum("ri,sj->rsij", left, right)
    expected = (expansion.contraction[..., None, None] * outer[:, :, None]).sum((0, 1))
    expected = expected + expansion.row(h)[0, :, :, None] + expansion.column(h)[0, :, None, :]
    assert_close(expansion(h)[0], expected, "rounding")

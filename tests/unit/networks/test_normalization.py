import math

import pytest
import torch

from openmm_nemo.networks import BatchRenorm
from openmm_nemo.networks.normalization import limits
from tests.tolerances import assert_close

SHAPES = {1: (3, 5, 11), 2: (3, 5, 6, 6)}


@pytest.fixture(params=SHAPES)
def features(request):
    torch.manual_seed(0)
    x = 2 * torch.randn(SHAPES[request.param], dtype=torch.float64) + 1
    return x, torch.ones_like(x[:, 0])


def reference(x):
    """Batch Normalisation of torch with random affine parameters, and ours with the same."""
    kind = torch.nn.BatchNorm1d if x.dim() == 3 else torch.nn.BatchNorm2d
    theirs, ours = kind(x.shape[1]).double(), BatchRenorm(x.shape[1]).double()
    with torch.no_grad():
        ours.weight.copy_(theirs.weight.normal_())
        ours.bias.copy_(theirs.bias.normal_())
    return theirs, ours


def test_defaults_are_batch_normalisation(features):
    x, mask = features
    theirs, ours = reference(x)
    cotangent = torch.randn_like(x)
    results = []
    for apply in (theirs, lambda t: ours(t, mask)):
        leaf = x.clone().requires_grad_()
        y = apply(leaf)
        (gradient,) = torch.autograd.grad((y * cotangent).sum(), leaf)
        results.append((y.detach(), gradient))
    assert_close(results[1][0], results[0][0], "rounding")
    assert_close(results[1][1], results[0][1], "rounding")
    assert_close(ours.running_mean, theirs.running_mean, "rounding")
    assert_close(ours.running_var, theirs.running_var, "rounding")


def test_evaluation_is_that_of_batch_normalisation(features):
    x, mask = features
    theirs, ours = reference(x)
    theirs.train()(x)
    ours.train()(x, mask)
    assert_close(ours.eval()(x + 1, mask), theirs.eval()(x + 1), "rounding")


def test_without_limits_the_running_statistics_normalise(features):
    x, mask = features
    _, ours = reference(x)
    ours.running_mean.uniform_(-1, 1)
    ours.running_var.uniform_(0.5, 2)
    expected = ours.eval()(x, mask)
    ours.r_max = ours.d_max = math.inf
    assert_close(ours.train()(x, mask), expected, "rounding")


def test_limits_of_the_paper_and_no_gradient_through_them():
    torch.manual_seed(1)
    x = torch.randn(4, 2, 9, dtype=torch.float64, requires_grad=True)
    norm = BatchRenorm(2).double()
    norm.running_mean.copy_(torch.tensor([5.0, 0.1]))
    norm.running_var.copy_(torch.tensor([0.01, 0.9]))
    norm.r_max, norm.d_max = 2.0, 1.5
    running_sigma = (norm.running_var + norm.eps).sqrt()
    mean = x.mean([0, 2])
    sigma = (x.var([0, 2], unbiased=False) + norm.eps).sqrt()
    r = (sigma / running_sigma).clamp(0.5, 2).detach()
    d = ((mean - norm.running_mean) / running_sigma).clamp(-1.5, 1.5).detach()
    assert r[0] == 2
    assert d[0] == -1.5
    expected = (x - mean[:, None]) / sigma[:, None] * r[:, None] + d[:, None]
    y = norm(x, torch.ones(4, 9, dtype=torch.float64))
    assert_close(y.detach(), expected.detach(), "rounding")
    cotangent = torch.randn_like(x)
    assert_close(
        torch.autograd.grad((y * cotangent).sum(), x)[0],
        torch.autograd.grad((expected * cotangent).sum(), x)[0],
        "rounding",
    )


def test_limits_rise_from_those_of_batch_normalisation():
    assert [limits(update, 10, 30) for update in (0, 10, 15, 20, 30, 99)] == [
        (1, 0), (1, 0), (1.5, 1.25), (2, 2.5), (3, 5), (3, 5)
    ]  # fmt: skip


def test_padding_does_not_enter_the_statistics():
    torch.manual_seed(2)
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    mask = torch.ones(2, 8, dtype=torch.float64)
    mask[1, 5:] = 0
    x[1, :, 5:] = 1e6
    padded, plain = BatchRenorm(3).double(), BatchRenorm(3).double()
    valid = torch.cat([x[0], x[1, :, :5]], dim=1).unsqueeze(0)
    y = padded(x, mask)
    expected = plain(valid, torch.ones(1, 13, dtype=torch.float64))
    assert_close(torch.cat([y[0], y[1, :, :5]], dim=1).unsqueeze(0), expected, "rounding")
    assert_close(padded.running_mean, plain.running_mean, "rounding")
    assert_close(padded.running_var, plain.running_var, "rounding")


def test_zero_momentum_freezes_the_statistics(features):
    x, mask = features
    norm = BatchRenorm(x.shape[1], momentum=0.0).double()
    norm(x, mask)
    assert norm.running_mean.eq(0).all()
    assert norm.running_var.eq(1).all()


def test_one_position_and_none_stay_finite():
    norm = BatchRenorm(2)
    for mask in (torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)):
        assert norm(torch.randn(1, 2, 2), mask).isfinite().all()
    assert norm.running_var.isfinite().all()

"""Vector helpers: their values, and what they do with vectors of length zero."""

import pytest
import torch

from openmm_nemo.geometry.vectors import cross, dot, length, place_rows, suffix_sum, unit
from tests.helpers import DTYPES, normal
from tests.tolerances import assert_close


def test_length_and_unit_of_ordinary_vectors():
    v = normal(4, 5, 3)
    assert_close(length(v), torch.linalg.vector_norm(v, dim=-1), "rounding")
    assert_close(unit(v), torch.nn.functional.normalize(v, dim=-1), "rounding")


@DTYPES
def test_length_has_a_floor_and_no_slope_below_it(dtype):
    v = torch.tensor([[0, 0, 0], [1e-8, 0, 0], [3, 0, 4]], dtype=dtype, requires_grad=True)
    (slope,) = torch.autograd.grad(length(v).sum(), v)
    assert length(v).tolist() == pytest.approx([1e-6, 1e-6, 5])
    assert_close(
        slope, torch.tensor([[0, 0, 0], [0, 0, 0], [0.6, 0, 0.8]], dtype=dtype), "rounding"
    )


def test_unit_of_zero_is_zero():
    assert unit(torch.zeros(3)).tolist() == [0, 0, 0]


def test_products_broadcast():
    a, b = normal(4, 1, 3, seed=1), normal(1, 5, 3, seed=2)
    for i in range(4):
        for j in range(5):
            x, y = a[i, 0].tolist(), b[0, j].tolist()
            product = [x[k - 2] * y[k - 1] - x[k - 1] * y[k - 2] for k in range(3)]
            assert cross(a, b)[i, j].tolist() == pytest.approx(product)
            assert float(dot(a, b)[i, j]) == pytest.approx(sum(map(float.__mul__, x, y)))


def test_suffix_sum_adds_this_row_and_all_later_ones():
    v = normal(2, 7, 3)
    expected = torch.stack([v[:, j:].sum(1) for j in range(7)], dim=1)
    assert_close(suffix_sum(v), expected, "rounding")


@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 6])
def test_place_rows_pads_or_cuts(n_rows):
    v = normal(2, 2, 4)
    placed = place_rows(v, 1, n_rows)
    expected = torch.zeros(2, 6, 4, dtype=torch.float64)
    expected[:, 1:3] = v
    assert torch.equal(placed, expected[:, :n_rows])

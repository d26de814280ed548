"""Padded batches of chains."""

import torch

from openmm_nemo.geometry.padding import centred, pair_mask, without_padding
from tests.helpers import random_chain

MASK = torch.tensor([[1.0, 1, 1, 1], [1, 1, 0, 0]], dtype=torch.float64)


def test_pairs_are_there_where_both_residues_are():
    assert pair_mask(MASK)[1].tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0] * 4, [0] * 4]
    assert pair_mask(MASK)[0].eq(1).all()


def test_nothing_of_padding_spreads():
    x = random_chain(2, 4)
    expected = x * MASK[..., None]
    x[1, 2:] = torch.nan
    assert without_padding(x, MASK).equal(expected)


def test_every_chain_is_centred_by_its_own_residues():
    x = centred(random_chain(2, 4), MASK)
    torch.testing.assert_close(x.sum(1), torch.zeros(2, 3, dtype=torch.float64), rtol=0, atol=1e-12)
    assert x[1, 2:].eq(0).all()
    assert x[1, :2].ne(0).all()

"""Rows of chains."""

from openmm_nemo.geometry.chains import chain_slices


def test_chains_follow_each_other():
    assert chain_slices([3, 2]) == [slice(0, 3), slice(3, 5)]
    rows = range(7)
    assert [list(rows[chain]) for chain in chain_slices([1, 4, 2])] == [[0], [1, 2, 3, 4], [5, 6]]

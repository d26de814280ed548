"""Several chains of a file as one structure."""

from pathlib import Path

import numpy as np

from openmm_nemo.data.structures import join_chains, read_structure
from openmm_nemo.errors import InputError
from tests.helpers import raises

DATA = Path(__file__).parents[3] / "data"


def test_chains_of_a_file_are_joined():
    file = DATA / "20_2hpf.pdb.gz"
    first, second = (read_structure(file, name) for name in "AB")
    both = join_chains([first, second])
    assert both.sequence == f"{first.sequence}:{second.sequence}"
    assert (both.chain, both.chain_lengths, both.segment) == ("A:B", (99, 99), "1-99:1-99")
    np.testing.assert_array_equal(both.ca, np.concatenate([first.ca, second.ca]))
    np.testing.assert_array_equal(both.backbone[99:], second.backbone)
    assert both.numbering.chains == (first.numbering, second.numbering)
    for note in both.notes:
        assert note in first.notes or note.startswith(("Chain A: ", "Chain B: "))


def test_chains_that_overlap_are_not_joined():
    chain = read_structure(DATA / "20_2hpf.pdb.gz", "A")
    with raises(InputError, "chain A", "20_2hpf.pdb.gz", "overlap", "0.0 Angstrom", "--chain"):
        join_chains([chain, chain])

"""What tests of several parts of the training need."""

import pytest

from openmm_nemo.data import read_structure
from openmm_nemo.data.batches import Batch, Example, collate
from openmm_nemo.data.sets.domains import domain_of


@pytest.fixture(scope="session")
def batch() -> Batch:
    """The Trp-cage and a window of it, padded: 20 and 13 residues."""
    cage = domain_of(read_structure("examples/data/1l2y.pdb"))
    parts = [cage, cage.window(4, 13)]
    return collate([Example(part, part.sequence, None, part.contacts) for part in parts])

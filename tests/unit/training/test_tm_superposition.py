"""The superposition of highest TM-score, against TM-align's."""

import numpy as np
import pytest
import torch

from openmm_nemo.data import read_structure
from openmm_nemo.training.tm_superposition import tm_superpose
from tests.helpers import normal

# Chains of 60 to 112 residues of different folds.
FILES = (
    "31_d1asha_",
    "29_5gob.pdb.gz",
    "27_3a4rA.pdb.gz",
    "20_2hpf.pdb.gz",
    "22_1u78.pdb.gz",
    "08_1EN2.cif.gz",
)


def scores(mobile: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> np.ndarray:
    moved, d0 = tm_superpose(mobile, target, mask)
    close = 1 / (1 + ((moved - target) ** 2).sum(-1) / d0[:, None] ** 2)
    return ((close * mask).sum(-1) / mask.sum(-1)).numpy()


def test_scores_are_those_of_tm_align_with_the_same_alignment():
    """Real chains against smoothly crumpled copies of themselves and against each other, in one padded batch."""
    tmtools = pytest.importorskip("tmtools")
    chains = [torch.from_numpy(read_structure(f"tests/data/{name}").ca) for name in FILES]
    pairs = [(chains[i], chains[i - 1]) for i in range(len(chains))]
    pairs = [(one[: len(other)], other[: len(one)]) for one, other in pairs]
    for seed, chain in enumerate(chains):
        walk = normal(3, *chain.shape, seed=seed).cumsum(1) / 3
        pairs += [(chain + size * walk[k], chain) for k, size in enumerate((1, 2, 4))]
    expected = []
    for one, other in pairs:
        letters = "A" * len(one)
        result = tmtools.tm_align(
            one.numpy(), other.numpy(), letters, letters, alignment=(letters, letters)
        )
        expected.append(result.tm_norm_chain1)
    pad = torch.nn.utils.rnn.pad_sequence
    mobile, target = (pad([pair[k].float() for pair in pairs], batch_first=True) for k in (0, 1))
    mask = pad([torch.ones(len(one)) for one, _ in pairs], batch_first=True)
    found = scores(mobile, target, mask)
    expected = np.array(expected)
    # The search of TM-align is not exhaustive either: among unrelated chains ours may be the better one.
    related = expected > 0.25
    assert related.sum() >= 12
    np.testing.assert_allclose(found[related], expected[related], atol=0.01)
    assert (found > expected - 0.02).all()


def test_only_a_rigid_motion_is_made():
    x, y = normal(2, 30, 3, seed=1).float() * 10, normal(2, 30, 3, seed=2).float() * 10
    moved, _ = tm_superpose(x, y, torch.ones(2, 30))
    before, after = (torch.cdist(c.double(), c.double()) for c in (x, moved))
    np.testing.assert_allclose(after, before, atol=1e-3)
    mirrored, _ = tm_superpose(x * torch.tensor([1.0, 1, -1]), x, torch.ones(2, 30))
    assert (mirrored - x).abs().max() > 1

"""TM-align with a fixed alignment, against the program TM-score and the package's own search."""

import sys

import numpy as np
import pytest

from openmm_nemo.errors import InputError
from openmm_nemo.evaluation import pairwise_tm, tm_score, tm_to_native
from tests.helpers import raises, random_chain
from tests.unit.geometry.pairs import NAMES, PUBLISHED, published

EACH_PUBLISHED = pytest.mark.parametrize("case", PUBLISHED, ids=NAMES)


@EACH_PUBLISHED
def test_score_is_that_of_the_published_program(case):
    # Among them chains that are shifted by one residue: a searched alignment would score more.
    mobile, target, scores = published(case)
    found = tm_to_native(mobile.numpy()[None], target.numpy())
    np.testing.assert_allclose(found, [scores.tm], atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_our_search_finds_the_same_or_a_little_more(seed):
    x = random_chain(100, seed=100 * seed)
    y = x + random_chain(100, seed=100 * seed + 50) / (2 + seed)
    difference = tm_score(x, y) - tm_to_native(x.numpy()[None], y.numpy())[0]
    assert -1e-4 < difference < 0.01


def test_every_pair_is_scored():
    x = np.stack([random_chain(30, seed=100 * k).numpy() for k in range(4)])
    x[3] = x[1] + 0.1 * x[2]
    tm = pairwise_tm(x)
    np.testing.assert_array_equal(tm, tm.T)
    np.testing.assert_array_equal(tm.diagonal(), 1)
    for k in range(4):
        others = np.delete(np.arange(4), k)
        np.testing.assert_allclose(tm[k, others], tm_to_native(x[others], x[k]), atol=1e-3)
    assert tm[3, 1] == tm[~np.eye(4, dtype=bool)].max()


@pytest.mark.parametrize("length", [4, 5, 20])
def test_identical_chains_score_one(length):
    x = random_chain(length).numpy()
    np.testing.assert_allclose(pairwise_tm(np.stack([x, x + 5])), 1, atol=1e-6)


def test_without_tm_align_what_to_install_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "tmtools", None)
    x = random_chain(4).numpy()[None]
    for compute in (lambda: pairwise_tm(x), lambda: tm_to_native(x, x[0])):
        with raises(InputError, "licence", "openmm-nemo[evaluate]"):
            compute()

"""What is said about an ensemble: clusters, consensus and distance to the native."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields

import mdtraj
import numpy as np
import pytest
import torch

from openmm_nemo.errors import InputError
from openmm_nemo.evaluation import (
    assess,
    complete_linkage,
    contact_precision,
    gdt_ts,
    lddt_ca,
    three_d_jury,
    tm_score,
)
from openmm_nemo.sampling.ensembles import Ensemble
from tests.helpers import raises, random_chain

NEED_NATIVE = ("rmsd", "gdt_ts", "lddt", "contact_precision", "native_rg")


def scores(n, seed):
    """Symmetric numbers from 0 to 1, with ones on the diagonal."""
    upper = np.triu(np.random.default_rng(seed).uniform(size=(n, n)), 1)
    return upper + upper.T + np.eye(n)


def merged(tm, threshold):
    """Complete linkage: merge the two clusters whose least alike members are most alike, as long as they are."""
    clusters = [{k} for k in range(len(tm))]
    while len(clusters) > 1:
        pairs = [(a, b) for k, a in enumerate(clusters) for b in clusters[:k]]
        alike = [min(tm[i, j] for i in a for j in b) for a, b in pairs]
        if max(alike) < threshold:
            break
        a, b = pairs[int(np.argmax(alike))]
        clusters = [cluster for cluster in clusters if cluster not in (a, b)] + [a | b]
    return sorted(clusters, key=lambda cluster: (-len(cluster), min(cluster)))


def members(labels):
    return [set(np.flatnonzero(labels == label).tolist()) for label in range(labels.max() + 1)]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_clusters_are_those_of_complete_linkage(seed, threshold):
    tm = scores(3 + seed, seed)
    assert members(complete_linkage(tm, threshold)) == merged(tm, threshold)


def test_complete_linkage_does_not_chain():
    # 1 is like 0 and like 2, but these two are not alike: 1 goes where it is closest.
    tm = np.array([[1, 0.6, 0.4], [0.6, 1, 0.7], [0.4, 0.7, 1]])
    np.testing.assert_array_equal(complete_linkage(tm), [1, 0, 0])


@pytest.mark.parametrize(("tm", "labels"), [(0.5, [0, 0]), (0.499, [0, 1])])
def test_the_threshold_itself_is_alike(tm, labels):
    np.testing.assert_array_equal(complete_linkage(np.array([[1, tm], [tm, 1]])), labels)


def test_equal_clusters_are_in_the_order_of_their_first_structures():
    tm = np.full((5, 5), 0.1)
    tm[np.ix_([1, 3], [1, 3])] = tm[np.ix_([2, 4], [2, 4])] = 0.9
    np.testing.assert_array_equal(complete_linkage(tm), [2, 0, 1, 0, 1])


def test_one_structure_is_one_cluster_and_so_are_copies():
    np.testing.assert_array_equal(complete_linkage(np.ones((1, 1))), [0])
    # Rounding may score more than one.
    np.testing.assert_array_equal(complete_linkage(np.full((4, 4), 1 + 1e-12)), [0] * 4)


def test_the_jury_chooses_the_largest_sum():
    tm = np.array([[1, 0.9, 0.1, 0.1], [0.9, 1, 0.3, 0.2], [0.1, 0.3, 1, 0.6], [0.1, 0.2, 0.6, 1]])
    assert three_d_jury(tm) == 1  # sums of 1.1, 1.4, 1.0 and 0.9
    np.fill_diagonal(tm, [0, 0, 0, 9])  # what a structure has in common with itself does not count
    assert three_d_jury(tm) == 1
    assert three_d_jury(np.ones((1, 1))) == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_structures_does_not_matter(seed):
    tm = scores(12, seed)
    order = np.random.default_rng(seed).permutation(12)
    shuffled = tm[np.ix_(order, order)]
    assert order[three_d_jury(shuffled)] == three_d_jury(tm)
    partition = {frozenset(cluster) for cluster in members(complete_linkage(tm))}
    back = members(complete_linkage(shuffled))
    assert {frozenset(order[list(cluster)].tolist()) for cluster in back} == partition


# Assessments


def ensemble(x, native=None, id="1abc"):
    """Ensemble of structures (n, L, 3), which are the only part that counts."""
    x = np.asarray(x, dtype=np.float32)
    n, length, _ = x.shape
    atoms = np.full((n, length, 5, 3), np.nan, dtype=np.float32)
    return Ensemble(id, "A" * length, x, atoms, np.zeros(n), native)


def two_folds():
    """Native, three structures that are more and less like it, and two of another fold."""
    native, other, noise = (random_chain(60, seed=seed).numpy() for seed in (0, 100, 200))
    spread = [native + scale * noise for scale in (0.1, 0.03, -0.05)]
    return native, np.stack([other, spread[0], spread[1], spread[2], 1.02 * other])


@pytest.fixture(scope="module")
def assessment():
    native, x = two_folds()
    return assess(ensemble(x, native), "A", 0.3)


def test_what_is_known_is_kept(assessment):
    native, x = two_folds()
    assert (assessment.id, assessment.sequence) == ("1abc", "A" * 60)
    assert (assessment.level, assessment.identity) == ("A", 0.3)
    np.testing.assert_array_equal(assessment.native, native)
    np.testing.assert_allclose(assessment.x, x[assessment.representative], atol=1e-4)


def test_folds_are_clusters_and_the_jury_chooses_from_the_largest(assessment):
    np.testing.assert_array_equal(assessment.clusters, [1, 0, 0, 0, 1])
    assert assessment.n_clusters == 2
    x = torch.from_numpy(two_folds()[1])
    sums = [sum(tm_score(a, b) for b in x) for a in x]
    assert assessment.representative == np.argmax(sums)


def test_structures_are_compared_with_the_native(assessment):
    native, x = two_folds()
    pairs = [(torch.from_numpy(y), torch.from_numpy(native)) for y in x]
    np.testing.assert_allclose(assessment.tm, [tm_score(*pair) for pair in pairs], atol=0.01)
    assert assessment.representative_tm == assessment.tm[assessment.representative]
    expected = [(gdt_ts(*pair), lddt_ca(*pair).score, contact_precision(*pair)) for pair in pairs]
    found = assessment.gdt_ts, assessment.lddt, assessment.contact_precision
    np.testing.assert_allclose(found, expected[assessment.representative], atol=1e-4)
    assert len({lddt for _, lddt, _ in expected}) == 5


def test_distance_and_size_are_those_of_mdtraj(assessment):
    native, x = two_folds()
    chosen = mdtraj.Trajectory(x[[assessment.representative]] / 10, None)
    expected = 10 * mdtraj.rmsd(chosen, mdtraj.Trajectory(native[None] / 10, None))[0]
    assert assessment.rmsd == pytest.approx(expected, rel=1e-3)
    sizes = [np.sqrt(y.var(0).sum()) for y in (*x, native)]
    np.testing.assert_allclose([*assessment.rg, assessment.native_rg], sizes, rtol=1e-5)


def test_without_a_native_what_needs_one_is_nan(assessment):
    found = assess(ensemble(two_folds()[1]))
    assert found.native is None
    assert (found.level, found.n_clusters) == ("", 2)
    assert np.isnan([found.identity, *(getattr(found, name) for name in NEED_NATIVE)]).all()
    np.testing.assert_array_equal(found.tm, np.full(5, np.nan))
    for name in ("clusters", "representative", "x", "rg"):
        np.testing.assert_array_equal(getattr(found, name), getattr(assessment, name))


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("length", [4, 30])
def test_few_structures_of_short_chains(n, length):
    x = random_chain(length).numpy()
    found = assess(ensemble(np.stack([x] * n), x))
    assert (found.n_clusters, found.representative) == (1, 0)
    np.testing.assert_allclose(found.tm, np.ones(n), atol=1e-4)
    assert (found.gdt_ts, found.lddt) == (1, 1)
    assert found.rmsd == pytest.approx(0, abs=1e-4)


def test_two_structures_that_differ_are_two_clusters():
    x = np.stack([random_chain(30, seed=seed).numpy() for seed in (0, 100)])
    found = assess(ensemble(x))
    np.testing.assert_array_equal(found.clusters, [0, 1])
    assert found.representative == 0


@pytest.mark.integration
def test_assessments_are_the_same_in_another_process(assessment):
    native, x = two_folds()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        other = pool.submit(assess, ensemble(x, native), "A", 0.3).result()
    for field in fields(other):
        np.testing.assert_array_equal(getattr(other, field.name), getattr(assessment, field.name))


def test_bad_ensembles_are_refused():
    native, x = two_folds()
    with raises(InputError, "1abc", "structure"):
        assess(ensemble(x[:0], native))
    with raises(InputError, "native", "1abc", 59, 60):
        assess(ensemble(x, native[1:]))
    native[3, 0] = np.nan
    with raises(InputError, "native", "1abc", "positions", "finite"):
        assess(ensemble(x, native))
    x[2, 5, 1] = np.inf
    with raises(InputError, "structure 2", "1abc", "positions"):
        assess(ensemble(x))

"""Batches for training: what is in them, how they are drawn, and that they can be drawn again."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch.utils.data import DataLoader

from openmm_nemo.data import Domain
from openmm_nemo.data.batches import (
    Batch,
    DomainDataset,
    Draw,
    Example,
    LengthBuckets,
    collate,
    random_window,
)
from openmm_nemo.data.families.alignments import AlignmentFolder
from openmm_nemo.errors import InputError
from openmm_nemo.residues import AMINO_ACIDS
from tests.helpers import raises

LETTERS = np.array(list(AMINO_ACIDS))


def domain(name: str, n: int, breaks: tuple[int, ...] = (), cluster: str = "") -> Domain:
    random = np.random.default_rng([n, *name.encode()])
    return Domain(
        id=name,
        sequence="".join(random.choice(LETTERS, n)),
        backbone=random.normal(size=(n, 5, 3)).astype(np.float32),
        dssp="".join(random.choice(list("-HBEGITS"), n)),
        residue_ids=tuple(map(str, range(n))),
        breaks=breaks,
        cluster=cluster,
    )


@pytest.fixture
def domains() -> list[Domain]:
    """Lengths 10 to 69, in no order."""
    lengths = np.random.default_rng(0).permutation(np.arange(10, 70))
    return [domain(f"d{n}", int(n)) for n in lengths]


# Windows


def test_all_windows_are_equally_likely_and_none_has_a_break():
    """Segments of 7, 2, 5 and 9 residues, windows of 6: two, none (too short), one that is short, four."""
    broken = domain("broken", 23, breaks=(6, 8, 13))
    generator = np.random.default_rng(1)
    drawn = Counter(random_window(broken, 6, generator) for _ in range(7000))
    expected = [(0, 6), (1, 6), (9, 5), (14, 6), (15, 6), (16, 6), (17, 6)]
    assert sorted(drawn) == expected
    # Fails for one seed in 10,000.
    assert chisquare(list(drawn.values())).pvalue > 1e-4


def test_a_short_unbroken_domain_is_its_only_window():
    generator = np.random.default_rng(2)
    assert random_window(domain("short", 12), 12, generator) == (0, 12)
    assert random_window(domain("short", 12), 64, generator) == (0, 12)


def test_a_domain_in_pieces_has_no_window():
    pieces = domain("pieces", 9, breaks=(2, 5))
    with raises(ValueError, "pieces", 4):
        random_window(pieces, 6, np.random.default_rng(3))


# Buckets


def test_every_domain_comes_once_in_an_epoch(domains):
    buckets = LengthBuckets([len(d) for d in domains], 8, seed=1)
    orders = []
    for epoch in (0, 1):
        buckets.epoch = epoch
        batches = list(buckets)
        assert len(batches) == len(buckets) == 8
        assert {draw.epoch for batch in batches for draw in batch} == {epoch}
        order = [draw.position for batch in batches for draw in batch]
        assert sorted(order) == list(range(60))
        orders.append(order)
    assert orders[0] != orders[1]
    buckets.epoch = 0
    assert [draw.position for batch in buckets for draw in batch] == orders[0]
    other = LengthBuckets([len(d) for d in domains], 8, seed=2)
    assert [draw.position for batch in other for draw in batch] != orders[0]


def test_batches_are_of_equal_length_and_come_in_any_order(domains):
    """60 domains of 60 lengths in one pool: a batch of eight spans eight lengths."""
    lengths = np.array([len(d) for d in domains])
    batches = [lengths[[draw.position for draw in batch]] for batch in LengthBuckets(lengths, 8, 1)]
    assert all(np.ptp(batch) < 8 for batch in batches)
    starts = [batch.min() for batch in batches]
    assert starts != sorted(starts)


def test_pools_are_not_sorted_as_a_whole(monkeypatch):
    """With pools of two batches, batches of domains that are far from each other in a sorted list are mixed."""
    monkeypatch.setattr("openmm_nemo.data.batches.POOL_BATCHES", 2)
    lengths = np.arange(1000)
    spans = [np.ptp([draw.position for draw in batch]) for batch in LengthBuckets(lengths, 5, 1)]
    assert 300 < np.median(spans) < 700
    assert len(spans) == 200


def test_an_epoch_has_one_member_of_each_cluster():
    clusters = ["big"] * 7 + ["small"] * 2 + ["one"]
    buckets = LengthBuckets([20] * 10, 2, seed=1, clusters=clusters)
    chosen: Counter[int] = Counter()
    for epoch in range(700):
        buckets.epoch = epoch
        draws = [draw.position for batch in buckets for draw in batch]
        assert len(buckets) == len(list(buckets)) == 2
        assert sorted(clusters[i] for i in draws) == ["big", "one", "small"]
        chosen.update(draws)
    # Fails for one seed in 10,000.
    assert chisquare([chosen[i] for i in range(7)]).pvalue > 1e-4


# Examples and batches


def test_padding_and_missing_atoms_are_zero():
    first, second = domain("a", 6), domain("b", 4)
    first.backbone[2, 4] = np.nan
    batch = collate([Example(first, first.sequence, None), Example(second, "ACDE", None)])
    assert batch.ids == ("a", "b")
    assert batch.mask.tolist() == [[1] * 6, [1] * 4 + [0] * 2]
    assert batch.s.shape == (2, 6, 20)
    rows = "ACDE"
    for i, letter in enumerate(rows):
        assert batch.s[1, i].tolist() == [float(letter == other) for other in AMINO_ACIDS]
    assert batch.s[1, 4:].abs().max() == 0
    assert batch.atom_mask[0].sum() == 29
    assert batch.atom_mask[0, 2, 4] == 0
    assert batch.backbone[0, 2, 4].tolist() == [0, 0, 0]
    assert batch.backbone[1, 4:].abs().max() == 0
    np.testing.assert_array_equal(batch.backbone[1, :4], second.backbone)
    np.testing.assert_array_equal(batch.x[0], first.ca)
    assert ["-HBEGITS"[i] for i in batch.dssp[0]] == list(first.dssp)
    assert all(tensor.isfinite().all() for tensor in batch[1:])


def test_a_profile_is_cut_with_its_window_and_follows_the_sequence():
    whole = domain("a", 9)
    profile = np.random.default_rng(5).uniform(size=(9, 20))
    data = DomainDataset([whole], max_length=5, seed=3, profiles={"a": profile})
    example = data[Draw(0, 0)]
    (start,) = [i for i in range(5) if whole.residue_ids[i] == example.domain.residue_ids[0]]
    np.testing.assert_array_equal(example.profile, profile[start : start + 5])
    batch = collate([example, Example(domain("b", 4), "ACDE", profile[:4])])
    np.testing.assert_allclose(batch.s[0, :, 20:], profile[start : start + 5], atol=1e-7)
    assert batch.s[1, 4].abs().max() == 0


def test_profiles_that_are_not_of_the_domains_are_refused():
    some = [domain("a", 10), domain("b", 12)]
    with raises(InputError, "b", "12 residues", "profile", 10):
        DomainDataset(some, 64, 0, {"a": np.ones((10, 20)), "b": np.ones((10, 20))})
    with raises(InputError, "b", "12 residues", "profile", 0):
        DomainDataset(some, 64, 0, {"a": np.ones((10, 20))})


def test_the_sequence_of_a_homologue_is_cut_with_its_window(tmp_path):
    """Of 201 rows, 200 differ in every residue: exp(-5) each, so that one of them is drawn in 57% of all cases."""
    whole, other = domain("a", 9), domain("b", 9)
    shifted = "".join(AMINO_ACIDS[AMINO_ACIDS.index(letter) - 1] for letter in whole.sequence)
    (tmp_path / "a.a3m").write_text(f">a\n{whole.sequence}\n" + f">other\n{shifted}\n" * 200)
    data = DomainDataset([whole, other], 5, seed=3, alignments=AlignmentFolder(tmp_path))
    seen = set()
    for epoch in range(40):
        example = data[Draw(epoch, 0)]
        start = whole.residue_ids.index(example.domain.residue_ids[0])
        native, homologue = whole.sequence[start : start + 5], shifted[start : start + 5]
        assert example.domain.sequence == native
        assert example.sequence in (native, homologue)
        seen.add(example.sequence == homologue)
        assert data[Draw(epoch, 1)].sequence == data[Draw(epoch, 1)].domain.sequence
    assert seen == {True, False}


def loaded(domains: list[Domain], workers: int, epochs: range) -> list[Batch]:
    data = DomainDataset(domains, max_length=20, seed=7)
    buckets = LengthBuckets([len(d) for d in domains], 8, seed=7)
    loader = DataLoader(
        data,
        batch_sampler=buckets,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
    batches = []
    for epoch in epochs:
        buckets.epoch = epoch
        batches += list(loader)
    return batches


@pytest.mark.integration
def test_batches_do_not_depend_on_processes_nor_on_where_a_run_was_resumed(domains):
    alone = loaded(domains, 0, range(2))
    for others in (loaded(domains, 2, range(2)), loaded(domains, 0, range(1, 2))):
        for one, other in zip(alone[-len(others) :], others, strict=True):
            assert one.ids == other.ids
            assert all(map(torch.equal, one[1:], other[1:]))
    first, second = (
        {i: b.x[k] for b in part for k, i in enumerate(b.ids)} for part in (alone[:8], alone[8:])
    )
    assert any(
        not torch.equal(first[i], second[i]) for i in first if first[i].shape == second[i].shape
    )

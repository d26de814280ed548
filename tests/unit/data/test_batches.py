"""Batches for training: what is in them, how they are drawn, and that they can be drawn again."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chisquare
from torch.utils.data import DataLoader

from openmm_nemo.data import Domain
from openmm_nemo.data.batches import (
    Batch,
    DomainDataset,
    Draw,
    Example,
    LengthBuckets,
    collate,
    crop_contacts,
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


def buckets_of(
    lengths: Sequence[int], size: int, seed: int, clusters: Sequence[str] | None = None
) -> LengthBuckets:
    names = clusters or list(map(str, range(len(lengths))))
    return LengthBuckets(lambda draw: lengths[draw.position], size, seed, names)


def test_every_domain_comes_once_in_an_epoch(domains):
    buckets = buckets_of([len(d) for d in domains], 8, seed=1)
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
    other = buckets_of([len(d) for d in domains], 8, seed=2)
    assert [draw.position for batch in other for draw in batch] != orders[0]


def test_batches_are_of_equal_length_and_come_in_any_order(domains):
    """60 domains of 60 lengths in one pool: a batch of eight spans eight lengths."""
    lengths = np.array([len(d) for d in domains])
    batches = [lengths[[draw.position for draw in batch]] for batch in buckets_of(lengths, 8, 1)]
    assert all(np.ptp(batch) < 8 for batch in batches)
    starts = [batch.min() for batch in batches]
    assert starts != sorted(starts)


def test_pools_are_not_sorted_as_a_whole(monkeypatch):
    """With pools of two batches, batches of domains that are far from each other in a sorted list are mixed."""
    monkeypatch.setattr("openmm_nemo.data.batches.POOL_BATCHES", 2)
    lengths = np.arange(1000)
    spans = [np.ptp([draw.position for draw in batch]) for batch in buckets_of(lengths, 5, 1)]
    assert 300 < np.median(spans) < 700
    assert len(spans) == 200


def test_an_epoch_has_one_member_of_each_cluster():
    clusters = ["big"] * 7 + ["small"] * 2 + ["one"]
    buckets = buckets_of([20] * 10, 2, seed=1, clusters=clusters)
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
    batch = collate(
        [
            Example(first, first.sequence, None, np.arange(1, 7)),
            Example(second, "ACDE", None, np.arange(4)),
        ]
    )
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
    assert batch.contacts.tolist() == [[1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 0, 0]]
    assert batch.profile.shape == (2, 6, 20)
    assert batch.profile.abs().max() == 0
    assert batch.has_profile.tolist() == [0, 0]
    assert all(tensor.isfinite().all() for tensor in batch[1:])


def test_a_profile_is_cut_with_its_window_and_follows_the_sequence():
    whole = domain("a", 9)
    profile = np.random.default_rng(5).uniform(size=(9, 20))
    data = DomainDataset([whole], max_length=5, seed=3, profiles={"a": profile})
    example = data[Draw(0, 0)]
    (start,) = [i for i in range(5) if whole.residue_ids[i] == example.domain.residue_ids[0]]
    np.testing.assert_array_equal(example.profile, profile[start : start + 5])
    batch = collate([example, Example(domain("b", 4), "ACDE", profile[:4], np.zeros(4))])
    np.testing.assert_allclose(batch.s[0, :, 20:40], profile[start : start + 5], atol=1e-7)
    assert batch.s[1, 4].abs().max() == 0
    assert torch.equal(batch.profile, batch.s[:, :, 20:40])
    assert torch.equal(batch.s[:, :, 40], batch.mask)


def test_profiles_that_are_not_of_the_domains_are_refused():
    some = [domain("a", 10), domain("b", 12)]
    with raises(InputError, "b", "12 residues", "profile", 10):
        DomainDataset(some, 64, 0, {"a": np.ones((10, 20)), "b": np.ones((10, 20))})


def test_a_domain_without_a_profile_has_zeros_in_the_columns_of_the_others():
    some = [domain("a", 10), domain("b", 12)]
    data = DomainDataset(some, 64, 0, {"a": np.full((10, 20), 0.5)})
    batch = collate([data[Draw(0, 0)], data[Draw(0, 1)]])
    assert batch.has_profile.tolist() == [1, 0]
    assert batch.s.shape == (2, 12, 41)
    assert batch.s[:, :, 40].tolist() == [[1] * 10 + [0] * 2, [0] * 12]
    assert (batch.profile[0, :10] == 0.5).all()
    assert batch.profile[0, 10:].abs().max() == batch.profile[1].abs().max() == 0
    # Also where no domain of the batch has one.
    batch = collate([data[Draw(0, 1)]])
    assert batch.s.shape == (1, 12, 41)
    assert batch.s[0, :, 20:].abs().max() == 0
    assert batch.has_profile.tolist() == [0]


def test_profile_dropout_leaves_out_a_share_of_whole_profiles_and_changes_nothing_else():
    some = [domain(f"d{i}", 30) for i in range(500)]
    profiles = {d.id: np.full((30, 20), 0.5) for d in some}
    whole = DomainDataset(some, 20, 3, profiles, min_length=10)
    dropped = DomainDataset(some, 20, 3, profiles, min_length=10, profile_dropout=0.3)
    lost: Counter[int] = Counter()
    for epoch in (0, 1):
        for i in range(500):
            first, second = whole[Draw(epoch, i)], dropped[Draw(epoch, i)]
            assert first.domain.residue_ids == second.domain.residue_ids
            assert first.profile.min() == 0.5
            values = np.unique(second.profile).tolist()
            assert values in ([0], [0.5])
            lost[i] += values == [0]
            again = dropped[Draw(epoch, i)]
            np.testing.assert_array_equal(again.profile, second.profile)
    n = sum(lost.values())
    assert binomtest(n, 1000, 0.3).pvalue > 1e-4  # fails for one seed in 10,000
    both = sum(count == 2 for count in lost.values())
    assert binomtest(both, 500, 0.09).pvalue > 1e-4  # another choice in every epoch


# Crops


def test_lengths_of_crops_are_even_within_their_range_and_short_domains_are_whole():
    some = [domain(f"d{i}", 15 + i % 2 * 15) for i in range(600)]
    data = DomainDataset(some, 20, 3, min_length=11)
    lengths: Counter[int] = Counter()
    for i, whole in enumerate(some):
        example = data[Draw(2, i)]
        n = len(example.sequence)
        assert data.length_of(Draw(2, i)) == n
        if len(whole) == 30:
            lengths[n] += 1
        else:
            assert 11 <= n <= 15
    assert sorted(lengths) == list(range(11, 21))
    assert chisquare(list(lengths.values())).pvalue > 1e-4  # fails for one seed in 10,000


def test_contacts_that_leave_a_crop_are_counted(domains):
    """Against a count over all pairs, of a compact chain whose crops are padded."""
    walk = np.random.default_rng(1).normal(size=(60, 3)).cumsum(axis=0)
    whole = replace(domain("a", 60), backbone=np.repeat(2 * walk[:, None], 5, axis=1))
    data = DomainDataset([whole], 30, 3, min_length=20)
    batch = collate([data[Draw(epoch, 0)] for epoch in range(20)])
    for b in range(20):
        residues = data[Draw(b, 0)].domain.residue_ids
        inside = outside = 0
        for i in range(60):
            for j in range(i + 6, 60):
                if np.linalg.norm(whole.ca[i] - whole.ca[j]) < 8:
                    ends = (str(i) in residues) + (str(j) in residues)
                    inside += ends == 2
                    outside += ends == 1
        assert inside > 5
        assert outside > 5
        assert batch.outside_contacts[b] == pytest.approx(outside / (inside + outside), rel=1e-6)
    whole_batch = collate([Example(whole, whole.sequence, None, whole.contacts)])
    assert whole_batch.outside_contacts.tolist() == [0]


def test_contacts_of_all_crops_are_those_of_each(domains):
    for n, length in ((60, 25), (30, 29), (20, 20)):
        walk = np.random.default_rng(n).normal(size=(n, 3)).cumsum(axis=0)
        whole = replace(domain("a", n), backbone=np.repeat(2 * walk[:, None], 5, axis=1))
        outside = total = 0
        for start in range(n - length + 1):
            part = whole.window(start, length)
            inside = part.contacts.sum() // 2
            leaving = whole.contacts[start : start + length].sum() - 2 * inside
            outside += leaving
            total += inside + leaving
        assert crop_contacts(whole, length) == (outside, total)
        assert total > 0


def test_a_chain_without_contacts_has_none_outside():
    line = np.arange(9)[:, None, None] * np.array([3.8, 0, 0]) + np.zeros((9, 5, 3))
    straight = replace(domain("a", 9), backbone=line)
    batch = collate([Example(straight, straight.sequence, None, straight.contacts)])
    assert batch.outside_contacts.tolist() == [0]


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
    data = DomainDataset(domains, max_length=20, seed=7, min_length=12)
    buckets = LengthBuckets(data.length_of, 8, 7, [d.id for d in domains])
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

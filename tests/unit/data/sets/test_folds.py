"""Similarity of folds, against TM-align on all pairs of small sets."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tmtools

from openmm_nemo.data.sets import folds
from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.data.sets.folds import PATIENCE, SAME_FOLD, structural_letters, with_fold_of
from openmm_nemo.data.sets.json_lines import read_json_lines


@pytest.fixture(scope="module")
def domains() -> list[Domain]:
    return list(read_json_lines(Path("examples/data/small_domains.jsonl.gz")))[:12]


def joined(first: Domain, second: Domain, name: str) -> Domain:
    """Both in one chain, 40 Angstrom apart, with a break between them."""
    n = len(first) + len(second)
    shift = np.array([40, 0, 0], np.float32)
    return Domain(
        name,
        "G" * n,
        np.concatenate([first.backbone, second.backbone + shift]),
        first.dssp + second.dssp,
        tuple(map(str, range(n))),
        breaks=(len(first) - 1,),
    )


def test_letters_do_not_depend_on_the_frame_but_on_the_hand(domains):
    one = domains[0]
    turn = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], np.float32)
    letters = structural_letters(one)
    assert len(letters) == len(one)
    assert structural_letters(replace(one, backbone=one.backbone @ turn + 5)) == letters
    assert structural_letters(replace(one, backbone=one.backbone * [1, 1, -1])) != letters
    incomplete = one.backbone.copy()
    incomplete[7, 0] = np.nan
    undefined = structural_letters(replace(one, backbone=incomplete))
    assert len(undefined) == len(one)
    assert undefined[6:9] == "DDD" != letters[6:9]


def test_a_fold_is_found_inside_a_longer_chain(domains):
    references = [joined(a, b, f"{a.id} {b.id}") for a, b in itertools.pairwise(domains)]
    found = with_fold_of(domains[:4], references, workers=1)
    for query, numbers in zip(domains[:4], found, strict=True):
        x = query.ca.astype(float)
        scores = [
            tmtools.tm_align(x, r.ca.astype(float), "A" * len(x), "A" * len(r)).tm_norm_chain1
            for r in references
        ]
        assert numbers == tuple(np.flatnonzero(np.array(scores) >= SAME_FOLD))
    assert 0 in found[0]
    assert {0, 1} <= set(found[1])


def test_a_part_of_the_query_does_not_have_its_fold(domains):
    one = max(domains, key=len)
    half, most = one.window(0, len(one) // 2), one.window(0, len(one) * 4 // 5)
    assert with_fold_of([one], [half, most], workers=1) == [(1,)]
    assert with_fold_of([half], [one], workers=1) == [(0,)]
    assert with_fold_of([], [one], workers=1) == []
    assert with_fold_of([one], [], workers=1) == [()]


def test_the_most_similar_come_first_and_the_search_ends(domains, monkeypatch):
    one = domains[0]
    references = [*domains[1:]] * 30 + [one]
    asked = []

    def tm_align(x, y, *_):
        asked.append(len(asked))
        same = x.shape == y.shape and (x == y).all()
        return type("Result", (), {"tm_norm_chain1": float(same)})

    monkeypatch.setattr(folds, "load_tm_align", lambda: tm_align)
    assert with_fold_of([one], references, workers=1) == [(len(references) - 1,)]
    assert len(asked) == 1 + PATIENCE

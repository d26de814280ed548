"""Sequence identity against hand-computed cases and plain dynamic programming, and clusters against brute force."""

from io import StringIO
from itertools import combinations

import numpy as np
import pytest

from openmm_nemo.data.sets import identity
from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.data.sets.identity import cluster_sequences, clusters_of, identity_to
from openmm_nemo.errors import InputError
from openmm_nemo.residues import AMINO_ACIDS
from tests.helpers import raises

# BLOSUM62 (Henikoff & Henikoff, PNAS 89, 10915, 1992) in the order of its publication.
ORDER = "ARNDCQEGHILKMFPSTWYV"
BLOSUM62 = np.loadtxt(
    StringIO("""
     4 -1 -2 -2  0 -1 -1  0 -2 -1 -1 -1 -1 -2 -1  1  0 -3 -2  0
    -1  5  0 -2 -3  1  0 -2  0 -3 -2  2 -1 -3 -2 -1 -1 -3 -2 -3
    -2  0  6  1 -3  0  0  0  1 -3 -3  0 -2 -3 -2  1  0 -4 -2 -3
    -2 -2  1  6 -3  0  2 -1 -1 -3 -4 -1 -3 -3 -1  0 -1 -4 -3 -3
     0 -3 -3 -3  9 -3 -4 -3 -3 -1 -1 -3 -1 -2 -3 -1 -1 -2 -2 -1
    -1  1  0  0 -3  5  2 -2  0 -3 -2  1  0 -3 -1  0 -1 -2 -1 -2
    -1  0  0  2 -4  2  5 -2  0 -3 -3  1 -2 -3 -1  0 -1 -3 -2 -2
     0 -2  0 -1 -3 -2 -2  6 -2 -4 -4 -2 -3 -3 -2  0 -2 -2 -3 -3
    -2  0  1 -1 -3  0  0 -2  8 -3 -3 -1 -2 -1 -2 -1 -2 -2  2 -3
    -1 -3 -3 -3 -1 -3 -3 -4 -3  4  2 -3  1  0 -3 -2 -1 -3 -1  3
    -1 -2 -3 -4 -1 -2 -3 -4 -3  2  4 -2  2  0 -3 -2 -1 -2 -1  1
    -1  2  0 -1 -3  1  1 -2 -1 -3 -2  5 -1 -3 -1  0 -1 -3 -2 -2
    -1 -1 -2 -3 -1  0 -2 -3 -2  1  2 -1  5  0 -2 -1 -1 -1 -1  1
    -2 -3 -3 -3 -2 -3 -3 -3 -1  0  0 -3  0  6 -4 -2 -2  1  3 -1
    -1 -2 -2 -1 -3 -1 -1 -2 -2 -3 -3 -1 -2 -4  7 -1 -1 -4 -3 -2
     1 -1  1  0 -1  0  0  0 -1 -2 -2  0 -1 -2 -1  4  1 -3 -2 -2
     0 -1  0 -1 -1 -1 -1 -2 -2 -1 -1 -1 -1 -2 -1  1  5 -2 -2  0
    -3 -3 -4 -4 -2 -2 -3 -2 -2 -3 -2 -3 -1  1 -4 -3 -2 11  2 -3
    -2 -2 -2 -3 -2 -1 -2 -3  2 -1 -1 -2 -1  3 -3 -2 -2  2  7 -1
     0 -3 -3 -3 -1 -2 -2 -3 -3  3  1 -2  1 -1 -2 -2  0 -3 -1  4
    """),
    dtype=int,
)


def local_alignment(query: str, reference: str, gap=lambda k: 11 + k) -> tuple[int, set[int]]:
    """Best score of a local alignment, and the numbers of equal pairs of all alignments that have it.

    By the recursion of Smith & Waterman (1981) as it stands, over every length of a gap.
    """
    score = {(i, j): 0 for i in range(len(query) + 1) for j in range(len(reference) + 1)}
    matches = {place: {0} for place in score}
    for i, a in enumerate(query, start=1):
        for j, b in enumerate(reference, start=1):
            pair = int(BLOSUM62[ORDER.index(a), ORDER.index(b)])
            ways = [(0, {0})]
            ways.append((score[i - 1, j - 1] + pair, {n + (a == b) for n in matches[i - 1, j - 1]}))
            ways += [(score[i - k, j] - gap(k), matches[i - k, j]) for k in range(1, i)]
            ways += [(score[i, j - k] - gap(k), matches[i, j - k]) for k in range(1, j)]
            best = max(value for value, _ in ways)
            score[i, j] = best
            matches[i, j] = set().union(*(found for value, found in ways if value == best))
    best = max(score.values())
    return best, set().union(*(matches[place] for place in score if score[place] == best))


def random_sequence(rng, length: int) -> str:
    return "".join(rng.choice(list(AMINO_ACIDS), length))


def mutated(rng, sequence: str, rate: float) -> str:
    """Substitutions, and now and then a piece lost or inserted."""
    letters = []
    for letter in sequence:
        draw = rng.random()
        if draw < rate / 10:
            letters += random_sequence(rng, rng.integers(1, 5))
        elif draw < rate / 5:
            letters = letters[: -rng.integers(1, 5)]
        letters.append(random_sequence(rng, 1) if rng.random() < rate else letter)
    return "".join(letters)


# Identity


@pytest.mark.parametrize(
    ("query", "references", "expected"),
    [
        ("WCHYFPMKWD", ["WCHYFPMKWD"], 1.0),
        # Part of a longer one, and the reverse.
        ("WCHYFPMKWD", ["GGGGGWCHYFPMKWDGGGGG"], 1.0),
        ("GGGGGGWCHYFPMKWDNNNN", ["WCHYFPMKWD"], 0.5),
        # Two of ten are others, of which one is at the end: it stays out of the alignment, the other is in it.
        ("WCHYFPMKWD", ["WCHYGPMKWL"], 0.8),
        # A short match is not 100%: 3 of 10.
        ("WWWGGGGGGG", ["WWWLLLLLLL"], 0.3),
        # A gap of one residue costs 12 and the five letters behind it bring 6 + 4 * 11 = 50.
        ("WWWWWAWWWWWWW", ["WWWWWWWWWWWW"], 12 / 13),
        # The nearest of several.
        ("WCHYFPMKWD", ["LLLL", "WCHY", "MKWD", "WCHYFP"], 0.6),
        ("WCHYFPMKWD", [], 0.0),
        ("DDDD", ["LLLL"], 0.0),
    ],
)
def test_identity_of_cases_by_hand(query, references, expected):
    found = identity_to([query], references, workers=1)
    np.testing.assert_allclose(found.identity, [expected], rtol=1e-12)


def test_the_nearest_has_the_highest_score_and_of_equals_the_most_equal_pairs():
    # Four tryptophans score 44, six alanines 24.
    found = identity_to(["WWWWAAAAAA"], ["AAAAAA", "WWWW", "WWWG"], workers=1)
    assert (found.identity.tolist(), found.nearest.tolist()) == ([0.4], [1])
    # Eleven alanines score 44, too.
    found = identity_to(["WWWW" + "A" * 11], ["WWWW", "A" * 11], workers=1)
    assert (found.identity.tolist(), found.nearest.tolist()) == ([11 / 15], [1])


def test_identity_is_that_of_plain_dynamic_programming():
    rng = np.random.default_rng(1)
    unique = 0
    for _ in range(60):
        query = random_sequence(rng, rng.integers(5, 35))
        reference = mutated(rng, random_sequence(rng, 4) + query, rng.uniform(0.1, 0.9))
        _, matches = local_alignment(query, reference)
        found = round(identity_to([query], [reference], workers=1).identity[0] * len(query))
        assert min(matches) <= found <= max(matches)
        unique += len(matches) == 1
    assert unique > 40


def test_long_sequences_do_not_overflow():
    # Scores and lengths beyond 8 bits, and beyond 16: 3000 tryptophans score 33000.
    rng = np.random.default_rng(2)
    long = random_sequence(rng, 1500)
    other = "".join(a if i % 4 else "W" for i, a in enumerate(long))
    equal = sum(a == b for a, b in zip(long, other, strict=True))
    found = identity_to([long, "W" * 3000], [other, "W" * 3000], workers=1)
    np.testing.assert_allclose(found.identity, [equal / 1500, 1], rtol=0, atol=0.01)


def test_only_what_is_not_chance_is_significant():
    rng = np.random.default_rng(3)
    others = [random_sequence(rng, 100) for _ in range(200)]
    queries = [random_sequence(rng, 100) for _ in range(40)]
    relatives = [query[:60] for query in queries[:20]]
    # E-value 0.001: of the 20 queries without a relative, one is wrongly significant in 2% of such tests.
    found = identity_to(queries, others + relatives, workers=1)
    assert found.repeated_in == [(200 + i,) for i in range(20)] + [()] * 20
    assert found.related == found.repeated_in
    np.testing.assert_array_equal(found.nearest[:20], 200 + np.arange(20))
    assert (found.identity[20:] > 0.04).all()  # chance is not zero
    # WWAWW and WWWW: 4 * 11 - 12 = 32 with a gap, E = 0.041 * 5 * n * exp(-0.267 * 32), 0.0008 and 0.0011.
    for n, expected in ((20, (0,)), (28, ())):
        reference = "WWWW" + "G" * (n - 4)
        assert identity_to(["WWAWW"], [reference], workers=1).repeated_in == [expected]
    # WWW scores 33: E = 0.041 * 10 * 10 * exp(-0.267 * 33) = 0.0006, but 0.12 among 20,000 residues.
    assert identity_to(["WWW" + "G" * 7], ["WWW" + "L" * 7], workers=1).repeated_in == [(0,)]
    found = identity_to(["WWW" + "G" * 8], ["WWW" + "L" * 7], workers=1)  # 27%
    assert (found.related, found.repeated_in) == ([(0,)], [()])
    assert identity_to(["WWW" + "G" * 7], ["WWW" + "L" * 7, *others], 1).repeated_in == [()]
    assert identity_to(["WWW"], [], workers=1).nearest == [-1]


@pytest.mark.integration
def test_processes_give_the_same_in_the_same_order():
    rng = np.random.default_rng(4)
    references = [random_sequence(rng, 50) for _ in range(30)]
    queries = [mutated(rng, references[i], i / 20) for i in range(20)]
    told = []
    alone = identity_to(queries, references, 1, told.append)
    assert told == [8, 16, 20]
    told.clear()
    together = identity_to(queries, references, 2, told.append)
    assert (sorted(told), told[-1]) == (told, 20)
    np.testing.assert_array_equal(alone[:2], together[:2])
    assert alone[2:] == together[2:]


# Clusters


@pytest.mark.integration
def test_clusters_are_the_linked_sequences():
    rng = np.random.default_rng(5)
    families, sequences = [], []
    for family in range(6):
        founder = random_sequence(rng, 90)
        for _ in range(5):
            families.append(family)
            sequences.append(mutated(rng, founder, 0.25))
    # Not linked: half of a sequence covers 50%.
    families.append(6)
    sequences.append(sequences[0][:45])
    # A chain of links, whose ends have no likeness.
    chain = [random_sequence(rng, 150)]
    for _ in range(3):
        kept = rng.random(150) < 0.42
        new = random_sequence(rng, 150)
        chain.append("".join(np.where(kept, list(chain[-1]), list(new))))
    families += [7] * 4
    sequences += chain
    # Twice the same, and a short one.
    families += [0, 8]
    sequences += [sequences[0], "GAVL"]
    found = cluster_sequences(sequences, workers=1)
    order = rng.permutation(len(sequences))
    again = cluster_sequences([sequences[i] for i in order], workers=2)
    np.testing.assert_array_equal(again, found[order])
    for i, j in combinations(range(len(sequences)), 2):
        assert (found[i] == found[j]) == (families[i] == families[j]), (i, j)


@pytest.mark.integration
def test_peptides_of_the_letters_of_nucleotides_are_peptides():
    rng = np.random.default_rng(6)
    first = rng.choice(list("ACGT"), 80)
    second = np.where(rng.random(80) < 0.5, first, rng.choice(list("ACGT"), 80))
    found = cluster_sequences(["".join(first), "".join(second)], workers=1)
    assert found[0] == found[1]


def test_clusters_are_computed_if_one_is_missing(monkeypatch):
    def domain(name, cluster):
        return Domain(name, "GAVL", np.zeros((4, 5, 3)), "----", tuple("1234"), cluster=cluster)

    computed = []

    def cluster(sequences, workers):
        computed.append((sequences, workers))
        return np.arange(len(sequences))

    monkeypatch.setattr(identity, "cluster_sequences", cluster)
    assert clusters_of([domain("a", "x"), domain("b", "y")]) == ["x", "y"]
    assert not computed
    assert clusters_of([domain("a", "x"), domain("b", "")], 3) == ["0", "1"]
    assert computed == [(["GAVL", "GAVL"], 3)]


@pytest.mark.integration
def test_a_program_that_does_not_run_is_named(monkeypatch, tmp_path):
    program = tmp_path / "mmseqs"
    program.write_text("#!/bin/sh\necho Illegal instruction >&2\nexit 132\n")
    program.chmod(0o755)
    monkeypatch.setenv("MMSEQS2_PATH", str(program))
    with raises(InputError, 132, "Illegal instruction", "MMSEQS2_PATH"):
        cluster_sequences(["GAVL"])

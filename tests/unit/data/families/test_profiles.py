"""Profiles: the paper's formula in plain Python, files, and the command that makes them."""

import gzip
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from openmm_nemo.data.families import homologues
from openmm_nemo.data.families.alignments import Alignment, read_alignment
from openmm_nemo.data.families.profiles import (
    BACKGROUND,
    information_content,
    profile,
    profile_from_frequencies,
    read_profile,
    read_profiles,
    write_profile,
)
from openmm_nemo.errors import InputError
from tests.helpers import command_line, names, raises, refused

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
FAMILY = Path(__file__).parents[3] / "data" / "globins.fasta"


def alignment(*texts: str) -> Alignment:
    rows = [[(LETTERS + "-").index(letter) for letter in text] for text in texts]
    return Alignment(tuple(f"row{i}" for i in range(len(rows))), np.array(rows, dtype=np.uint8))


def random_alignment(n: int, length: int) -> Alignment:
    rows = np.random.default_rng(7).integers(0, 21, (n, length)).astype(np.uint8)
    rows[0] %= 20
    return Alignment(tuple(f"row{i}" for i in range(n)), rows)


def by_hand(texts: list[str], background: list[float], q: float) -> list[list[float]]:
    """The paper's formulas (B.6), one number after the other."""
    result = []
    for column in zip(*texts, strict=True):
        counts = [q + sum(letter == k for letter in column) for k in LETTERS]
        m = [count / sum(counts) for count in counts]
        result.append(
            [1 / (1 + math.exp(-math.log(x / b))) for x, b in zip(m, background, strict=True)]
        )
    return result


# The formula


@pytest.mark.parametrize("q", [10, 0.5])
@pytest.mark.parametrize("uniform", [False, True], ids=["swiss-prot", "uniform"])
def test_profile_is_the_formula(q, uniform):
    some = random_alignment(30, 17)
    texts = ["".join((LETTERS + "-")[code] for code in row) for row in some.rows]
    background = [0.05] * 20 if uniform else BACKGROUND.tolist()
    expected = by_hand(texts, background, q)
    found = profile(some, background, q)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    if q == 10 and not uniform:
        np.testing.assert_array_equal(profile(some), found)


def test_profile_of_one_sequence_by_hand():
    """One A and 200 pseudo-counts: M is 11/201 and 10/201; with a background of 1/20, P is M / (M + 1/20)."""
    expected = np.full((1, 20), 200 / 401)
    expected[0, 0] = 220 / 421
    np.testing.assert_allclose(profile(alignment("A"), [1 / 20] * 20), expected, rtol=1e-14)


def test_background_is_that_of_hmmer():
    from pyhmmer.easel import Alphabet
    from pyhmmer.plan7 import Background

    alphabet = Alphabet.amino()
    assert alphabet.symbols[:20] == LETTERS
    theirs = np.array(Background(alphabet).residue_frequencies)
    np.testing.assert_allclose(BACKGROUND, theirs, rtol=1e-6)
    assert abs(BACKGROUND.sum() - 1) < 1e-6


@pytest.mark.parametrize("background", [np.ones(19), np.zeros(20), np.full(20, np.nan)])
def test_bad_background_is_refused(background):
    with raises(InputError, "background", "frequencies"):
        profile(alignment("ACDE"), background)


@pytest.mark.parametrize("q", [0, -1, math.inf, math.nan])
def test_bad_pseudo_count_is_refused(q):
    with raises(InputError, "pseudo-count", q):
        profile(alignment("ACDE"), pseudo_count=q)


def test_information_by_hand():
    """Two letters in turn have 1 bit less than one letter; pseudo-counts alone have none."""
    n = 10**9
    frequencies = np.zeros((3, 21))
    frequencies[0, 4] = 1
    frequencies[1, [4, 7]] = 0.5
    frequencies[2, 20] = 1
    bits = information_content(profile_from_frequencies(frequencies, depth=n, pseudo_count=1))
    np.testing.assert_allclose(bits, [np.log2(20), np.log2(20) - 1, 0], atol=1e-5)


# Frequencies


def frequencies_of(some: Alignment) -> np.ndarray:
    return np.array([[np.mean(column == code) for code in range(21)] for column in some.rows.T])


def test_frequencies_give_the_profile_of_their_alignment():
    some = random_alignment(30, 17)
    shares = frequencies_of(some)
    np.testing.assert_allclose(profile_from_frequencies(shares, 30), profile(some), rtol=1e-13)
    without_gaps = profile_from_frequencies(shares[:, :20], 30)
    np.testing.assert_allclose(without_gaps, profile(some), rtol=1e-13)


@pytest.mark.parametrize(
    ("shares", "facts"),
    [
        (np.ones(20) / 20, ["(20,)", "(L, 21)"]),
        (np.ones((3, 19)) / 19, ["(3, 19)"]),
        (np.ones((0, 20)), ["(0, 20)"]),
        (np.vstack([np.ones(21) / 21, np.ones(21)]), ["residue 2", "negative"]),
        (np.full((1, 21), 0.01), ["residue 1", "negative"]),
        (np.full((1, 20), np.nan), ["residue 1"]),
        (np.eye(1, 20) * 2 - np.eye(1, 20, 1), ["residue 1"]),
    ],
)
def test_what_are_no_frequencies_is_refused(shares, facts):
    with raises(InputError, *facts):
        profile_from_frequencies(shares)


@pytest.mark.parametrize("depth", [0, -1, math.nan, math.inf])
def test_bad_depth_is_refused(depth):
    with raises(InputError, "depth", depth):
        profile_from_frequencies(np.ones((1, 20)) / 20, depth)


def lines(*objects) -> str:
    return "\n".join(json.dumps(item) for item in objects)


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_profiles_of_json_lines_whatever_the_order_of_columns(tmp_path, zipped):
    shares = frequencies_of(random_alignment(30, 17))
    order = np.random.default_rng(3).permutation(21)
    mixed = {
        "id": "mixed",
        "columns": "".join((LETTERS + "-")[i] for i in order),
        "frequencies": shares[:, order].tolist(),
    }
    no_gaps = {"id": "no gaps", "columns": list(LETTERS), "frequencies": shares[:, :20].tolist()}
    content = (lines(mixed, no_gaps) + "\n\n").encode()
    path = tmp_path / "profiles"
    path.write_bytes(gzip.compress(content) if zipped else content)
    found = read_profiles(path, depth=30)
    assert list(found) == ["mixed", "no gaps"]
    for rows in found.values():
        np.testing.assert_allclose(rows, profile(random_alignment(30, 17)), rtol=1e-13)
    default = profile_from_frequencies(shares, depth=1000)
    np.testing.assert_allclose(read_profiles(path)["mixed"], default, rtol=1e-13)


GOOD = {"id": "x", "columns": LETTERS, "frequencies": [[0.05] * 20]}


@pytest.mark.parametrize(
    ("bad", "facts"),
    [
        ("{", []),
        ("[1]", ["object"]),
        (lines({**GOOD, "id": "a"}), ["a"]),
        (lines({"id": "x", "columns": LETTERS}), ["'frequencies'"]),
        (lines({"columns": LETTERS, "frequencies": [[0.05] * 20]}), ["'id'"]),
        (lines({**GOOD, "columns": LETTERS[:-1] + "X"}), ["columns", "ACDEFGHIKLMNPQRSTVWX"]),
        (lines({**GOOD, "columns": 20}), ["columns", 20]),
        (lines({**GOOD, "id": None}), ["id", None]),
        (lines({**GOOD, "id": ["x"]}), ["id", "['x']"]),
        (lines({**GOOD, "frequencies": [[10**400] * 20]}), ["too large"]),
        ("[" * 100_000, ["recursion"]),
        (lines({**GOOD, "frequencies": [[0.05] * 21]}), ["frequencies", "(1, 21)"]),
        (lines({**GOOD, "frequencies": [[0.05] * 20, [0.05]]}), ["inhomogeneous"]),
        (lines({**GOOD, "frequencies": [["often"] * 20]}), ["often"]),
        (
            lines({**GOOD, "frequencies": [[0.5] * 20]}),
            ["residue 1", "negative"],
        ),
    ],
)
def test_bad_line_is_refused_by_its_number(tmp_path, bad, facts):
    path = tmp_path / "profiles.jsonl"
    path.write_text(lines({**GOOD, "id": "a"}) + "\n" + bad)
    with raises(InputError, "Line 2", path, *facts):
        read_profiles(path)


def test_json_lines_that_cannot_be_read_are_refused(tmp_path):
    (tmp_path / "empty").write_text("\n")
    with raises(InputError, "empty", "profiles", "JSON"):
        read_profiles(tmp_path / "empty")
    with raises(InputError, tmp_path / "none"):
        read_profiles(tmp_path / "none")


# Text


@pytest.mark.parametrize("name", ["profile.txt", "profile.csv", "profile"])
def test_profile_that_is_written_is_read_again(tmp_path, name):
    some = profile(random_alignment(30, 17))
    write_profile(tmp_path / name, some)
    np.testing.assert_allclose(read_profile(tmp_path / name), some, atol=5.1e-9, rtol=0)
    assert os.listdir(tmp_path) == [name]
    first, second = (tmp_path / name).read_text().splitlines()[:2]
    separator = "," if name.endswith(".csv") else " "
    assert first == "# " + separator.join(LETTERS)
    assert second.count(separator) == 19
    with raises(InputError, tmp_path / "none" / name):
        write_profile(tmp_path / "none" / name, some)


def test_profile_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "profile.txt"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_profile(path, [["a"]])
    assert path.read_text() == "old"


@pytest.mark.parametrize("text", ["", "# A\n", "1 2\n1\n", "1 a\n", "1,2\n"])
def test_profile_that_is_no_table_is_refused(tmp_path, text):
    path = tmp_path / "profile.txt"
    path.write_text(text)
    with raises(InputError, path, "profile"):
        read_profile(path)


def test_byte_order_marks_do_not_matter(tmp_path):
    path = tmp_path / "profile.txt"
    path.write_bytes(b"\xef\xbb\xbf0.5 0.25\r\n")
    assert read_profile(path).tolist() == [[0.5, 0.25]]
    path.write_bytes(b"\xef\xbb\xbf" + lines(GOOD).encode())
    assert list(read_profiles(path)) == ["x"]


# The command


@pytest.fixture
def family(tmp_path) -> Path:
    """Query, a near relative of the same kind, two others, and one that is mostly gaps."""
    path = tmp_path / "family.a3m"
    rows = ["ACDEFGHIKL", "ACDEFGHIKW", "ACDEFWWWaaWW", "WWDE-GHIYY", "A---------"]
    path.write_text("".join(f">s{i}\n{row}\n" for i, row in enumerate(rows)))
    return path


def test_profile_of_an_alignment(family, tmp_path):
    out, saved = tmp_path / "out.csv", tmp_path / "saved.a3m"
    outcome = command_line(
        "profile", "--alignment", family, "--out", out, "--save-alignment", saved
    )
    assert (outcome.code, outcome.err) == (0, "")
    kept = ["ACDEFGHIKL", "ACDEFWWWWW", "WWDE-GHIYY"]
    expected = by_hand(kept, BACKGROUND.tolist(), 10)
    np.testing.assert_allclose(read_profile(out), expected, atol=5.1e-9, rtol=0)
    assert read_alignment(saved).names == ("s0", "s2", "s3")
    bits = information_content(expected).mean()
    assert outcome.out.splitlines() == [
        "Found 4 homologues, 3 with at most 50% gaps; kept 2 that differ by at least 20%.",
        f"Wrote the profile of 10 residues to {out}: {bits:.2f} bits of information per residue.",
    ]


def test_profile_from_a_database_is_that_of_its_saved_alignment(tmp_path):
    query = tmp_path / "query.fasta"
    query.write_text("".join(FAMILY.read_text().partition("\n>")[:1]))
    one, other, saved = (tmp_path / name for name in ("one.txt", "other.txt", "saved.a3m"))
    search = ("--database", FAMILY, "--workers", 1, "--bits-per-residue", 0.5)
    outcome = command_line(
        "profile", "--fasta", query, *search, "--out", one, "--save-alignment", saved
    )
    assert outcome.code == 0, outcome.err
    sequence = query.read_text().partition("\n")[2]
    outcome = command_line("profile", "--alignment", saved, "--sequence", sequence, "--out", other)
    assert outcome.code == 0, outcome.err
    assert one.read_bytes() == other.read_bytes()
    assert read_profile(one).shape == (154, 20)
    found = homologues.search_homologues(sequence, FAMILY, bits_per_residue=0.5)
    kept = found.drop_gapped().thin()
    assert 5 < len(kept) < len(found)
    np.testing.assert_allclose(read_profile(one), profile(kept), atol=5.1e-9, rtol=0)


def test_bad_options_are_refused(family, tmp_path):
    out = ("--out", tmp_path / "out.txt")

    def refuse(*options):
        sentence = refused("profile", *out, *options)
        assert not (tmp_path / "out.txt").exists()
        return sentence

    names(refuse("--sequence", "ACDE"), "--alignment", "--database")
    names(refuse("--alignment", family, "--database", FAMILY), "--alignment", "--database")
    names(refuse("--alignment", family, "--workers", 2), "--workers", "--database")
    names(refuse("--database", FAMILY), "--database", "--sequence", "--fasta")
    names(
        refuse("--database", FAMILY, "--sequence", "ACDE", "--fasta", FAMILY),
        "--sequence",
        "--fasta",
    )
    names(refuse("--database", FAMILY, "--fasta", FAMILY), FAMILY, 92)
    names(refuse("--database", tmp_path, "--sequence", "ACDE"), tmp_path, "FASTA")
    names(refuse("--alignment", family, "--sequence", "ACDEFGHIKW"), family, "L", "residue 10", "W")
    names(refuse("--database", FAMILY, "--sequence", "AC1E"), "'1'")
    names(refuse("--alignment", tmp_path / "none.a3m"), tmp_path / "none.a3m")
    nowhere = tmp_path / "none" / "saved.a3m"
    names(refuse("--alignment", family, "--save-alignment", nowhere), nowhere)
    # The last --out counts; that it cannot be written is known before the search.
    for place in (tmp_path, "."):
        names(refuse("--database", FAMILY, "--sequence", "ACDE", "--out", place), place)
    number = ("--bits-per-residue", "nan")
    names(refuse("--database", FAMILY, "--sequence", "ACDE", *number), "score", "nan")

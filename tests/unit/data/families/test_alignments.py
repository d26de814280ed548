"""Alignments: three formats of the same rows, filters against brute force, draws against their distribution."""

import gzip
import math
import os

import numpy as np
import pytest
from scipy.stats import chisquare

from openmm_nemo.data.families.alignments import (
    Alignment,
    AlignmentArrays,
    AlignmentFolder,
    augmented,
    read_alignment,
    read_alignments,
    write_alignment,
)
from openmm_nemo.errors import InputError
from tests.helpers import raises

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def codes(text: str) -> list[int]:
    return [LETTERS.index(letter) if letter in LETTERS else 20 for letter in text]


def alignment(*texts: str) -> Alignment:
    rows = np.array([codes(text) for text in texts], dtype=np.uint8)
    return Alignment(tuple(f"row{i}" for i in range(len(rows))), rows)


def random_alignment(n: int, length: int, seed: int, gaps: float = 0.2) -> Alignment:
    """Relatives of a random query: each row keeps another share of its letters, so that all distances occur."""
    generator = np.random.default_rng(seed)
    query = generator.integers(0, 20, length)
    changed = generator.random((n, length)) < generator.random((n, 1))
    rows = np.where(changed, generator.integers(0, 20, (n, length)), query)
    rows[generator.random((n, length)) < gaps] = 20
    rows[0] = query
    return Alignment(tuple(f"row{i}" for i in range(n)), rows.astype(np.uint8))


# Formats


class Parts:
    """Random rows with insertions: before each of the query's residues and behind the last there may be some."""

    def __init__(self, n: int, length: int, seed: int):
        generator = np.random.default_rng(seed)
        self.matched = [
            "".join(generator.choice(list(LETTERS + "-"), length, p=[0.04] * 20 + [0.2]))
            for _ in range(n)
        ]
        self.matched[0] = self.matched[0].replace("-", "W")
        lengths = generator.integers(0, 4, (n, length + 1)) * (
            generator.random((n, length + 1)) < 0.2
        )
        lengths[0] = 0
        self.inserted = [
            ["".join(generator.choice(list(LETTERS), k)) for k in row] for row in lengths
        ]
        self.widths = lengths.max(axis=0)

    def write(self, row: int, case=str, pad=None, gap="-") -> str:
        """A row; insertions padded with a sign to be aligned column by column."""
        words = []
        for number, insert in enumerate(self.inserted[row]):
            words.append(case(insert) + (pad or "") * (self.widths[number] - len(insert)))
            words.append(self.matched[row][number : number + 1].replace("-", gap))
        return "".join(words)

    def fasta(self, *style: str, **options) -> str:
        rows = range(len(self.matched))
        return "".join(f">s{i} of {i}\n{self.write(i, *style, **options)}\n" for i in rows)

    def stockholm(self) -> str:
        """In blocks of 7 columns, as older programs write it."""
        rows = [self.write(i, str.lower, pad=".") for i in range(len(self.matched))]
        blocks = [
            "".join(f"s{i}   {row[at : at + 7]}\n" for i, row in enumerate(rows))
            for at in range(0, len(rows[0]), 7)
        ]
        return "# STOCKHOLM 1.0\n#=GF ID some\n\n" + "\n".join(blocks) + "//\n"


PARTS = Parts(9, 23, seed=3)
FORMATS = {
    "a3m": PARTS.fasta(str.lower),
    "a3m with comment": "#23\t1\n" + PARTS.fasta(str.lower),
    "a2m": PARTS.fasta(str.lower, pad="."),
    "fasta": PARTS.fasta(pad="-"),
    "fasta with dots": PARTS.fasta(pad=".", gap="."),
    "lower case fasta": PARTS.fasta(str.lower, pad="-").lower().replace(">s", "\n>s"),
    "windows fasta": PARTS.fasta(pad="-").replace("\n", "\r\n"),
    "stockholm": PARTS.stockholm(),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_the_same_alignment_in_each_format(tmp_path, name, zipped):
    assert PARTS.widths.sum() > 5  # else this would test nothing
    path = tmp_path / "file"
    content = FORMATS[name].encode()
    path.write_bytes(gzip.compress(content) if zipped else content)
    found = read_alignment(path, PARTS.matched[0])
    assert found.names == tuple(f"s{i}" for i in range(9))
    np.testing.assert_array_equal(found.rows, [codes(text) for text in PARTS.matched])
    assert found.rows.dtype == np.uint8
    assert found.sequence == PARTS.matched[0]


def test_a3m_whose_query_has_insertions(tmp_path):
    """They are residues of the query, but nothing is aligned to them."""
    path = tmp_path / "file.a3m"
    path.write_text(">q\nACdeF-G\n>s\nA-FyyyWG\n>t\nWWWWW\n")
    found = read_alignment(path)
    assert found.sequence == "ACDEFG"
    np.testing.assert_array_equal(found.rows[1:], [codes("A---FG"), codes("WW--WW")])


def test_dots_of_a3m_may_be_there_or_not(tmp_path):
    path = tmp_path / "file.a3m"
    path.write_text(">q\nA..CDE\n>s\nAyyC-E\n>t\nWWWW\n")
    np.testing.assert_array_equal(read_alignment(path).rows[1:], [codes("AC-E"), codes("WWWW")])


def test_letters_that_are_no_single_amino_acid_are_gaps(tmp_path):
    path = tmp_path / "file.fasta"
    path.write_text(">q\nACDEFGHI\n>s\nXBZUOJ*~\n>t\nxbA--_.C\n")
    np.testing.assert_array_equal(read_alignment(path).rows[1:], [[20] * 8, codes("--A----C")])


def test_annotations_of_hh_suite_are_no_rows(tmp_path):
    path = tmp_path / "file.a3m"
    path.write_text(">ss_pred\nCCHH\n>ss_conf\n9899\n>q\nACDE\n>s\nAkC-E\n")
    found = read_alignment(path)
    assert found.names == ("q", "s")
    np.testing.assert_array_equal(found.rows[1], codes("AC-E"))


def test_headers_may_have_any_signs(tmp_path):
    path = tmp_path / "file.a3m"
    path.write_text(">q a\x0bb\u2028c\x1cd\nACDE\n>s\x01t\nA-CE\n")
    assert read_alignment(path).names == ("q", "s\x01t")


@pytest.mark.parametrize("content", [">q\nACDE\n", "# STOCKHOLM 1.0\nq ACDE\n//\n"])
def test_a_byte_order_mark_does_not_matter(tmp_path, content):
    path = tmp_path / "family"
    path.write_bytes(b"\xef\xbb\xbf" + content.encode())
    assert read_alignment(path).sequence == "ACDE"


def test_sequence_alone_is_an_alignment(tmp_path):
    path = tmp_path / "file.fasta"
    path.write_text(">q\nACD\nEFG\n")
    found = read_alignment(path, "ACDEFG")
    assert (len(found), found.sequence) == (1, "ACDEFG")


BAD = {
    "": ("sequences", "FASTA", "A3M", "Stockholm"),
    "Dear reader\n>q\nACD": (1, ">"),
    ">ss_pred\nCCHH\n": ("sequences", "FASTA"),
    ">q\nAC-DEF\n>s\nACDEF\n": ("row 2", "s", 5, 6, "columns"),
    ">q\nACDEF\n>s\nAC-E\n": ("row 2", "s", 4, 5, "columns"),
    ">q\nACD\n>s\nA1D\n": ("s", "'1'", "position 2"),
    ">q\nACD\n>s\nAéD\n": ("s", "'é'", "position 2"),
    ">q\n---\n>s\nACD\n": ("query", "q", "residues"),
    ">q\n>s\nACD\n": ("query", "q", "residues"),
    ">q\nA-CxD\n>s\nACDEF\n": ("query", "q", "'x'", "residue 3"),
    ">q\nACDWEFG\n": ("W", "residue 4", "E"),
    ">q\nACDE\n": ("residue 5", "F"),
    ">q\nACDEFGHIK\n": ("K", "residue 9"),
    "# STOCKHOLM 1.0\nq AC\n": ("Stockholm",),
    "# STOCKHOLM 1.0\nq AC\ns ACD\n//\n": ("Stockholm",),
    "# STOCKHOLM 1.0\nq AC\n//\n# STOCKHOLM 1.0\nq AC\n//\n": (2, "alignments"),
}


@pytest.mark.parametrize(("content", "facts"), BAD.items())
def test_bad_alignment_is_refused(tmp_path, content, facts):
    path = tmp_path / "bad.a3m"
    path.write_text(content)
    with raises(InputError, "bad.a3m", *facts):
        read_alignment(path, "ACDEFGHI")


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with raises(InputError, tmp_path / "none"):
        read_alignment(tmp_path / "none")
    with raises(InputError, tmp_path):
        read_alignment(tmp_path)
    whole = gzip.compress(FORMATS["a3m"].encode())
    for content in (whole[:-20], whole[:50] + b"\0" * 50 + whole[100:]):
        (tmp_path / "cut.gz").write_bytes(content)
        with raises(InputError, "cut.gz"):
            read_alignment(tmp_path / "cut.gz")


def test_what_is_written_is_read_again(tmp_path):
    written = random_alignment(40, 31, seed=1)
    write_alignment(tmp_path / "file.a3m", written)
    found = read_alignment(tmp_path / "file.a3m", written.sequence)
    assert found.names == written.names
    np.testing.assert_array_equal(found.rows, written.rows)
    assert os.listdir(tmp_path) == ["file.a3m"]
    with raises(InputError, "file.a3m"):
        write_alignment(tmp_path / "none" / "file.a3m", written)


# Distances and filters


def distance(one: str, other: str) -> float:
    """Normalised Hamming distance, letter by letter."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a != "-" and b != "-"]
    return sum(a != b for a, b in pairs) / len(pairs) if pairs else 1.0


def texts(rows: np.ndarray) -> list[str]:
    return ["".join((LETTERS + "-")[code] for code in row) for row in rows]


def test_distances_by_hand():
    some = alignment("ACDEF", "ACDEF", "ACDEW", "A---W", "-----", "WWWWW", "-CWE-")
    np.testing.assert_allclose(some.distances, [0, 0, 1 / 5, 1 / 2, 1, 1, 1 / 3])


def test_rows_with_more_than_half_gaps_are_dropped():
    some = alignment("ACDE", "AC--", "A---", "----", "WWW-")
    assert some.drop_gapped().names == ("row0", "row1", "row4")
    assert some.drop_gapped(0.75).names == ("row0", "row1", "row2", "row4")
    assert some.drop_gapped(0).names == ("row0",)


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.2, 0.5, 0.8, 1.0])
def test_thinned_rows_are_those_of_brute_force(threshold):
    some = random_alignment(150, 20, seed=5)
    rows = texts(some.rows)
    kept: list[int] = []
    for i, row in enumerate(rows):
        if all(distance(row, rows[j]) >= threshold for j in kept):
            kept.append(i)
    assert some.thin(threshold).names == tuple(f"row{i}" for i in kept)
    assert threshold in (0.0, 1.0) or 5 < len(kept) < 148


def test_thinning_keeps_pairs_at_the_threshold_and_its_default_is_80_percent_identity():
    query = "ACDEFGHIKLMNPQRSTVWYACDEF"
    some = alignment(query, "WWWW" + query[4:], "YYYYY" + query[5:])  # at 4/25 and 5/25
    assert some.thin().names == ("row0", "row2")
    query += "G"
    some = alignment(query, "YYYYY" + query[5:])  # at 5/26
    assert some.thin().names == ("row0",)


def test_thinning_tells_how_far_it_is():
    told: list[int] = []
    alignment("ACDE", "ACDE", "WWWW").thin(0.2, told.append)
    assert told == [1, 3]


@pytest.mark.parametrize("n", [255, 256, 65_535, 65_536])
def test_counts_of_long_alignments_do_not_overflow(n):
    some = alignment("A" * n, "C" * (n - 1) + "A", "C" * n)
    np.testing.assert_allclose(some.distances, [0, (n - 1) / n, 1])


# Augmentation


def test_rows_are_drawn_by_their_distance():
    """Chi-square test with p > 1e-4: one false alarm in ten thousand seeds."""
    some = alignment("ACDEFGHIKL", "ACDEFGHIKW", "ACDEFWWWWW", "WWWWWWWWWW", "WYY-------")
    weights = [math.exp(-5 * d) for d in (0, 0.1, 0.5, 1, 1)]
    generator = np.random.default_rng(11)
    n = 20_000
    drawn = [augmented("ACDEFGHIKL", some, generator) for _ in range(n)]
    results = ["ACDEFGHIKL", "ACDEFGHIKW", "ACDEFWWWWW", "WWWWWWWWWW", "WYYEFGHIKL"]
    counts = [drawn.count(result) for result in results]
    assert sum(counts) == n
    assert chisquare(counts, [n * w / sum(weights) for w in weights]).pvalue > 1e-4


def test_gaps_keep_the_letter_of_the_query():
    some = alignment("ACDE", *["-W-Y"] * 50)
    generator = np.random.default_rng(1)
    assert {augmented("ACDE", some, generator) for _ in range(100)} == {"ACDE", "AWDY"}


def test_query_without_relatives_stays():
    assert augmented("ACDE", alignment("ACDE"), np.random.default_rng(1)) == "ACDE"


def test_alignment_of_another_protein_is_refused():
    with raises(InputError, "query", "E", "residue 4", "F"):
        augmented("ACDF", alignment("ACDE"), np.random.default_rng(1))


# Folders


def test_folder_of_alignments(tmp_path):
    one, other = alignment("ACDEF", "AC--W"), alignment("GHIKL")
    write_alignment(tmp_path / "1abc_A.a3m", one)
    write_alignment(tmp_path / "other.fasta", other)
    zipped = gzip.compress((tmp_path / "other.fasta").read_bytes())
    (tmp_path / "2xyz.v2_B.fasta.gz").write_bytes(zipped)
    folder = AlignmentFolder(tmp_path)
    np.testing.assert_array_equal(folder.get("1abc_A", "ACDEF").rows, one.rows)
    np.testing.assert_array_equal(folder.get("2xyz.v2_B", "GHIKL").rows, other.rows)
    assert folder.get("1abc", "ACDEF") is None
    with raises(InputError, "1abc_A.a3m", "F", "residue 5", "W"):
        folder.get("1abc_A", "ACDEW")
    (tmp_path / "other.sto").write_text("")
    with raises(InputError, "other.sto", "other.fasta"):
        folder.get("other", "GHIKL")


def test_folder_without_alignments_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    for folder in (tmp_path, tmp_path / "none"):
        with raises(InputError, folder, "alignments", ".a3m"):
            AlignmentFolder(folder)


# Arrays


def arrays(order: str = LETTERS + "-", **changes) -> dict[str, np.ndarray]:
    """Alignments of three proteins, residue by residue and row by row."""
    texts = {"1abc_A": ("ACDEF", "AC--W"), "one": ("GHI",), "other": ("GHIKL", "WHIKL", "-----")}
    columns = [
        order.index(text[i])
        for rows in texts.values()
        for i in range(len(rows[0]))
        for text in rows
    ]
    values = {
        "id": np.array(list(texts)),
        "length": np.array([len(rows[0]) for rows in texts.values()]),
        "rows": np.array([len(rows) for rows in texts.values()]),
        "letters": np.array(order),
        "alignment": np.array(columns, np.uint8),
    }
    return values | changes


@pytest.mark.parametrize("letters", [LETTERS + "-", "-" + LETTERS[::-1]])
def test_alignments_of_a_file_are_those_of_their_proteins(tmp_path, letters):
    np.savez_compressed(tmp_path / "all.npz", **arrays(letters))
    found = read_alignments(tmp_path / "all.npz")
    for name, expected in (
        ("1abc_A", alignment("ACDEF", "AC--W")),
        ("one", alignment("GHI")),
        ("other", alignment("GHIKL", "WHIKL", "-----")),
    ):
        rows = found.get(name, expected.sequence).rows
        np.testing.assert_array_equal(rows, expected.rows)
        assert rows.dtype == np.uint8
    assert found.get("nobody", "GHIKL") is None
    with pytest.raises(InputError, match=r"one in .*all\.npz has I at residue 3 where .* has W"):
        found.get("one", "GHW")


def test_a_folder_is_read_as_one(tmp_path):
    write_alignment(tmp_path / "one.a3m", alignment("GHI"))
    assert isinstance(read_alignments(tmp_path), AlignmentFolder)
    with pytest.raises(InputError, match="none has no alignments: give a folder"):
        read_alignments(tmp_path / "none")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"letters": np.array("ACD-")}, r"The letters of .*all\.npz are 'ACD-': give ACDEFGHIKLMN"),
        ({"alignment": np.zeros(27, np.uint8)}, r"'alignment' of .* is uint8 of shape \(27,\)"),
        (
            {"alignment": np.full(28, 21, np.uint8)},
            "has codes of 21 or more, or a domain without rows",
        ),
        ({"rows": np.array([2, 1])}, r"'rows' of .* is int64 of shape \(2,\)"),
        ({"id": np.array([object()] * 3)}, "is not a .npz file that can be read to its end"),
    ],
)
def test_files_of_other_arrays_are_refused(tmp_path, changes, complaint):
    np.savez_compressed(tmp_path / "all.npz", **arrays(**changes))
    with pytest.raises(InputError, match=complaint):
        AlignmentArrays(tmp_path / "all.npz")

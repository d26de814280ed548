"""Codes of domains from tables and from the list of a CATH release."""

import numpy as np
import pytest

from openmm_nemo.data.sets.domains import Domain
from openmm_nemo.data.sets.labels import is_cath_code, read_labels, with_labels
from openmm_nemo.errors import InputError
from tests.helpers import raises

# The first lines of the list of CATH 4.3, with its columns, and two domains of one chain.
RELEASE = """\
# FILE NAME:    CathDomainList.v4.3.0
# FILE FORMAT:  Cath Domain List (CDL) Format 2.0
#
1oaiA00     1    10     8    10     1     1     1     1     1    59 1.000
1go5A00     1    10     8    10     1     1     1     1     2    69 999.000
3kdsG01     3    40    50   300     1     1     1     1     2   176 2.600
3kdsG02     1    10     8    60     1     1     1     1     2    73 2.600
3kdsG03     3    40    50   300     1     1     1     1     2   176 2.600
"""


def domain(name: str, **codes: tuple[str, ...]) -> Domain:
    return Domain(name, "GAVL", np.zeros((4, 5, 3), np.float32), "----", tuple("1234"), **codes)


@pytest.fixture
def file(tmp_path):
    def write(text: str, name: str = "labels.csv"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def codes(domains) -> dict[str, tuple]:
    return {found.id: (found.cath, found.scop) for found in domains}


@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_table_replaces_the_codes_of_the_domains_that_it_names(file, separator, mark):
    rows = [
        ("id", "length", "CATH", "scop"),
        ("a", "9", " 1.10.490.10 ", ""),
        ("b", "9", "2.60.40;3.40.50.300 2.60.40", "b.1.1.1 c.37.1"),
        ("c", "", "", ""),
    ]
    text = mark + "\n\n".join(map(separator.join, rows))
    domains = [domain(name, cath=("4.10",), scop=("a.1",)) for name in "abcd"]
    assert codes(with_labels(domains, read_labels(file(text)))) == {
        "a": (("1.10.490.10",), ()),
        "b": (("2.60.40", "3.40.50.300"), ("b.1.1.1", "c.37.1")),
        "c": ((), ()),
        "d": (("4.10",), ("a.1",)),
    }


def test_a_column_that_a_table_lacks_is_left_as_it_was(file):
    domains = [domain("a", cath=("4.10",), scop=("a.1",))]
    found = with_labels(domains, read_labels(file("scop,id\nb.1.1.1,a\n")))
    assert codes(found) == {"a": (("4.10",), ("b.1.1.1",))}


def test_a_release_names_domains_their_files_and_their_chains(file):
    labels = read_labels(file(RELEASE))
    names = ("1oaiA00", "1go5A00_A", "1oai_A", "3kdsG02", "3kdsG03_G", "3kds_G", "3kds_A", "other")
    names += ("pdb1oai_A",)  # of pdb1oai.ent.gz, as the archive names it
    found = with_labels([domain(name, scop=("a.1",)) for name in names], labels)
    assert {name: cath for name, (cath, scop) in codes(found).items() if scop == ("a.1",)} == {
        "1oaiA00": ("1.10.8.10",),
        "1go5A00_A": ("1.10.8.10",),
        "1oai_A": ("1.10.8.10",),
        "3kdsG02": ("1.10.8.60",),
        "3kdsG03_G": ("3.40.50.300",),
        "3kds_G": ("3.40.50.300", "1.10.8.60"),
        "3kds_A": (),
        "other": (),
        "pdb1oai_A": ("1.10.8.10",),
    }


def test_labels_of_unknown_domains_are_refused(file):
    labels = read_labels(file("id,cath\nb,1.10\nz,1.10\na,1.10\ny,1.10\n"))
    with raises(InputError, "labels.csv", 2, "y"):
        with_labels([domain("a"), domain("b")], labels)
    with raises(InputError, "1go5A00"):
        with_labels([domain("a")], read_labels(file(RELEASE)))


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("id,cath\na,1.10\n\nb,1.x\n", ["1.x", "line 4", "CATH"]),
        ("id,cath\na,1.10.490.10.1\n", ["1.10.490.10.1", "line 2", "CATH"]),
        ("id,cath\na,1.10 0.1\n", ["0.1", "line 2"]),
        (
            "id,scop\na,1.1\n",
            ["1.1", "line 2", "SCOP", "a.1.1.2"],
        ),
        ("id,cath\na,1.10\na,1.20\n", ["a", "line 3"]),
        ("id,cath\n,1.10\n", ["id", "line 2"]),
        ("id,cath,scop\na,1.10\n", ["2 columns", "line 2", 3, "header"]),
        ("id,cath\n", ["header", "labels"]),
        ("", ["labels"]),
        ("id,length\na,9\n", ["labels"]),
        ("id,cath,cath\na,1.10,1.20\n", ["2 columns", "cath"]),
        ("id,cath\n" + "a" * 200_000 + ",1.10\n", ["field larger"]),
        (RELEASE + "1abcA0\n", ["four CATH numbers", "line 9"]),
        (RELEASE + "1abcA00 0 10 8 10\n", ["0.10.8.10", "line 9"]),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(file, text, facts):
    with raises(InputError, "labels.csv", *facts):
        read_labels(file(text))


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with raises(InputError, "labels", tmp_path / "none"):
        read_labels(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with raises(InputError, "labels", tmp_path / "binary"):
        read_labels(tmp_path / "binary")


def test_cath_codes_are_one_to_four_numbers():
    good = ("1", "2.60", "3.40.50", "1.10.490.10", "6.10.250.3150")
    bad = (
        "",
        "0",
        "a.1",
        "1.",
        ".1",
        "1..2",
        "1.10.490.10.2",
        "1.10.490.x",
        " 1.10",
        "1.010",
        "1.1\u0661",
    )
    assert all(map(is_cath_code, good))
    assert not any(map(is_cath_code, bad))

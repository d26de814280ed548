"""FASTA files: what is read, and what is named instead."""

import gzip

import pytest

from openmm_nemo.data.fasta import parse_fasta, read_fasta
from openmm_nemo.errors import InputError
from tests.helpers import names, raises

GOOD = """
>sp|P01308|INS_HUMAN Insulin
MALWMRLLPL
LALLALWGPD*
>b

gavlU
>c
GAVLC
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        (tmp_path / "x.fasta").write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / "x.fasta"

    return write


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD.replace("\n", "\r\n"),
        gzip.compress(GOOD.encode()),
        "\ufeff" + GOOD,
        GOOD.rstrip("\n"),
    ],
    ids=["text", "windows", "gzip", "mark", "no end"],
)
def test_records(write, content):
    records, failures = read_fasta(write(content))
    assert failures == []
    assert [record.name for record in records] == ["sp|P01308|INS_HUMAN", "b", "c"]
    assert [record.folder for record in records] == ["sp_P01308_INS_HUMAN", "b", "c"]
    assert [record.sequence for record in records] == ["MALWMRLLPLLALLALWGPD", "GAVLC", "GAVLC"]
    stop, folder = records[0].notes
    names(stop, "'*'", "end")
    names(folder, "sp_P01308_INS_HUMAN")
    names(records[1].notes[0], "selenocysteine", 5, "C")
    names(records[2].notes[0], "same sequence", "b")


@pytest.mark.parametrize(
    ("text", "number", "name", "facts"),
    [
        (">a\nGAVL\n>b\n>c\nGAVL", 2, "b", ["0 residues", 4]),
        (">a\nGAVL\n>b\nGAVX", 2, "b", ["'X'", "position 4"]),
        (">a\nGA\nVB", 1, "a", ["'B'", "position 4"]),
        (">a\nGAVZ", 1, "a", ["'Z'", "position 4"]),
        (">a\nGA-VL", 1, "a", ["gap", "'-'", "position 3"]),
        (">a\nGA.VL", 1, "a", ["gap", "'.'", "position 3"]),
        (">a\nGA*VL", 1, "a", ["'*'", "position 3"]),
        (">a\nGA1VL", 1, "a", ["'1'", "position 3"]),
        (">a\nGAV*", 1, "a", ["3 residues", 4]),
        (">a\nGAVL\n>b\nGAVL\n>a other\nAAAA", 3, "a", ["record 1", "name"]),
        (">a/b\nGAVL\n>a_b\nAAAA", 2, "a_b", ["folder a_b", "a/b"]),
        (">" + 201 * "a" + "\nGAVL", 1, 201 * "a", ["201 bytes", 200]),
    ],
)
def test_a_record_that_cannot_be_used_is_named(write, text, number, name, facts):
    path = write(text)
    records, (failure,) = read_fasta(path)
    assert len(records) == text.count(">") - 1
    assert failure.place == f"Record {number} ({name}) of {path}"
    names(failure.reason, *facts)


def test_all_bad_records_are_found(write):
    path = write(">a\nGAVX\n>\nGAVL\n>b\nGAVL\n>a\nGAVL\n>b\nG-A")
    records, failures = read_fasta(path)
    assert [record.name for record in records] == ["b"]
    assert [failure.place for failure in failures] == [
        f"Record 1 (a) of {path}",
        f"Record 2 of {path}",
        f"Record 4 (a) of {path}",
        f"Record 5 (b) of {path}",
    ]
    names(failures[1].reason, "name")
    names(failures[2].reason, "record 1")
    names(failures[3].reason, "record 3")


@pytest.mark.parametrize("text", ["", "\n\n", "GAVL\n", "# about\n"])
def test_files_without_records_are_refused(write, text):
    path = write(text)
    with raises(InputError, path, "sequences"):
        read_fasta(path)


def test_files_that_cannot_be_read_are_named(tmp_path, write):
    with raises(InputError, tmp_path / "none"):
        read_fasta(tmp_path / "none")
    with raises(InputError, tmp_path):
        read_fasta(tmp_path)
    path = write(gzip.compress(GOOD.encode())[:-9])
    with raises(InputError, path, "end"):
        read_fasta(path)


def test_parsing_keeps_what_is_written():
    assert parse_fasta("#1\n>a x\nAC-\nd e\n>\n", "f") == [("a", "AC-de"), ("", "")]


@pytest.mark.parametrize("first", ["junk", "ACDE", "name one"])
def test_text_before_the_first_record_is_named(tmp_path, first):
    path = tmp_path / "p.fasta"
    path.write_text(f"# comment\n; comment\n{first}\n>a\nACDEFGHI\n")
    with raises(InputError, path, "3", ">"):
        read_fasta(path)
    path.write_text("# comment\n; comment\n\n>a\nACDEFGHI\n")
    records, failures = read_fasta(path)
    assert [(r.name, r.sequence) for r in records] == [("a", "ACDEFGHI")]
    assert not failures


def test_a_folder_is_not_a_file(tmp_path):
    with raises(InputError, tmp_path, "folder"):
        read_fasta(tmp_path)


def test_records_with_colons_are_complexes(write):
    records, failures = read_fasta(write(">a\nGAVL:\nACDE\n>b\nGAVL\n>c\nGAVL::GAVL"))
    assert [record.sequence for record in records] == ["GAVL:ACDE", "GAVL"]
    names(failures[0].reason, "Chain B", "empty")

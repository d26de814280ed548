"""Files that appear when they are complete."""

import os

import numpy as np
import pytest

from openmm_nemo.files import can_name_a_file, completing, file_name_of, write_table


def test_a_file_appears_when_it_is_complete_and_replaces_another(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with completing(path) as partial:
        assert partial.suffix == ".csv"
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_was_given_up_leaves_nothing(tmp_path, error):
    path = tmp_path / "table.csv"

    def give_up(text):
        with completing(path) as partial:
            if text:
                partial.write_text(text)
            raise error

    for text in ("half", ""):
        with pytest.raises(error):
            give_up(text)
    assert os.listdir(tmp_path) == []


def test_what_cannot_take_its_place_leaves_nothing(tmp_path):
    path = tmp_path / "table.csv"
    path.mkdir()
    with pytest.raises(OSError, match="directory"), completing(path) as partial:
        partial.write_text("all")
    assert os.listdir(tmp_path) == ["table.csv"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("1abc_A", "1abc_A"),
        ("sp|P1|X", "sp_P1_X"),
        ("../a", "_._a"),
        ("-n", "_n"),
        ("a b;$(c)", "a_b___c_"),
        ("\N{GREEK SMALL LETTER BETA}2@x+y=1,5", "\N{GREEK SMALL LETTER BETA}2@x+y=1,5"),
        ("\x00\u202e", "__"),
    ],
)
def test_names_become_those_of_files(name, safe):
    assert file_name_of(name) == safe
    assert can_name_a_file(safe)


def test_table_is_written_with_six_digits(tmp_path):
    path = tmp_path / "table.csv"
    write_table(path, ["name", "value"], [("a, b", 1 / 3), (3, np.float64("nan")), (True, "x")])
    assert path.read_bytes() == b'name,value\n"a, b",0.333333\n3,nan\nTrue,x\n'
    assert os.listdir(tmp_path) == ["table.csv"]

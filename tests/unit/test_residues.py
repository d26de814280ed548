"""Sequences as users write them."""

import pytest

from openmm_nemo.errors import InputError
from openmm_nemo.residues import AMINO_ACIDS, check_sequence
from tests.helpers import raises


def test_white_space_and_case_do_not_matter():
    assert check_sequence(" ac de\nFGHiklmn\tPQRSTVWY ") == AMINO_ACIDS


@pytest.mark.parametrize(
    "letter",
    ["X", "x", "-", "1", "\N{LATIN SMALL LETTER SHARP S}", "\N{LATIN SMALL LETTER LONG S}"],
)
def test_other_letters_are_refused(letter):
    """Upper case makes amino acids of some: SS of the sharp s, S of the long one."""
    with raises(InputError, f"'{letter}'", "position 5"):
        check_sequence(f"ACDE{letter}FGH")


def test_short_chains_are_refused():
    assert check_sequence("GAVL") == "GAVL"
    with raises(InputError, "3 residues", 4):
        check_sequence("GAV")

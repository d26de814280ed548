"""Sequences as users write them."""

import pytest

from openmm_nemo.errors import InputError
from openmm_nemo.residues import (
    AMINO_ACIDS,
    Numbering,
    chain_name,
    check_chains,
    check_sequence,
    read_sequence,
    read_sequences,
)
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


def test_rare_amino_acids_are_mapped_and_noted():
    assert read_sequence("aUcO") == (
        "ACCK",
        ("Took U (selenocysteine) at position 2 as C.", "Took O (pyrrolysine) at position 4 as K."),
    )
    assert (
        read_sequence("UUAAO")[1][0] == "Took U (selenocysteine) at 2 positions, the first 1, as C."
    )
    assert read_sequence("ACDE") == ("ACDE", ())
    with pytest.warns(UserWarning, match="selenocysteine"):
        assert check_sequence("AUCC") == "ACCC"


def test_short_chains_are_refused():
    assert check_sequence("GAVL") == "GAVL"
    with raises(InputError, "3 residues", 4):
        check_sequence("GAV")


def test_the_stop_of_a_translated_gene_is_left_out_and_noted():
    sequence, (note,) = read_sequence("GAVL*")
    assert sequence == "GAVL"
    assert "'*'" in note
    with raises(InputError, "'*'", "position 5"):
        read_sequence("GAVL**")


def test_gaps_are_named_as_such():
    for gap in "-.":
        with raises(InputError, "gap", f"'{gap}'", "position 3"):
            read_sequence(f"GA{gap}VL")


# Complexes


def test_chains_are_separated_by_colons():
    assert check_chains("gavl : GGGG\n") == ("GAVL", "GGGG")
    assert check_chains("GAVL") == ("GAVL",)
    with raises(InputError, "chain B", "'X'", "position 2"):
        check_chains("GAVL:GXGG")
    for empty in ("GAVL:", "GAVL::GAVL"):
        with raises(InputError, "chain B", "0 residues"):
            check_chains(empty)
    with raises(InputError, "int"):
        check_chains(5)


def test_names_of_chains_are_letters_then_numbers():
    names = [chain_name(k) for k in range(54)]
    assert (names[0], names[25], names[26], names[51], names[52]) == ("A", "Z", "a", "z", "53")
    assert len(set(names)) == 54


def test_numberings_are_joined_and_divided():
    first, second = Numbering("A", ("5", "6A", "6B")), Numbering("", ("-1", "1"))
    both = Numbering.join([first, second])
    assert both.chain == "A:"
    assert both.numbers == (5, 6, 6, -1, 1)
    assert both.insertion_codes == ("", "A", "B", "", "")
    assert both.chains == (first, second)
    assert Numbering.join([first]) is first
    assert first.chains == (first,)


def test_chains_of_a_complex_are_read_one_by_one_and_named_in_notes_and_refusals():
    assert read_sequences(" gavl : ACDU*") == (
        "GAVL:ACDC",
        (
            "Chain B: Left out the '*' (stop) at the end of the sequence.",
            "Chain B: Took U (selenocysteine) at position 4 as C.",
        ),
    )
    assert read_sequences("gavl") == ("GAVL", ())
    for text, name in (("GAVL::ACDE", "B"), (":GAVL", "A"), ("GAVL:", "B"), ("AC: :GAVL", "B")):
        with raises(InputError, f"Chain {name}", "empty"):
            read_sequences(text)
    with raises(InputError, "Chain B", "'X'", "position 2"):
        read_sequences("GAVL:GXVL")
    with raises(InputError, "Chain C", "2 residues"):
        read_sequences("GAVL:GAVL:AC")

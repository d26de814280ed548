"""What counts as naming a fact, with which all tests of messages are made."""

import pytest

from openmm_nemo.errors import InputError
from tests.helpers import names, raises

MESSAGE = "Chain A of {}/10_chains.pdb has 12 residues and no --profile (shape (10, 20)): give 4.2."


@pytest.fixture
def message(tmp_path):
    return MESSAGE.format(tmp_path)


@pytest.mark.parametrize(
    "fact",
    ["chain A", "10_chains.pdb", 12, "residue", "--profile", "(10, 20)", 4.2, "shape", "A"],
)
def test_facts_are_found(message, fact):
    names(message, fact)


@pytest.mark.parametrize(
    "fact",
    ["chain B", "chains", 1, 2, 4, 10.5, "esidue", "a", "--prof.le", "facts", "pytest", 0.2],
)
def test_parts_of_facts_and_words_of_the_folder_are_none(message, fact):
    """The last ones are in the path of the test's temporary folder."""
    with pytest.raises(AssertionError):
        names(message, fact)


def test_a_file_is_named_by_its_path_or_its_name(message, tmp_path):
    names(message, tmp_path, tmp_path / "10_chains.pdb", "10_chains.pdb")
    with pytest.raises(AssertionError):
        names(message, tmp_path / "chains.pdb")


@pytest.mark.parametrize("text", ["no end", "one\ntwo.", "The profile is bad."])
def test_an_input_error_is_one_sentence_and_names_its_facts(text):
    with pytest.raises(AssertionError), raises(InputError, "chain"):
        raise InputError(text)


def test_another_error_passes_through():
    with pytest.raises(ZeroDivisionError), raises(InputError, "chain"):
        raise ZeroDivisionError

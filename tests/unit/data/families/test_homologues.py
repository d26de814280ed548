"""Search for homologues: globins of the Protein Data Bank among other proteins of their size."""

import gzip
import random
import threading
from pathlib import Path

import numpy as np
import parasail
import pytest
from pyhmmer import jackhmmer
from pyhmmer.easel import Alphabet, SequenceFile, TextSequence

from openmm_nemo.data.families import homologues
from openmm_nemo.data.families.homologues import search_homologues
from openmm_nemo.data.families.profiles import BACKGROUND, information_content, profile
from openmm_nemo.data.fasta import parse_fasta
from openmm_nemo.errors import InputError
from tests.helpers import raises

pytestmark = pytest.mark.integration

FAMILY = Path(__file__).parents[3] / "data" / "globins.fasta"
LETTERS = "ACDEFGHIKLMNPQRSTVWY"

NAMES, SEQUENCES = zip(*parse_fasta(FAMILY.read_text(), FAMILY), strict=True)
PROTEINS = dict(zip(NAMES, SEQUENCES, strict=True))
HEADERS = [line for line in FAMILY.read_text().splitlines() if line.startswith(">")]
GLOBINS = {line[1:].split()[0] for line in HEADERS if "CATH 1.10.490.10;" in line}
MYOGLOBIN = PROTEINS["101m_A"]


def found_in(alignment) -> set[str]:
    """Names of the database in an alignment, whose rows are named NAME/FIRST-LAST."""
    return {name.rpartition("/")[0] for name in alignment.names[1:]}


@pytest.fixture(scope="module")
def globins():
    return search_homologues(MYOGLOBIN, FAMILY, workers=1)


def identity(one: str, other: str) -> float:
    """Of the best local alignment, by Smith and Waterman's algorithm in another package; 0 if it is short."""
    best = parasail.sw_stats(one, other, 11, 1, parasail.blosum62)
    return best.matches / best.length if best.length >= 100 else 0.0


def test_family_is_as_said():
    assert (len(PROTEINS), len(GLOBINS)) == (92, 52)
    assert all(header.endswith("; Protein Data Bank, CC0") for header in HEADERS)


def test_globins_are_found_and_nothing_else(globins):
    found = found_in(globins)
    assert found <= GLOBINS
    assert len(found) >= 40
    near = {name for name in PROTEINS if identity(MYOGLOBIN, PROTEINS[name]) > 0.3}
    assert len(near) == 9
    assert near <= found
    # Haemoglobin, neuroglobin, leghaemoglobin and flavohaemoglobin, at 20 to 27% identity.
    assert {"2hhb_A", "2hhb_B", "1oj6_A", "d2gdma_", "d1cqxa1"} <= found


def test_a_lower_threshold_finds_distant_globins(globins):
    more = found_in(search_homologues(MYOGLOBIN, FAMILY, bits_per_residue=0.1, workers=1))
    assert found_in(globins) < more <= GLOBINS
    # Nematode, trematode and worm globins; the truncated and sensor globins remain undetected.
    assert {"d1asha_", "1h97_A", "2wtg_A", "d1itha_"} <= more


def test_rows_are_the_sequences_that_were_found_in_the_columns_of_the_query(globins):
    assert globins.names[0] == "query"
    assert globins.sequence == MYOGLOBIN
    for name, row in zip(globins.names[1:], globins.rows[1:], strict=True):
        protein, _, part = name.rpartition("/")
        first, last = map(int, part.split("-"))
        letters = "".join(LETTERS[code] for code in row if code < 20)
        rest = iter(PROTEINS[protein][first - 1 : last])
        assert all(letter in rest for letter in letters), name  # a subsequence
        assert len(letters) > 80


@pytest.mark.parametrize("bits_per_residue", [0.3, 0.1, 0.01])
def test_search_is_that_of_jackhmmer(bits_per_residue):
    """HMMER's own loop on a database in memory; at 0.01 bits E-values would refuse what scores take."""
    alphabet = Alphabet.amino()
    query = TextSequence(name="query", sequence=MYOGLOBIN).digitize(alphabet)
    threshold = bits_per_residue * len(MYOGLOBIN)
    bits = dict.fromkeys(("T", "domT", "incT", "incdomT"), threshold)
    with SequenceFile(FAMILY, digital=True, alphabet=alphabet) as file:
        (theirs,) = jackhmmer([query], file.read_block(), max_iterations=5, cpus=1, **bits)
    found = search_homologues(MYOGLOBIN, FAMILY, bits_per_residue=bits_per_residue, workers=1)
    assert found.names == tuple(theirs.msa.names)
    columns = np.array([list(row) for row in theirs.msa.textize().alignment])
    columns = columns[:, columns[0] != "-"]
    ours = np.array(list(LETTERS + "-"))[found.rows]
    np.testing.assert_array_equal(ours, np.char.upper(columns))


def test_nothing_depends_on_threads_blocks_and_compression(globins, tmp_path, monkeypatch):
    zipped = tmp_path / "family"
    zipped.write_bytes(gzip.compress(FAMILY.read_bytes()))
    monkeypatch.setattr(homologues, "BLOCK_SEQUENCES", 7)
    again = search_homologues(MYOGLOBIN, zipped, workers=3)
    assert again.names == globins.names
    np.testing.assert_array_equal(again.rows, globins.rows)


def test_fewer_rounds_find_fewer(globins):
    first = search_homologues(MYOGLOBIN, FAMILY, iterations=1, workers=1)
    assert 5 < len(first) < len(globins)


def test_progress_is_bytes_of_all_rounds(tmp_path):
    told: list[int] = []
    size = FAMILY.stat().st_size
    search_homologues(MYOGLOBIN, FAMILY, iterations=2, workers=1, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 2 * size


def test_sequence_without_relatives_is_alone():
    letters = list(MYOGLOBIN)
    random.Random(5).shuffle(letters)
    alone = search_homologues("".join(letters), FAMILY, name="shuffled", workers=1)
    assert alone.names == ("shuffled",)
    assert alone.sequence == "".join(letters)


# The profile of the family


def test_profile_of_globins_has_what_all_globins_have(globins):
    """The histidine that binds the haem's iron (F8, 93 of myoglobin) and the phenylalanine at CD1 (43) are in all
    globins, the proline at C2 (37) in nearly all. Residue 0 here is the methionine before residue 1.
    """
    p = profile(globins)
    assert (MYOGLOBIN[93], MYOGLOBIN[43], MYOGLOBIN[37]) == ("H", "F", "P")
    bits = information_content(p)
    assert set(np.argsort(-bits)[:2]) == {43, 93}
    assert 37 in np.argsort(-bits)[:5]
    assert p[93].argmax() == LETTERS.index("H")
    assert p[43].argmax() == LETTERS.index("F")


def test_profile_of_globins_is_the_formula(globins):
    p = profile(globins)
    for position in range(len(MYOGLOBIN)):
        letters = [row[position] for row in globins.rows.tolist()]
        counts = [10 + letters.count(code) for code in range(20)]
        for code in range(20):
            m = counts[code] / sum(counts)
            b = float(BACKGROUND[code])
            expected = 1 / (1 + b / m)
            assert abs(p[position, code] - expected) < 1e-14


# What cannot be searched


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (b"", ["empty"]),
        (b"Dear reader", []),
        (b">a\nAC1D\n", ["amino acids"]),
        (b">a\nACDE\n" * 100 + b">b\nA\xff\xfe", ["amino acids"]),
        (gzip.compress(FAMILY.read_bytes())[:-3000], ["compressed"]),
        (gzip.compress(FAMILY.read_bytes())[:200] + b"x" * 5000, ["decompressing"]),
    ],
    ids=["empty", "text", "digit", "binary", "cut", "damaged"],
)
def test_bad_database_is_refused(tmp_path, content, facts, workers):
    path = tmp_path / "bad.fasta"
    path.write_bytes(content)
    before = threading.active_count()
    with raises(InputError, path, "FASTA", *facts):
        search_homologues(MYOGLOBIN, path, workers=workers)
    assert threading.active_count() == before


def test_database_that_is_not_there_is_refused(tmp_path):
    with raises(InputError, tmp_path / "none"):
        search_homologues(MYOGLOBIN, tmp_path / "none")
    with raises(InputError, tmp_path):
        search_homologues(MYOGLOBIN, tmp_path)


def test_bad_query_is_refused():
    with raises(InputError, "'X'", "position 4"):
        search_homologues("ACDX", FAMILY)
    with raises(InputError, "iterations", 0, 1):
        search_homologues("ACDE", FAMILY, iterations=0)


def test_threads_stop_when_the_caller_does(monkeypatch):
    """An interrupt does not wait for the rest of the database."""
    monkeypatch.setattr(homologues, "BLOCK_SEQUENCES", 1)
    told: list[int] = []

    def interrupt(count):
        told.append(count)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_homologues(MYOGLOBIN, FAMILY, workers=2, progress=interrupt)
    assert len(told) < 20

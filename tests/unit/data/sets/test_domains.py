"""Domains, their secondary structure, JSON lines and sets on disk."""

import gzip
import hashlib
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from openmm_nemo.data import read_structure
from openmm_nemo.data.failures import Failure
from openmm_nemo.data.sets.domains import DSSP_CLASSES, Domain, domain_of, secondary_structure
from openmm_nemo.data.sets.json_lines import read_json_lines
from openmm_nemo.data.sets.storage import DomainSet, write_domains
from openmm_nemo.errors import InputError
from tests.helpers import names, raises

TRP_CAGE = "examples/data/1l2y.pdb"

# Of the first model: helix of residues 2-8, 3-10 helix of 11-14 (Neidigh et al., Nat. Struct. Biol. 9, 425, 2002).
TRP_CAGE_DSSP = "-HHHHHHHTTGGGGT-----"


def domain(name="d1", n=7, seed=0, **options) -> Domain:
    backbone = np.random.default_rng(seed).normal(size=(5, n, 3)).astype(np.float32)
    options = {"residue_ids": tuple(map(str, range(n))), "dssp": "H" * n} | options
    # Not contiguous, as after a transposition.
    return Domain(name, "ACDEFGHIKL"[:n], backbone.transpose(1, 0, 2), **options)


def assert_same(first: Domain, second: Domain) -> None:
    np.testing.assert_array_equal(first.backbone, second.backbone)
    for name in ("id", "sequence", "dssp", "residue_ids", "breaks", "cath", "scop"):
        assert getattr(first, name) == getattr(second, name)


# Domains


def test_a_structure_is_a_domain_with_the_secondary_structure_of_dssp():
    structure = read_structure(TRP_CAGE)
    cage = domain_of(structure)
    assert cage.id == "1l2y_A"
    assert cage.sequence == "NLYIQWLKDGGPSSGRPPPS"
    assert cage.dssp == TRP_CAGE_DSSP
    np.testing.assert_allclose(cage.ca, structure.ca, rtol=0, atol=1e-5)


def test_secondary_structure_is_coil_where_atoms_are_missing():
    structure = read_structure(TRP_CAGE)
    backbone = structure.backbone.copy()
    backbone[12, 3] = np.nan
    found = secondary_structure(structure.sequence, backbone)
    assert len(found) == 20
    assert found[12] == "-" != TRP_CAGE_DSSP[12]
    assert found[:8] == TRP_CAGE_DSSP[:8]
    assert set(found) <= set(DSSP_CLASSES)
    assert secondary_structure("GAVL", np.full((4, 5, 3), np.nan)) == "----"


@pytest.mark.parametrize("cut", range(3, 16))
def test_secondary_structure_does_not_reach_over_a_break(cut):
    """The Trp-cage has no hydrogen bonds but those of its helices: its halves are what they are alone."""
    cage = read_structure(TRP_CAGE)
    whole = secondary_structure(cage.sequence, cage.backbone, (cut - 1,))
    halves = (slice(cut), slice(cut, None))
    alone = [secondary_structure(cage.sequence[half], cage.backbone[half]) for half in halves]
    assert whole == "".join(alone)
    assert whole != TRP_CAGE_DSSP


def test_parts_of_a_domain_have_its_length():
    with raises(InputError, "d1", 7, "(7, 6, 7)"):
        domain(dssp="H" * 6)


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "a/b", "a\\b", "a\nb", "a\0b", "\ud800"])
def test_ids_that_cannot_name_a_file_are_refused(name):
    with raises(InputError, "id"):
        domain(name)


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"sequence": "ACDEFGX"}, ["residues"]),
        ({"dssp": "HHHHHHX"}, ["dssp"]),
        ({"backbone": np.zeros((7, 4, 3))}, ["backbone", "(7, 4, 3)"]),
        ({"backbone": np.zeros((7, 5, 2))}, ["backbone", "(7, 5, 2)"]),
        ({"backbone": np.full((7, 5, 3), np.inf)}, ["infinite"]),
        ({"backbone": np.full((7, 5, 3), np.nan)}, ["CA"]),
        ({"residue_ids": ("1", "2 A", *"34567")}, ["residue_ids", "spaces"]),
        ({"residue_ids": ("1", "", *"34567")}, ["residue_ids", "empty"]),
        ({"breaks": (-1,)}, ["breaks", "(-1,)", 0, 5]),
        ({"breaks": (6,)}, ["breaks", "(6,)", 0, 5]),
    ],
)
def test_domains_that_a_set_could_not_give_back_are_refused(changes, facts):
    with raises(InputError, "d1", *facts):
        replace(domain(), **changes)


def test_a_window_is_a_part_of_the_domain():
    whole = domain(n=9, breaks=(1, 4, 6), cath=("1.10.8.10",))
    part = whole.window(2, 5)
    assert (part.sequence, part.residue_ids) == ("DEFGH", ("2", "3", "4", "5", "6"))
    assert part.breaks == (2,)
    assert part.cath == whole.cath
    np.testing.assert_array_equal(part.backbone, whole.backbone[2:7])


def test_segments_are_the_parts_between_breaks():
    assert domain(n=9, breaks=(6, 1)).segments.tolist() == [[0, 2], [2, 7], [7, 9]]
    assert domain(n=9).segments.tolist() == [[0, 9]]


# Sets


@pytest.fixture
def domains() -> list[Domain]:
    missing = domain("b", 4, seed=1, breaks=(2,), residue_ids=("1", "1A", "2", "-3"))
    missing.backbone[2, 4] = np.nan
    return [domain("a", cath=("1.10.8.10", "2.40.50.140")), missing, domain("ü", 5, scop=("a.1",))]


def test_a_set_gives_back_what_was_written(tmp_path, domains):
    path = tmp_path / "set.safetensors"
    write_domains(path, iter(domains))
    found = DomainSet(path)
    assert len(found) == 3
    assert found.ids == ("a", "b", "ü")
    assert found.lengths.tolist() == [7, 4, 5]
    for first, second in zip(found, domains, strict=True):
        assert_same(first, second)
    assert_same(found[-1], domains[-1])
    assert [d.id for d in found[1:]] == ["b", "ü"]
    assert_same(found.find("b"), domains[1])
    assert os.listdir(tmp_path) == ["set.safetensors"]
    with pytest.raises(IndexError):
        found[3]
    with raises(InputError, "c"):
        found.find("c")


def test_a_set_of_version_2_is_read(tmp_path, domains):
    """As it was written before sets had profiles."""
    keys = ("id", "cath", "scop", "cluster")
    records = [
        {key: getattr(d, key) for key in keys} | {"residue_ids": " ".join(d.residue_ids)}
        for d in domains
    ]
    texts = {
        "sequence": "".join(d.sequence for d in domains),
        "dssp": "".join(d.dssp for d in domains),
        "records": json.dumps(records),
    }
    letters = {name: np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()}
    breaks = np.concatenate([np.isin(np.arange(len(d)), d.breaks) for d in domains])
    tensors = {
        "offset": np.cumsum([0, *map(len, domains)]),
        "backbone": np.ascontiguousarray(np.concatenate([d.backbone for d in domains])),
        "sequence": letters["sequence"],
        "dssp": letters["dssp"],
        "break": breaks,
        "records": letters["records"],
    }
    digest = hashlib.sha256()
    for name, array in tensors.items():
        digest.update(f"{name} {array.dtype} {array.shape} ".encode() + array.tobytes())
    metadata = {"format": "openmm_nemo domains", "version": "2", "sha256": digest.hexdigest()}
    save_file(tensors, tmp_path / "old.safetensors", metadata)
    for first, second in zip(DomainSet(tmp_path / "old.safetensors"), domains, strict=True):
        assert_same(first, second)
        assert (first.cath_source, first.near_held_out, first.same_as) == ("", False, "")
        assert first.profiles == {}
    metadata["version"] = "4"
    save_file(tensors, tmp_path / "new.safetensors", metadata)
    with pytest.raises(InputError, match="was written by another version of openmm_nemo: build it"):
        DomainSet(tmp_path / "new.safetensors")


@pytest.mark.parametrize("place", [0.3, 0.9, 0.999])
def test_a_set_that_was_damaged_is_refused(tmp_path, domains, place):
    path = tmp_path / "set.safetensors"
    write_domains(path, domains)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    with raises(InputError, path):
        DomainSet(path)


@pytest.mark.parametrize("size", [0, 5, 100, 500, -1])
def test_a_set_that_was_cut_short_is_refused(tmp_path, domains, size):
    path = tmp_path / "set.safetensors"
    write_domains(path, domains)
    path.write_bytes(path.read_bytes()[:size])
    with raises(InputError, path):
        DomainSet(path)


def test_files_that_are_no_sets_are_refused(tmp_path):
    with raises(InputError, "none.safetensors"):
        DomainSet(tmp_path / "none.safetensors")
    with raises(InputError, "nemo-tiny/model.safetensors", "set of domains"):
        DomainSet("torchscript_models/nemo-tiny/model.safetensors")


def test_empty_sets_and_equal_names_are_refused_and_leave_nothing(tmp_path, domains):
    path = tmp_path / "set.safetensors"
    with raises(InputError, "domains"):
        write_domains(path, [])
    with raises(InputError, "named", "a"):
        write_domains(path, [*domains, domain("a")])
    assert os.listdir(tmp_path) == []


def test_a_set_that_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, domains):
    with raises(InputError, tmp_path / "none" / "set.safetensors"):
        write_domains(tmp_path / "none" / "set.safetensors", domains)
    path = tmp_path / "set.safetensors"
    path.mkdir()
    with raises(InputError, path):
        write_domains(path, domains)
    assert os.listdir(tmp_path) == ["set.safetensors"]


# JSON lines


ATOMS = ("N", "CA", "C", "O", "SC")


def as_json(d: Domain, **changes) -> str:
    atoms = {name: d.backbone[:, k].tolist() for k, name in enumerate(ATOMS)}
    values = {"id": d.id, "seq": d.sequence, "ss8": d.dssp, "resnum": list(d.residue_ids)} | atoms
    values["chain_breaks"] = list(d.breaks)
    return json.dumps(values | changes)


@pytest.mark.parametrize("zipped", [False, True])
def test_json_lines_are_read(tmp_path, zipped):
    path = tmp_path / "domains.jsonl"
    first, second = domain("a", cath=("1.10.8.10",)), domain("b", 4, scop=("a.1.1.2",))
    text = as_json(first, cath=first.cath) + "\n\n" + as_json(second, cath=None, scop=second.scop)
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    found = list(read_json_lines(path))
    assert_same(found[0], first)
    assert_same(found[1], second)


def test_what_json_lacks_is_computed(tmp_path):
    cage = domain_of(read_structure(TRP_CAGE))
    values = json.loads(as_json(cage))
    del values["ss8"], values["resnum"], values["chain_breaks"]
    path = tmp_path / "domains.jsonl"
    path.write_text(json.dumps(values))
    (found,) = read_json_lines(path)
    assert found.dssp == TRP_CAGE_DSSP
    assert found.residue_ids == tuple(map(str, range(1, 21)))
    assert found.breaks == ()


def test_breaks_that_json_does_not_give_are_where_neighbours_are_too_far_apart(tmp_path):
    cage = domain_of(read_structure(TRP_CAGE))
    cage.backbone[9:] += [0, 0, 20]
    values = json.loads(as_json(cage))
    del values["chain_breaks"]
    path = tmp_path / "domains.jsonl"
    path.write_text(json.dumps(values))
    (found,) = read_json_lines(path)
    assert found.breaks == (8,)


def test_a_bad_line_does_not_stop_the_others(tmp_path):
    good = domain("good")
    lines = [
        "{",
        '{"id": "x"}',
        as_json(good, seq="ACDEFGX"),
        as_json(good, CA=[None] * 7),
        as_json(good, N=[[0, 0, 0]]),
        as_json(good),
    ]
    path = tmp_path / "domains.jsonl"
    path.write_text("\n".join(lines))
    *bad, last = read_json_lines(path)
    assert_same(last, good)
    assert all(isinstance(failure, Failure) for failure in bad)
    assert [failure.place for failure in bad] == [f"line {i} of {path}" for i in range(1, 6)]
    names(bad[1].reason, "'seq'")
    names(bad[2].reason, "'X'", "position 7")
    names(bad[3].reason, "CA")


GOOD = domain("good")


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ("null", ["JSON object"]),
        ('"id seq N CA C O SC"', ["JSON object"]),
        ("[" * 100_000, ["nested"]),
        ('{"id": "\xe9"}', ["utf-8"]),
        ({"id": None}, ["'id'"]),
        ({"id": [1]}, ["'id'", "string"]),
        ({"id": "a/b"}, ["a/b", "file"]),
        ({"seq": list("ACDEFGH")}, ["'seq'", "string"]),
        ({"ss8": list("HHHHHHH")}, ["'ss8'", "string"]),
        ({"ss8": "HHH"}, [7, 3, "'ss8'"]),
        ({"ss8": "XXXXXXX"}, ["dssp"]),
        ({"resnum": "1234567"}, ["'resnum'", "list"]),
        ({"resnum": [1, 2]}, [7, 2, "'resnum'"]),
        ({"resnum": [None] * 7}, ["'resnum'", "numbers", "strings"]),
        ({"resnum": ["1 A", *"234567"]}, ["residue_ids", "spaces"]),
        ({"chain_breaks": "12"}, ["'chain_breaks'", "list"]),
        ({"chain_breaks": [1.5]}, ["'chain_breaks'", "whole numbers"]),
        ({"chain_breaks": [99]}, ["breaks", "(99,)"]),
        ({"cath": "1.10.8.10"}, ["'cath'", "list"]),
        ({"cath": ["a.1.1.2"]}, ["'cath'", "a.1.1.2", "code"]),
        ({"scop": [1]}, ["'scop'", 1, "code"]),
        ({"c30": ["x"]}, ["'c30'", "string"]),
        ({"N": 5}, ["'N'", "list"]),
        ({"N": [[0, 0, 0]]}, [7, 1, "'N'"]),
        ({"N": [[0, 0, 0]] * 6 + [[0, 0]]}, ["'N'", "three coordinates"]),
        ({"N": [["a", "b", "c"]] * 7}, ["'N'", "three coordinates"]),
        ({"N": [[10**400, 0, 0]] * 7}, ["'N'", "three coordinates"]),
        ({"N": [[1e300, 0, 0]] * 7}, ["'N'", "finite"]),
        ({"CA": [[float("nan")] * 3] * 7}, ["CA"]),
        ({name: [[0, 0]] * 7 for name in ATOMS}, ["'N'", "three coordinates"]),
    ],
)
def test_lines_of_wrong_types_and_shapes_are_told_and_the_next_is_read(tmp_path, line, facts):
    text = line if isinstance(line, str) else as_json(GOOD, **line)
    path = tmp_path / "domains.jsonl"
    path.write_bytes(text.encode("latin-1") + b"\n" + as_json(GOOD).encode())
    bad, last = read_json_lines(path)
    names(bad.reason, *facts)
    assert_same(last, GOOD)


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path):
    path = tmp_path / "domains.jsonl"
    path.write_bytes(f"\ufeff{as_json(GOOD)}\r\n\r\n".encode())
    (found,) = read_json_lines(path)
    assert_same(found, GOOD)


def test_names_of_domains_and_clusters_may_be_numbers(tmp_path):
    path = tmp_path / "domains.jsonl"
    path.write_text(as_json(GOOD, id=7, c30=0, resnum=list(range(7))))
    (found,) = read_json_lines(path)
    assert (found.id, found.cluster, found.residue_ids[6]) == ("7", "0", "6")


def test_a_file_that_is_cut_short_is_told(tmp_path):
    path = tmp_path / "domains.jsonl.gz"
    path.write_bytes(gzip.compress(as_json(domain()).encode())[:-20])
    with raises(InputError, path):
        list(read_json_lines(path))
    with raises(InputError, "none.jsonl"):
        list(read_json_lines(tmp_path / "none.jsonl"))


def test_a_zipped_file_with_a_wrong_byte_is_refused_wherever_it_is(tmp_path):
    """zlib has errors of its own for some of them."""
    path = tmp_path / "domains.jsonl.gz"
    content = gzip.compress(as_json(domain()).encode(), mtime=0)
    for place in range(10, len(content), 5):  # of the ten before it, some mean nothing
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with raises(InputError, path):
            list(read_json_lines(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with raises(InputError, "pipe.jsonl"):
        list(read_json_lines(tmp_path / "pipe.jsonl"))

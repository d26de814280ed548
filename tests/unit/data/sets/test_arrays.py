"""Structures, profiles and alignments as numpy arrays: what is read, what a build makes of them, what is refused."""

import csv
import json
import os
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openmm_nemo.data.families.profiles import profile_from_frequencies
from openmm_nemo.data.sets import arrays, building
from openmm_nemo.data.sets.building import build_set, plan_of
from openmm_nemo.data.sets.domains import Domain, profiles_of
from openmm_nemo.data.sets.labels import read_labels
from openmm_nemo.data.sets.storage import DomainSet, write_domains
from openmm_nemo.errors import InputError
from openmm_nemo.residues import AMINO_ACIDS
from tests.helpers import command_line

LENGTHS = (12, 7, 9)
IDS = ("1abc_A", "1abc_B", "2xyz_A_3-11")


def rows_of(*lengths: int, seed: int = 0, width: int = 20) -> np.ndarray:
    """Random square roots of frequencies, uint8."""
    random = np.random.default_rng(seed)
    return random.integers(1, 256, (sum(lengths), width)).astype(np.uint8)


def structures(**changes) -> dict[str, np.ndarray]:
    """Arrays of three pieces: chains of steps of 3.8 Angstrom."""
    random = np.random.default_rng(1)
    n = sum(LENGTHS)
    steps = random.normal(size=(n, 3))
    steps *= 380 / np.linalg.norm(steps, axis=1, keepdims=True)
    values = {
        "id": np.array(IDS),
        "length": np.array(LENGTHS, np.int32),
        "seq": np.frombuffer((b"ACDEFGHIKLMNPQRSTVWYACDEFGHI"), np.uint8),
        "ss8": np.frombuffer(("H" * 12 + "-" * 7 + "E" * 9).encode(), np.uint8),
        "dca": steps.round().astype(np.int16),
        "rel": random.integers(-150, 150, (n, 3, 3)).astype(np.int16),
        "start": np.array([1, -2, 3], np.int32),
        "c30": np.array(["x", "y", "x"]),
        "same_as": np.array(["", "", ""]),
        "cath": np.array(["", "1.10.8;2.40.50", "3.40.50.300"]),
        "cath_src": np.array(["", "structure", "seq"]),
        "near_held_out": np.array([False, True, False]),
    }
    return values | changes


def profiles(seed: int = 0, **changes) -> dict[str, np.ndarray]:
    values = {
        "id": np.array(IDS),
        "length": np.array(LENGTHS, np.int32),
        "columns": np.array(AMINO_ACIDS),
        "profile": rows_of(*LENGTHS, seed=seed),
    }
    return values | changes


def write(path: Path, values: dict[str, np.ndarray], *without: str) -> Path:
    np.savez_compressed(path, **{name: v for name, v in values.items() if name not in without})
    return path


def domains_of(folder: Path) -> dict[str, Domain]:
    return {domain.id: domain for domain in DomainSet(folder / "domains.safetensors")}


@pytest.fixture
def inputs(tmp_path) -> list[Path]:
    """Three pieces with their profiles, and JSON lines of two domains with profiles in a file of their own."""
    folder = tmp_path / "in"
    folder.mkdir()
    lines = []
    for name, sequence in (("one", "GAVL"), ("two", "GAVLI"), ("three", "GAV" + "L" * 3)):
        n = len(sequence)
        atoms = dict.fromkeys(("N", "CA", "C", "O", "SC"), np.eye(n, 3).tolist())
        lines.append({"id": name, "seq": sequence, "ss8": "-" * n, "c30": "old"} | atoms)
    (folder / "domains.jsonl").write_text("\n".join(map(json.dumps, lines)))
    deep = rows_of(4, 5, 6, seed=5)
    deep[4:9] = 0  # the second has none
    values = {
        "id": np.array(["one", "two", "three"]),
        "length": np.array([4, 5, 6]),
        "columns": np.array(AMINO_ACIDS + "-"),
        "deep": deep,
        "own": rows_of(4, 5, 6, seed=6, width=21),
        "c30": np.array(["x", "new", ""]),
    }
    return [
        write(folder / "domain_profiles.npz", values),
        folder / "domains.jsonl",
        write(folder / "pieces_profiles.npz", profiles()),
        write(folder / "pieces_structures.npz", structures()),
    ]


# What is read


def test_coordinates_are_sums_of_the_differences(tmp_path):
    values = structures()
    path = write(tmp_path / "s.npz", values)
    found = list(arrays.read_structures(path))
    assert [domain.id for domain in found] == list(IDS)
    start = 0
    for domain, n in zip(found, LENGTHS, strict=True):
        ca = np.zeros(3)
        for i in range(n):  # residue by residue, as the format says
            ca = ca + values["dca"][start + i] * 0.01
            np.testing.assert_allclose(domain.ca[i], ca, atol=1e-4)
            for k, atom in enumerate((0, 2, 3)):
                expected = ca + values["rel"][start + i, k] * 0.01
                np.testing.assert_allclose(domain.backbone[i, atom], expected, atol=1e-4)
        assert np.isnan(domain.backbone[:, 4]).all()
        start += n


def test_everything_else_is_taken_as_it_is(tmp_path):
    first, second, third = arrays.read_structures(write(tmp_path / "s.npz", structures()))
    assert (first.sequence, second.sequence, third.sequence) == (
        "ACDEFGHIKLMN",
        "PQRSTVW",
        "YACDEFGHI",
    )
    assert (first.dssp, second.dssp) == ("H" * 12, "-" * 7)
    assert second.residue_ids == ("-2", "-1", "0", "1", "2", "3", "4")
    assert [domain.cluster for domain in (first, second, third)] == ["x", "y", "x"]
    assert (first.cath, first.cath_source) == ((), "none")
    assert (second.cath, second.cath_source) == (("1.10.8", "2.40.50"), "structure")
    assert (third.cath, third.cath_source) == (("3.40.50.300",), "seq")
    assert [domain.near_held_out for domain in (first, second, third)] == [False, True, False]
    assert first.breaks == ()
    assert first.profiles == {}


def test_only_coordinates_and_sequences_are_needed(tmp_path):
    needed = ("id", "length", "seq", "dca", "rel")
    values = structures()
    values["dca"][5] = [900, 0, 0]  # a break
    path = write(tmp_path / "s.npz", {name: values[name] for name in needed})
    domain = next(arrays.read_structures(path))
    assert domain.breaks == (4,)
    assert len(domain.dssp) == 12
    assert domain.residue_ids[0] == "1"
    assert (domain.cath, domain.cath_source, domain.cluster, domain.same_as) == ((), "", "", "")


def test_profiles_are_squares_that_add_up_to_one(tmp_path, inputs):
    build_set(inputs, tmp_path / "set", 1)
    domain = domains_of(tmp_path / "set")["1abc_B"]
    rows = (profiles()["profile"][12:19] / 255.0) ** 2
    expected = rows / rows.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(domain.profiles["deep"].frequencies, expected, atol=1e-6)
    entropy = -(expected * np.log(expected)).sum(axis=1)
    assert domain.profiles["deep"].neff == pytest.approx(np.exp(entropy.mean()), rel=1e-5)
    found = profiles_of([domain], "deep")["1abc_B"]
    np.testing.assert_allclose(found, profile_from_frequencies(expected), atol=1e-6)
    assert profiles_of([domain], "own") == {}


def test_columns_may_be_in_any_order(tmp_path):
    order = np.random.default_rng(3).permutation(20)
    letters = "".join(AMINO_ACIDS[i] for i in order)
    mixed = profiles(columns=np.array(letters), profile=profiles()["profile"][:, order])
    path = write(tmp_path / "p.npz", mixed)
    record = arrays.read_profile_records(path)["2xyz_A_3-11"]
    np.testing.assert_array_equal(record.profiles["deep"].roots, profiles()["profile"][19:])


# Builds


def test_profiles_go_to_the_pieces_and_domains_that_they_are_of(tmp_path, inputs):
    built = build_set(inputs, tmp_path / "set", 1)
    assert built.failures == []
    assert built.n_profiles == {"deep": 5, "own": 3}
    found = domains_of(tmp_path / "set")
    assert list(found) == ["one", "two", "three", *IDS]
    kinds = {name: list(domain.profiles) for name, domain in found.items()}
    assert kinds == {name: ["deep"] for name in IDS} | {
        "one": ["deep", "own"],
        "two": ["own"],
        "three": ["deep", "own"],
    }
    np.testing.assert_array_equal(
        found["three"].profiles["own"].roots, rows_of(4, 5, 6, seed=6, width=21)[9:, :20]
    )
    # New clusters, which pieces and domains have in common, where the file has them.
    clusters = {name: found[name].cluster for name in ("one", "two", "three")}
    assert clusters == {"one": "x", "two": "new", "three": "old"}


def test_a_profile_of_a_piece_is_not_that_of_a_domain_with_its_id(tmp_path, inputs):
    """As in the real data: a chain that has other residues in two sources."""
    lines = inputs[1].read_text().replace('"one"', '"1abc_A"').replace('"two"', '"2abc_A"')
    inputs[1].write_text(lines)
    built = build_set(inputs, tmp_path / "set", 1)
    found = domains_of(tmp_path / "set")
    assert found["1abc_A"].sequence == "GAVL"
    assert found["1abc_A"].profiles == {}
    reasons = [failure.reason for failure in built.failures]
    assert "another file also has 1abc_A and was taken" in reasons
    assert "2 of its 3 profiles belong to no domain, such as one" in reasons


def test_profiles_of_other_files_are_not_those_of_pieces(tmp_path, inputs):
    """Not even of one with their id and length."""
    with np.load(inputs[0]) as file:
        values = dict(file)
    values["id"] = np.array(["one", "two", "1abc_B"])
    values["length"] = np.array([4, 4, 7])
    write(inputs[0], values)
    lines = inputs[1].read_text().splitlines()
    inputs[1].write_text(lines[0])
    built = build_set(inputs, tmp_path / "set", 1)
    found = domains_of(tmp_path / "set")
    assert found["1abc_B"].cluster == "y"
    assert list(found["1abc_B"].profiles) == ["deep"]
    assert [failure.reason for failure in built.failures] == [
        "2 of its 3 profiles belong to no domain, such as 1abc_B"
    ]


def test_codes_of_a_table_are_the_domains_own(tmp_path, inputs):
    labels = tmp_path / "labels.csv"
    labels.write_text("id,cath\n1abc_B,1.10.8.10\n1abc_A,3.40.50.300\none,\n")
    build_set(inputs, tmp_path / "set", 1, labels=read_labels(labels))
    found = domains_of(tmp_path / "set")
    sources = {name: (found[name].cath, found[name].cath_source) for name in IDS}
    assert sources == {
        "1abc_A": (("3.40.50.300",), ""),
        "1abc_B": (("1.10.8.10",), ""),
        "2xyz_A_3-11": (("3.40.50.300",), "seq"),
    }


def test_what_equals_a_domain_of_the_set_is_not_taken(tmp_path, inputs):
    """In whatever order the files come; and it stays if the other is not there."""
    same = np.array(["two", "", "somebody"])
    write(inputs[3], structures(same_as=same, id=np.array(["two", *IDS[1:]])))
    write(inputs[2], profiles(id=np.array(["two", *IDS[1:]])))
    for number, order in enumerate((inputs, inputs[::-1])):
        out = tmp_path / f"set{number}"
        built = build_set(order, out, 1)
        assert [failure.reason for failure in built.failures] == [
            "two is the same as two, which was taken"
        ]
        found = domains_of(out)
        assert sorted(found) == sorted(["one", "two", "three", *IDS[1:]])
        assert found["two"].sequence == "GAVLI"
        assert list(found["two"].profiles) == ["own"]
        assert found["2xyz_A_3-11"].same_as == "somebody"


def test_a_profile_of_another_length_is_told_and_not_taken(tmp_path, inputs):
    lines = inputs[1].read_text().replace('"one"', '"x"').replace('"two"', '"one"')
    inputs[1].write_text(lines)
    built = build_set(inputs, tmp_path / "set", 1)
    reasons = [failure.reason for failure in built.failures]
    assert "one has 5 residues and a profile of 4" in reasons
    assert domains_of(tmp_path / "set")["one"].profiles == {}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_large_file_is_read_in_parts_that_an_interruption_keeps(
    tmp_path, inputs, monkeypatch, workers
):
    whole = build_set(inputs, tmp_path / "whole", 1)
    monkeypatch.setattr(building, "CHUNK", 2)
    tasks, loose = plan_of(inputs)
    assert [task[1:] for task in tasks] == [(0, None, None), (0, 2, inputs[2]), (2, 4, inputs[2])]
    assert loose == [inputs[0]]
    read = arrays.read_structures

    def interrupted(path, first, *others):
        if first == 2:
            raise KeyboardInterrupt
        return read(path, first, *others)

    with monkeypatch.context() as patch:
        patch.setattr(arrays, "read_structures", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_set(inputs, tmp_path / "set", 1)
    told: list[int] = []
    assert build_set(inputs, tmp_path / "set", workers, told.append) == whole
    assert (told[0], told[-1]) == (2, 3)
    for name in whole_set(tmp_path):
        first, second = (domains_of(tmp_path / part)[name] for part in ("whole", "set"))
        np.testing.assert_array_equal(first.backbone, second.backbone)
        assert first.profiles.keys() == second.profiles.keys()


def whole_set(folder: Path) -> list[str]:
    names = [list(domains_of(folder / part)) for part in ("whole", "set")]
    assert names[0] == names[1]
    return names[0]


def test_a_changed_profile_is_read_again_after_an_interruption(tmp_path, inputs, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "_gather", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_set(inputs, tmp_path / "set", 1)
    write(inputs[2], profiles(seed=9))
    build_set(inputs, tmp_path / "set", 1)
    found = domains_of(tmp_path / "set")["1abc_A"].profiles["deep"].roots
    np.testing.assert_array_equal(found, profiles(seed=9)["profile"][:12])


def test_a_bad_piece_does_not_stop_the_others(tmp_path):
    values = structures(
        cath=np.array(["1.x", "", "1.10.8.10"]), cath_src=np.array(["seq", "", "guess"])
    )
    values["seq"] = np.frombuffer((b"ACDEFGHIKLMNPQRSTVXYACDEFGHI"), np.uint8)
    write(tmp_path / "s.npz", values)
    with pytest.raises(InputError, match="None of 1 files could be read"):
        build_set([tmp_path / "s.npz"], tmp_path / "set", 1)
    values["cath"][0], values["cath_src"][2] = "1.1", "seq"
    write(tmp_path / "s.npz", values)
    built = build_set([tmp_path / "s.npz"], tmp_path / "set", 1)
    assert list(domains_of(tmp_path / "set")) == ["1abc_A", "2xyz_A_3-11"]
    ((place, reason),) = built.failures
    assert place == f"1abc_B of {tmp_path / 's.npz'}"
    assert "'X' at position 7" in reason


def test_data_build_and_info_count_profiles(tmp_path, inputs):
    out = tmp_path / "set"
    outcome = command_line("data", "build", *inputs, "--out", out, "--workers", 1)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines == [
        "Domains with a profile: 5 deep, 3 own",
        f"Wrote 6 domains from 4 files to {out}; 0 were not taken.",
    ]
    found = domains_of(out)
    useful = sum(d.profiles["deep"].neff >= 4 for d in found.values() if "deep" in d.profiles)
    outcome = command_line("data", "info", out)
    assert outcome.code == 0, outcome.err
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    for line in (
        f"profile, deep 5, {useful} of them with neff >= 4",
        "CATH by sequence 1",
        "CATH by structure 1",
        "like no labelled domain 1",
        "near a held-out fold 1",
    ):
        assert line in lines
    with open(out / "domains.csv", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert rows["1abc_B"]["near_held_out"] == "1"
    assert rows["1abc_B"]["cath_source"] == "structure"
    assert float(rows["1abc_B"]["neff_deep"]) == round(found["1abc_B"].profiles["deep"].neff, 2)
    assert rows["1abc_B"]["neff_own"] == ""


def test_data_info_tells_how_many_contacts_crops_lose(tmp_path):
    """A walk of 150 residues, whose crops of 64 and of 96 are counted one by one."""
    walk = 2 * np.random.default_rng(1).normal(size=(150, 3)).cumsum(axis=0)
    backbone = np.repeat(walk[:, None], 5, axis=1).astype(np.float32)
    ids = tuple(map(str, range(150)))
    whole = Domain("walk", "A" * 150, backbone, "-" * 150, ids)
    write_domains(tmp_path / "domains.safetensors", [whole])
    outcome = command_line("data", "info", tmp_path)
    assert outcome.code == 0, outcome.err
    for length in (64, 96):
        outside = total = 0
        for start in range(150 - length + 1):
            inside = whole.window(start, length).contacts.sum() / 2
            leaving = whole.contacts[start : start + length].sum() - 2 * inside
            outside, total = outside + leaving, total + inside + leaving
        share = f"{outside / total:.0%}"
        assert share not in ("0%", "100%")
        assert f"crops of {length:3}: {share:>4} of their contacts are with" in outcome.out


# What is refused


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("dca", np.zeros((28, 3), np.float32), r"'dca' of .* is float32 of shape \(28, 3\): see"),
        ("dca", np.zeros((27, 3), np.int16), r"'dca' of .* is int16 of shape \(27, 3\): see"),
        ("rel", np.zeros((28, 9), np.int16), "'rel' of .* is int16"),
        ("seq", np.array(["A"] * 28), "'seq' of .* is <U1"),
        ("ss8", np.zeros(5, np.uint8), r"'ss8' of .* is uint8 of shape \(5,\)"),
        ("id", np.array(IDS[:2]), r"'id' of .* is <U11 of shape \(2,\)|'id' of .* is <U6"),
        ("length", np.array([12, 0, 16]), "'length' of .* is not one positive number per domain"),
        ("length", np.array([12.0, 7, 9]), "'length' of .* is float64"),
        ("near_held_out", np.array([0, 1, 0]), "'near_held_out' of .* is int64"),
    ],
)
def test_arrays_of_wrong_types_and_shapes_are_told(tmp_path, name, value, complaint):
    write(tmp_path / "s.npz", structures(**{name: value}))
    with pytest.raises(InputError, match=complaint) as refusal:
        build_set([tmp_path / "s.npz"], tmp_path / "set", 1)
    assert str(refusal.value).startswith("None of 1 files could be read: ")
    assert not (tmp_path / "set" / "domains.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"columns": np.array("ACD")}, "The columns of .* are 'ACD': give ACDEFGHIKLMNPQRSTVWY"),
        ({"profile": rows_of(*LENGTHS, width=19)}, "is uint8 with 19 columns: give uint8 with 20"),
        ({"profile": rows_of(*LENGTHS).astype(np.uint16)}, "is uint16 with 20 columns"),
        ({"profile": rows_of(5)}, r"'profile' of .* is uint8 of shape \(5, 20\)"),
    ],
)
def test_profiles_that_are_none_are_told(tmp_path, inputs, changes, complaint):
    write(inputs[2], profiles(**changes))
    built = build_set(inputs, tmp_path / "set", 1)
    (failure,) = built.failures
    assert failure.place == str(inputs[3])
    with pytest.raises(InputError, match=complaint):
        raise InputError(failure.reason)


class Unwanted:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = np.array([Unwanted()] * 3, dtype=object)
    write(tmp_path / "s.npz", structures(id=objects))
    with pytest.raises(InputError, match=r"s\.npz is not a \.npz file that can be read to its end"):
        build_set([tmp_path / "s.npz"], tmp_path / "set", 1)
    (tmp_path / "p.npz").write_bytes(pickle.dumps(Unwanted()))
    with pytest.raises(InputError, match=r"p\.npz is not a \.npz file"):
        build_set([tmp_path / "p.npz"], tmp_path / "set", 1)
    assert not (tmp_path / "unpickled").exists()


def test_files_that_hold_something_else_are_told(tmp_path, inputs):
    write(tmp_path / "other.npz", {"x": np.zeros(3)})
    write(tmp_path / "alignments.npz", {"alignment": np.zeros(3, np.uint8)})
    np.save(tmp_path / "array.npy", np.zeros(3))
    shutil.move(tmp_path / "array.npy", tmp_path / "array.npz")
    names = [tmp_path / name for name in ("other.npz", "alignments.npz", "array.npz")]
    built = build_set([*inputs, *names], tmp_path / "set", 1)
    reasons = {Path(failure.place).name: failure.reason for failure in built.failures}
    assert "holds neither structures nor profiles: see docs" in reasons["other.npz"]
    assert "alignments, which are no part of a set: name it in data" in reasons["alignments.npz"]
    assert "it is a single array" in reasons["array.npz"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.98])
def test_a_file_that_is_cut_short_is_told(tmp_path, share):
    path = write(tmp_path / "s.npz", structures())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"s\.npz is not a \.npz file that can be read to its end"):
        list(arrays.read_structures(path))


@pytest.mark.parametrize("name", ["id", "length", "dca", "cath"])
def test_a_file_with_a_wrong_byte_is_told(tmp_path, name):
    path = write(tmp_path / "s.npz", structures())
    content = bytearray(path.read_bytes())
    entry = zipfile.ZipFile(path).getinfo(f"{name}.npy")
    content[entry.header_offset + 30 + len(f"{name}.npy") + entry.compress_size // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"s\.npz is not a \.npz file that can be read to its end"):
        list(arrays.read_structures(path))


# The set


def test_a_set_keeps_profiles_and_where_codes_are_from(tmp_path, inputs):
    domains = list(arrays.read_structures(inputs[3], profiles=inputs[2]))
    domains = [replace(domains[0], profiles={}, same_as="other"), *domains[1:]]
    write_domains(tmp_path / "set.safetensors", domains)
    found = DomainSet(tmp_path / "set.safetensors")
    for first, second in zip(domains, found, strict=True):
        for name in ("cath", "cath_source", "near_held_out", "same_as", "cluster"):
            assert getattr(first, name) == getattr(second, name)
        assert first.profiles.keys() == second.profiles.keys()
        for kind, profile in first.profiles.items():
            np.testing.assert_array_equal(profile.roots, second.profiles[kind].roots)
    assert [list(domain.profiles) for domain in found] == [[], ["deep"], ["deep"]]
    assert found[-1].profiles["deep"].roots[0].tolist() == profiles()["profile"][19].tolist()


def test_a_window_has_its_part_of_the_profiles_and_contacts_of_its_own(inputs):
    whole = next(arrays.read_structures(inputs[3], profiles=inputs[2]))
    assert whole.contacts.shape == (12,)
    part = whole.window(3, 8)
    np.testing.assert_array_equal(part.profiles["deep"].roots, profiles()["profile"][3:11])
    assert part.cath_source == whole.cath_source
    assert part.contacts.shape == (8,)
    assert (part.contacts <= whole.contacts[3:11]).all()


def test_sources_and_profiles_that_do_not_fit_a_domain_are_refused(inputs):
    first, second, _ = arrays.read_structures(inputs[3], profiles=inputs[2])
    with pytest.raises(InputError, match="has the cath_source 'none' and 2 codes: give seq, seq_p"):
        replace(second, cath_source="none")
    with pytest.raises(InputError, match="has the cath_source 'seq' and 0 codes: give none"):
        replace(first, cath_source="seq")
    with pytest.raises(InputError, match="has 12 residues and a profile 'deep' of 7: give one"):
        replace(first, profiles=second.profiles)
    with pytest.raises(InputError, match="a profile 'other' of 12: give one of its length"):
        replace(first, profiles={"other": first.profiles["deep"]})

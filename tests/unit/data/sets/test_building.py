"""From files and folders to a set: what is taken, what is not and why, and builds that were interrupted."""

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import mdtraj as md
import numpy as np
import pytest

from openmm_nemo.data.sets import building
from openmm_nemo.data.sets.building import SET_FILE, build_set, source_files
from openmm_nemo.data.sets.storage import DomainSet
from openmm_nemo.errors import InputError
from tests.helpers import command_line, names, raises, refused

TRP_CAGE = Path("examples/data/1l2y.pdb")


@pytest.fixture
def inputs(tmp_path) -> Path:
    """A folder of two good structures, a broken one, something else, JSON lines and a JSON file without domains."""
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    shutil.copy(TRP_CAGE, folder / "cage.pdb")
    (folder / "deeper" / "zipped.ent.gz").write_bytes(gzip.compress(TRP_CAGE.read_bytes()))
    (folder / "broken.cif").write_text("data_")
    (folder / "notes.txt").write_text("nothing")
    atoms = dict.fromkeys(("N", "CA", "C", "O", "SC"), np.eye(4, 3).tolist())
    lines = [{"id": name, "seq": "GAVL", "ss8": "----"} | atoms for name in ("x", "y", "x")]
    (folder / "some.jsonl").write_text("\n".join(map(json.dumps, [*lines, {"id": "z"}])))
    (folder / "other.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    return folder


def assert_same_set(*folders: Path) -> None:
    first, second = (DomainSet(folder / "domains.safetensors") for folder in folders)
    assert first.ids == second.ids
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.backbone, other.backbone)
        assert (one.sequence, one.dssp) == (other.sequence, other.dssp)


def test_files_are_those_named_and_those_in_folders_that_hold_structures(inputs):
    shutil.copy(TRP_CAGE, inputs / "d1l2ya_")
    (inputs / "table.csv").touch()
    sources = source_files([inputs, inputs / "notes.txt", inputs / "cage.pdb"])
    assert [path.name for path in sources.others] == ["table.csv"]
    assert sorted(path.name for path in sources.files) == [
        "broken.cif",
        "cage.pdb",
        "d1l2ya_",
        "notes.txt",
        "other.jsonl",
        "some.jsonl",
        "zipped.ent.gz",
    ]


def test_gro_files_are_structures(tmp_path):
    md.load(str(TRP_CAGE))[0].save_gro(str(tmp_path / "cage.gro"))
    built = build_set([tmp_path], tmp_path / "set")
    assert built == (1, [], {"deep": 0, "own": 0})
    (domain,) = DomainSet(tmp_path / "set" / SET_FILE)
    assert (domain.id, domain.sequence) == ("cage", "NLYIQWLKDGGPSSGRPPPS")


@pytest.mark.integration
def test_links_are_followed_and_circles_end(inputs, tmp_path):
    away = tmp_path / "away"
    away.mkdir()
    shutil.copy(TRP_CAGE, away / "linked.pdb")
    folder = tmp_path / "links"
    folder.mkdir()
    for name, target in (
        ("folder", away),
        ("again", away),
        ("circle", folder),
        ("loop.pdb", folder / "loop.pdb"),
        ("lost.pdb", tmp_path / "none"),
        ("one.pdb", TRP_CAGE.absolute()),
        ("two.pdb", TRP_CAGE.absolute()),
    ):
        (folder / name).symlink_to(target)
    built = build_set([folder], tmp_path / "set", 2)
    ids = DomainSet(tmp_path / "set" / "domains.safetensors").ids
    assert ids == ("linked_A", "one_A", "two_A")
    assert [Path(failure.place).name for failure in built.failures] == ["loop.pdb", "lost.pdb"]


def test_a_file_named_twice_is_read_once(inputs, tmp_path):
    cage = inputs / "cage.pdb"
    sources = source_files([cage, inputs / "deeper" / ".." / "cage.pdb"])
    assert sources.files == [cage]


def test_a_folder_that_may_not_be_read_is_told(inputs, tmp_path, monkeypatch):
    """By hand, for the superuser may read all."""
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("deeper"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    built = build_set([inputs], tmp_path / "set", 1)
    places = {failure.place: failure.reason for failure in built.failures}
    names(places[str(inputs / "deeper")], "permission")


@pytest.mark.parametrize("name", [b"b\xff.pdb", b"b\n.pdb", b".b.pdb"])
def test_a_file_whose_name_can_be_no_id_is_told(inputs, tmp_path, name):
    shutil.copy(TRP_CAGE, os.fsencode(inputs) + b"/" + name)
    outcome = command_line("data", "build", inputs, "--out", tmp_path / "set", "--workers", 1)
    assert outcome.code == 0, outcome.err
    names(outcome.out, "_A'", "id")
    assert name in (tmp_path / "set" / "failures.csv").read_bytes()


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.integration)])
def test_a_bad_file_does_not_stop_the_others(inputs, tmp_path, workers):
    told = []
    built = build_set([inputs], tmp_path / "set", workers, told.append)
    domains = DomainSet(tmp_path / "set" / "domains.safetensors")
    assert sorted(domains.ids) == ["cage_A", "x", "y", "zipped_A"]
    assert built.n_domains == 4
    reasons = {Path(failure.place).name: failure.reason for failure in built.failures}
    names(reasons["broken.cif"], "broken.cif")
    names(reasons["other.jsonl"], 2, "'id'")
    names(reasons["some.jsonl"], "x", "twice")
    assert len(built.failures) == 4
    assert (told[0], told[-1]) == (0, 5)
    with open(tmp_path / "set" / "failures.csv", newline="") as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == built.failures
    assert sorted(os.listdir(tmp_path / "set")) == ["domains.safetensors", "failures.csv"]


def test_a_domain_in_pieces_too_short_to_learn_from_is_told(tmp_path):
    atoms = dict.fromkeys(("N", "CA", "C", "O", "SC"), np.eye(7, 3).tolist())
    lines = [
        {"id": name, "seq": "GAVLIMF", "chain_breaks": breaks} | atoms
        for name, breaks in (("three", [2]), ("two", [2, 4]))
    ]
    path = tmp_path / "some.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    built = build_set([path], tmp_path / "set", 1)
    assert built[:2] == (1, [(str(path), "two has no 4 residues without a break")])


def test_domains_of_equal_name_are_taken_once(inputs, tmp_path):
    (tmp_path / "more").mkdir()
    shutil.copy(TRP_CAGE, tmp_path / "more" / "cage.pdb")
    built = build_set([inputs / "cage.pdb", tmp_path / "more"], tmp_path / "set", 1)
    assert built.n_domains == 1
    assert [failure.reason for failure in built.failures] == [
        "another file also has cage_A and was taken"
    ]


def test_an_interrupted_build_goes_on_and_reads_nothing_twice(inputs, tmp_path, monkeypatch):
    whole = build_set([inputs], tmp_path / "whole", 1)
    read, calls = building.read_source, []

    def interrupted(path):
        calls.append(path)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(building, "read_source", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_set([inputs], tmp_path / "set", 1)
    assert not (tmp_path / "set" / "domains.safetensors").exists()
    told = []
    built = build_set([inputs], tmp_path / "set", 1, told.append)
    assert told[0] == 3
    assert len(calls) == 6  # of five files, that which was interrupted twice
    assert built == whole
    assert_same_set(tmp_path / "set", tmp_path / "whole")


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_what_was_read_before_and_is_damaged_is_read_again(inputs, tmp_path, monkeypatch, suffix):
    """As after a power failure, or by another version of the package."""
    whole = build_set([inputs], tmp_path / "whole", 1)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "_gather", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_set([inputs], tmp_path / "set", 1)
    parts = list((tmp_path / "set" / "parts").glob(f"*{suffix}"))
    assert len(parts) >= 3
    for part in parts:
        part.write_bytes(part.read_bytes()[:-9])
    assert build_set([inputs], tmp_path / "set", 1) == whole
    assert_same_set(tmp_path / "set", tmp_path / "whole")


KILLED = """
import os, signal, sys
from pathlib import Path
from openmm_nemo.data.sets import building
from openmm_nemo.errors import InputError

def read(path, original=building.read_source):
    if path.name == "some.jsonl":
        os.kill(os.getpid(), signal.SIGKILL)
    return original(path)

building.read_source = read
if __name__ == "__main__":
    try:
        building.build_set([Path(sys.argv[1])], Path(sys.argv[2]), 2)
    except InputError as error:
        print(error)
"""


@pytest.mark.integration
def test_a_worker_that_is_killed_loses_and_doubles_nothing(inputs, tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    out = tmp_path / "set"
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, script, inputs, out], capture_output=True, text=True, env=environment
    )
    names(done.stdout, "killed")
    assert not (out / "domains.safetensors").exists()
    built = build_set([inputs], out, 2)
    assert built == build_set([inputs], tmp_path / "whole", 1)
    assert_same_set(out, tmp_path / "whole")


def test_nothing_to_read_is_refused(inputs, tmp_path):
    with raises(InputError, tmp_path / "none"):
        build_set([tmp_path / "none"], tmp_path / "set")
    (tmp_path / "empty").mkdir()
    with raises(InputError, "empty", ".pdb"):
        build_set([tmp_path / "empty"], tmp_path / "set")
    with raises(InputError, 1, "broken"):
        build_set([inputs / "broken.cif"], tmp_path / "set")
    (tmp_path / "file").write_text("")
    with raises(InputError, tmp_path / "file" / "set", "--out"):
        build_set([inputs], tmp_path / "file" / "set")
    with raises(InputError, "a" * 300):
        build_set([tmp_path / ("a" * 300)], tmp_path / "set")


# The command line


def test_data_build_and_info(inputs, tmp_path):
    out = tmp_path / "set"
    outcome = command_line("data", "build", inputs, "--out", out, "--workers", 1)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert sum(line.startswith("Not taken: ") for line in lines) == 4
    assert lines[-1] == f"Wrote 4 domains from 5 files to {out}; 4 were not taken."
    outcome = command_line("data", "info", out)
    assert outcome.code == 0, outcome.err
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert lines == [
        "4 domains, 48 residues",
        "0 to 49 residues 4",
        "class unknown 4",
        f"Wrote {out / 'domains.csv'} and {out / 'info.png'}",
    ]
    with open(out / "domains.csv", newline="") as file:
        rows = {row["id"]: (row["length"], row["sequence"]) for row in csv.DictReader(file)}
    assert rows["cage_A"] == ("20", "NLYIQWLKDGGPSSGRPPPS")
    assert rows["x"] == ("4", "GAVL")
    assert len(rows) == 4
    picture = matplotlib.image.imread(out / "info.png")
    assert picture[..., :3].std() > 0.05


def test_info_that_cannot_be_written_is_refused_after_the_counts(inputs, tmp_path):
    out = tmp_path / "set"
    build_set([inputs], out, 1)
    (out / "domains.csv").mkdir()
    outcome = command_line("data", "info", out)
    assert outcome.code == 2
    assert "4 domains, 48 residues" in outcome.out
    names(outcome.err, out, "copy")
    assert not list(out.glob("*.partial*"))


def test_info_about_no_set_is_refused(tmp_path):
    names(refused("data", "info", tmp_path), "domains.safetensors")


def test_labels_are_put_into_the_set(inputs, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("id,cath\ncage_A,1.20.5.100; 1.20.5.170\nx,3.40.50.300\n")
    out = tmp_path / "set"
    outcome = command_line(
        "data", "build", inputs, "--out", out, "--labels", labels, "--workers", 1
    )
    assert outcome.code == 0, outcome.err
    cath = {domain.id: domain.cath for domain in DomainSet(out / "domains.safetensors")}
    assert cath == {
        "cage_A": ("1.20.5.100", "1.20.5.170"),
        "zipped_A": (),
        "x": ("3.40.50.300",),
        "y": (),
    }


def test_labels_of_unknown_domains_are_refused_and_nothing_is_read_again(inputs, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("id,cath\nx,3.40.50.300\nnobody,1.10.8.10\n")
    out = tmp_path / "set"
    command = ("data", "build", inputs, "--out", out, "--labels", labels, "--workers", 1)
    names(refused(*command), 1, "nobody")
    assert not (out / "domains.safetensors").exists()
    labels.write_text("id,cath\nx,3.40.50.300\n")
    told = []
    build_set([inputs], out, 1, told.append)
    assert told[0] == 5


def test_ctrl_c_is_told_with_what_to_do(inputs, tmp_path, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "read_source", interrupted)
    out = tmp_path / "set"
    outcome = command_line("data", "build", inputs, "--out", out, "--workers", 1)
    assert outcome.code == 130
    assert (
        outcome.out
        == f"Interrupted: {out} keeps what has been read; rerun the same command to continue.\n"
    )

"""Ensembles on disk: what is written is read, opens in MDTraj, appears whole or not at all."""

import csv
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import mdtraj as md
import numpy as np
import pytest

from openmm_nemo.errors import InputError
from openmm_nemo.residues import AMINO_ACIDS, THREE_LETTER
from openmm_nemo.sampling import ensembles
from openmm_nemo.sampling.ensembles import (
    Ensemble,
    ensemble_ids,
    ensemble_size,
    extend_ensemble,
    read_ensemble,
    read_ensembles,
    restore_ensembles,
    write_ensemble,
)
from tests.helpers import raises

FILES = ("coarse.h5", "atoms.h5", "native.h5", "samples.csv")
LAST_BIT = 2**-22
"""Relative: two roundings to float32, of nm and of Angstrom."""


def an_ensemble(name="1abc_A", n=7, sequence=AMINO_ACIDS, seed=0):
    random = np.random.default_rng(seed)
    shape = n, len(sequence)
    return Ensemble(
        name,
        sequence,
        random.normal(scale=30, size=(*shape, 3)).astype(np.float32),
        random.normal(scale=30, size=(*shape, 5, 3)).astype(np.float32),
        random.normal(scale=1e3, size=n).astype(np.float32),
        random.normal(scale=30, size=(len(sequence), 3)).astype(np.float32),
        random.integers(1, 2**31, size=n),
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensembles")
    write_ensemble(folder, an_ensemble())
    return folder


@pytest.fixture
def copied(written, tmp_path):
    """A copy, to be damaged."""
    shutil.copytree(written, tmp_path / "copy")
    return tmp_path / "copy"


def assert_same(actual, expected):
    assert (actual.id, actual.sequence) == (expected.id, expected.sequence)
    for name in ("x", "atoms", "native"):
        found, wanted = getattr(actual, name), getattr(expected, name)
        assert found.dtype == np.float32
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=LAST_BIT, atol=0)
    np.testing.assert_array_equal(actual.energy, expected.energy)
    np.testing.assert_array_equal(actual.seeds, expected.seeds)


def test_what_is_written_is_read(written):
    assert_same(read_ensemble(written, "1abc_A"), an_ensemble())


def test_mdtraj_opens_the_files(written):
    expected = an_ensemble()
    coarse = md.load(str(written / "1abc_A" / "coarse.h5"))
    atoms = md.load(str(written / "1abc_A" / "atoms.h5"))
    native = md.load(str(written / "1abc_A" / "native.h5"))
    np.testing.assert_allclose(coarse.xyz, expected.x / 10, rtol=LAST_BIT)
    np.testing.assert_allclose(native.xyz[0], expected.native / 10, rtol=LAST_BIT)
    for trajectory in (coarse, atoms, native):
        names = [residue.name for residue in trajectory.topology.residues]
        assert names == [THREE_LETTER[letter] for letter in AMINO_ACIDS]
    assert [atom.name for atom in coarse.topology.atoms] == ["CA"] * 20
    for j, name in enumerate(("N", "CA", "C", "O", "CEN")):
        xyz = atoms.atom_slice(atoms.topology.select(f"name {name}")).xyz
        np.testing.assert_allclose(xyz, expected.atoms[:, :, j] / 10, rtol=LAST_BIT)


def test_table_of_samples(written):
    expected = an_ensemble()
    with open(written / "1abc_A" / "samples.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["sample", "seed", "u_kt", "radius_of_gyration_angstrom"]
    assert [int(row["sample"]) for row in rows] == list(range(7))
    assert [int(row["seed"]) for row in rows] == expected.seeds.tolist()
    coarse = md.load(str(written / "1abc_A" / "coarse.h5"))
    rg = 10 * md.compute_rg(coarse, masses=np.ones(20))
    found = [float(row["radius_of_gyration_angstrom"]) for row in rows]
    np.testing.assert_allclose(found, rg, rtol=1e-5)


def test_native_and_seeds_may_be_unknown(tmp_path):
    write_ensemble(tmp_path, replace(an_ensemble(), native=None, seeds=None))
    assert not (tmp_path / "1abc_A" / "native.h5").exists()
    read = read_ensemble(tmp_path, "1abc_A")
    assert read.native is None
    assert read.seeds is None


def test_all_ensembles_in_the_order_of_their_ids(tmp_path):
    names = ["d b", "1abc_A", "T0953s1"]
    for k, name in enumerate(names):
        write_ensemble(tmp_path, an_ensemble(name, k + 1, AMINO_ACIDS[: 5 + k], seed=k))
    (tmp_path / "sampling.json").write_text("{}")
    (tmp_path / "unfinished").mkdir()
    shutil.copytree(tmp_path / "d b", tmp_path / ".d c.partial")
    assert ensemble_ids(tmp_path) == sorted(names)
    read = list(read_ensembles(tmp_path))
    assert [ensemble.id for ensemble in read] == sorted(names)
    for ensemble in read:
        k = names.index(ensemble.id)
        assert_same(ensemble, an_ensemble(ensemble.id, k + 1, AMINO_ACIDS[: 5 + k], seed=k))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "../a", ".hidden", "a\\b", "a\0"])
def test_ids_that_cannot_be_folders_are_refused(tmp_path, name):
    with raises(InputError, repr(name)):
        write_ensemble(tmp_path / "in", an_ensemble(name))
    with raises(InputError, repr(name)):
        read_ensemble(tmp_path / "in", name)
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(written):
    before = (written / "1abc_A" / "atoms.h5").read_bytes()
    with raises(InputError, "1abc_A"):
        write_ensemble(written, an_ensemble(seed=1))
    assert (written / "1abc_A" / "atoms.h5").read_bytes() == before


def test_an_ensemble_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    class Full(md.Trajectory):
        def save_hdf5(self, path, **options):
            if "native" in path:
                raise RuntimeError("HDF5: no space")
            super().save_hdf5(path, **options)

    monkeypatch.setattr(ensembles.md, "Trajectory", Full)
    with pytest.raises(OSError, match="the disk may be full"):
        write_ensemble(tmp_path, an_ensemble())
    assert list(tmp_path.iterdir()) == []


def test_an_ensemble_appears_by_one_rename_of_what_is_complete(tmp_path, monkeypatch):
    def interrupted(self, target):
        assert target == tmp_path / "1abc_A"
        assert sorted(path.name for path in self.iterdir()) == sorted(FILES)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_ensemble(tmp_path, an_ensemble())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_program_left_is_replaced(tmp_path):
    (tmp_path / ".1abc_A.partial").mkdir()
    (tmp_path / ".1abc_A.partial" / "other").write_text("half")
    write_ensemble(tmp_path, an_ensemble())
    assert [path.name for path in tmp_path.iterdir()] == ["1abc_A"]
    assert sorted(path.name for path in (tmp_path / "1abc_A").iterdir()) == sorted(FILES)


def test_folders_without_ensembles(tmp_path):
    assert ensemble_ids(tmp_path / "none") == []
    with raises(InputError, tmp_path / "none", "ensembles"):
        read_ensembles(tmp_path / "none")
    with raises(InputError, tmp_path, "1abc"):
        read_ensemble(tmp_path, "1abc")


@pytest.mark.parametrize("name", ["coarse.h5", "atoms.h5", "native.h5"])
@pytest.mark.parametrize("left", [0, 0.5, 0.99], ids=str)
def test_a_file_that_was_cut_short_is_named(copied, name, left):
    path = copied / "1abc_A" / name
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content))])
    with raises(InputError, copied / "1abc_A" / name, "damaged"):
        read_ensemble(copied, "1abc_A")


@pytest.mark.parametrize("name", ["coarse.h5", "atoms.h5"])
def test_a_file_that_is_missing_or_something_else_is_named(copied, name):
    path = copied / "1abc_A" / name
    path.write_text("something else\n" * 100)
    with raises(InputError, copied / "1abc_A" / name, "damaged"):
        read_ensemble(copied, "1abc_A")
    path.unlink()
    with raises(InputError, copied / "1abc_A" / name, "damaged"):
        read_ensemble(copied, "1abc_A")


@pytest.mark.parametrize(
    ("change", "name", "facts"),
    [
        ({"n": 6}, "coarse.h5", [6, 7, "structures"]),
        ({"n": 6}, "atoms.h5", [6, 7, "structures"]),
        ({"sequence": AMINO_ACIDS[::-1]}, "atoms.h5", ["atoms", "protein"]),
        ({"sequence": AMINO_ACIDS[1:]}, "native.h5", ["atoms", "protein"]),
    ],
)
def test_a_file_of_another_ensemble_is_named(copied, tmp_path, change, name, facts):
    write_ensemble(tmp_path / "other", an_ensemble(**change))
    shutil.copy(tmp_path / "other" / "1abc_A" / name, copied / "1abc_A" / name)
    with raises(InputError, copied / "1abc_A" / name, *facts):
        read_ensemble(copied, "1abc_A")


def test_files_exchanged_are_noticed(copied):
    shutil.copy(copied / "1abc_A" / "atoms.h5", copied / "1abc_A" / "coarse.h5")
    with raises(InputError, "coarse.h5", "atoms", "protein"):
        read_ensemble(copied, "1abc_A")


def test_positions_that_are_not_finite_are_noticed(tmp_path):
    ensemble = an_ensemble()
    ensemble.atoms[3, 2, 1] = np.nan
    write_ensemble(tmp_path, ensemble)
    with raises(InputError, "atoms.h5", "positions", "finite"):
        read_ensemble(tmp_path, "1abc_A")


@pytest.mark.parametrize(
    "table",
    [
        "",
        "sample,seed,u_kt,radius_of_gyration_angstrom\n",
        "sample,seed,u_kt\n0,5,2.",
        "sample,u_kt\n0,\n",
        "sample,seed,u_kt\n0,1,2.5\n2,1,2.5\n",
        "sample,seed,u_kt\n0,x,2.5\n",
        "sample,seed\n0,1\n",
        "\xff",
    ],
)
def test_a_table_that_is_damaged_is_named(copied, table):
    (copied / "1abc_A" / "samples.csv").write_bytes(table.encode("latin-1"))
    with raises(InputError, "samples.csv"):
        read_ensemble(copied, "1abc_A")


# Growth


def part_of(ensemble, rows):
    names = ("x", "atoms", "energy", "seeds")
    return replace(ensemble, **{name: getattr(ensemble, name)[rows] for name in names})


@pytest.fixture
def grown(tmp_path):
    write_ensemble(tmp_path, part_of(an_ensemble(), slice(0, 3)))
    extend_ensemble(tmp_path, replace(part_of(an_ensemble(), slice(3, None)), native=None))
    return tmp_path


def test_an_extended_ensemble_is_the_one_written_at_once(grown, written):
    assert sorted(path.name for path in grown.iterdir()) == ["1abc_A"]
    assert (ensemble_size(grown, "1abc_A"), ensemble_size(grown, "none")) == (7, 0)
    table = (grown / "1abc_A" / "samples.csv").read_bytes()
    assert table == (written / "1abc_A" / "samples.csv").read_bytes()
    for name in ("coarse.h5", "atoms.h5", "native.h5"):
        found, expected = (md.load(str(place / "1abc_A" / name)) for place in (grown, written))
        assert found.xyz.tobytes() == expected.xyz.tobytes()
        assert found.topology == expected.topology


def test_a_full_disk_leaves_an_ensemble_as_it_was(written, copied, monkeypatch):
    class Full(md.Trajectory):
        def save_hdf5(self, path, **options):
            raise RuntimeError("HDF5: no space")

    with monkeypatch.context() as patch:
        patch.setattr(ensembles.md, "Trajectory", Full)
        with pytest.raises(OSError, match="the disk may be full"):
            extend_ensemble(copied, an_ensemble(seed=1))
    assert [path.name for path in copied.iterdir()] == ["1abc_A"]
    assert_same(read_ensemble(copied, "1abc_A"), read_ensemble(written, "1abc_A"))


@pytest.mark.parametrize(("renames", "size"), [(0, 7), (1, 7), (2, 9)])
def test_a_replacement_that_was_killed_is_finished_or_undone(copied, monkeypatch, renames, size):
    done = []
    rename = Path.rename

    def killed(self, target):
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(target)
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        patch.setattr(ensembles.shutil, "rmtree", lambda *_, **__: None)
        with nullcontext() if renames == 2 else pytest.raises(KeyboardInterrupt):
            extend_ensemble(copied, part_of(an_ensemble(seed=1), slice(0, 2)))
    restore_ensembles(copied)
    assert ensemble_ids(copied) == ["1abc_A"]
    assert len(read_ensemble(copied, "1abc_A").x) == size
    assert not list(copied.glob(".*.old"))


def test_what_is_damaged_is_not_extended(copied):
    (copied / "1abc_A" / "atoms.h5").write_text("x")
    with raises(InputError, copied / "1abc_A" / "atoms.h5", "damaged"):
        extend_ensemble(copied, an_ensemble())
    with raises(InputError, "none"):
        extend_ensemble(copied, an_ensemble("none"))

"""Trajectory files in all formats, read back by MDTraj."""

import ctypes
import os
import shutil
from contextlib import closing

import mdtraj as md
import numpy as np
import pytest

from openmm_nemo import InputError
from openmm_nemo.engine import TrajectoryWriter, atom_topology, coarse_topology
from openmm_nemo.engine.trajectory import FORMATS, read_trajectory
from tests.helpers import raises

SEQUENCE = "ACDEFGHIKLMNPQRSTVWY"
# nm: what is left of coordinates in each format, for values below 100 nm
PRECISION = {".dcd": 1e-5, ".xtc": 1e-3, ".h5": 1e-6, ".pdb": 1e-4}

formats = pytest.mark.parametrize("extension", FORMATS)
kinds = pytest.mark.parametrize("topology", [coarse_topology, atom_topology])


def load(path, topology) -> md.Trajectory:
    """Read a copy, as whoever looks at a run does: HDF5 locks a file while it is written."""
    duplicate = path.with_name(f"copy{path.suffix}")
    shutil.copy(path, duplicate)
    options = {} if path.suffix in (".h5", ".pdb") else {"top": topology}
    return md.load(str(duplicate), **options)


def frames(topology, n: int = 4) -> np.ndarray:
    return np.random.default_rng(2).normal(scale=5, size=(n, topology.n_atoms, 3))


def assert_same_atoms(actual: md.Topology, expected: md.Topology) -> None:
    def names(topology):
        return [(a.name, a.residue.name, a.residue.resSeq) for a in topology.atoms]

    assert names(actual) == names(expected)


def test_coarse_topology_is_one_bonded_calpha_per_residue():
    topology = coarse_topology("GWA")
    assert [str(atom) for atom in topology.atoms] == ["GLY1-CA", "TRP2-CA", "ALA3-CA"]
    assert [(a.index, b.index) for a, b in topology.bonds] == [(0, 1), (1, 2)]
    assert topology.n_chains == 1


def test_atom_topology_has_a_bonded_backbone_and_side_chain():
    topology = atom_topology("GW")
    assert [atom.name for atom in topology.atoms] == ["N", "CA", "C", "O", "CEN"] * 2
    bonds = {(str(a), str(b)) for a, b in topology.bonds}
    assert ("GLY1-C", "TRP2-N") in bonds
    assert len(bonds) == 2 * 4 + 1
    assert topology.select("backbone").size == 8


@formats
@kinds
def test_frames_come_back(tmp_path, extension, topology):
    topology = topology(SEQUENCE)
    path, x = tmp_path / f"x{extension}", frames(topology)
    writer = TrajectoryWriter(path, topology)
    for k, positions in enumerate(x):
        writer.write(positions, 25 * k)
    writer.close()
    trajectory = load(path, topology)
    assert trajectory.xyz.shape == x.shape
    np.testing.assert_allclose(trajectory.xyz, x, rtol=0, atol=PRECISION[extension])
    assert_same_atoms(trajectory.topology, topology)
    assert trajectory.unitcell_lengths is None
    if extension == ".pdb":
        models = [line.split()[1] for line in path.open() if line.startswith("MODEL")]
        assert models == ["1", "2", "3", "4"]
    if extension in (".xtc", ".h5"):
        assert trajectory.time.tolist() == [0, 25, 50, 75]


@formats
def test_every_frame_is_on_disk_when_it_is_flushed(tmp_path, extension):
    topology = coarse_topology(SEQUENCE)
    path, x = tmp_path / f"x{extension}", frames(topology)
    writer = TrajectoryWriter(path, topology)
    for k, positions in enumerate(x):
        writer.write(positions, k)
        writer.flush()
        trajectory = load(path, topology)
        np.testing.assert_allclose(trajectory.xyz, x[: k + 1], rtol=0, atol=PRECISION[extension])
    assert writer.n_frames == 4
    writer.close()
    writer.close()


@formats
def test_existing_file_is_replaced(tmp_path, extension):
    topology = coarse_topology(SEQUENCE)
    path = tmp_path / f"x{extension}"
    path.write_text("something else")
    writer = TrajectoryWriter(path, topology)
    writer.write(frames(topology)[0], 0)
    writer.close()
    assert load(path, topology).n_frames == 1


@formats
@kinds
def test_earlier_file_is_taken_over(tmp_path, extension, topology):
    topology = topology(SEQUENCE)
    x = frames(topology, 6)
    earlier, path = tmp_path / f"earlier{extension}", tmp_path / f"x{extension}"
    writer = TrajectoryWriter(earlier, topology)
    for k in range(5):
        writer.write(x[k], 10 * k)
    writer.close()
    again = TrajectoryWriter(path, topology)
    again.take_over(earlier, 3)
    assert again.n_frames == 3
    again.write(x[5], 30)
    again.close()
    trajectory = load(path, topology)
    expected = x[[0, 1, 2, 5]]
    np.testing.assert_allclose(trajectory.xyz, expected, rtol=0, atol=2 * PRECISION[extension])
    if extension in (".xtc", ".h5"):
        assert trajectory.time.tolist() == [0, 10, 20, 30]


@formats
def test_earlier_file_with_too_few_frames_is_refused(tmp_path, extension):
    topology = coarse_topology(SEQUENCE)
    writer = TrajectoryWriter(tmp_path / f"earlier{extension}", topology)
    writer.write(frames(topology)[0], 0)
    writer.close()
    again = TrajectoryWriter(tmp_path / f"x{extension}", topology)
    with raises(InputError, "earlier"):
        again.take_over(tmp_path / f"earlier{extension}", 2)
    again.close()


@formats
@pytest.mark.parametrize("content", [None, b"", b"\x00garbage" * 50], ids=["no", "empty", "bad"])
def test_earlier_file_that_cannot_be_read_is_refused(tmp_path, extension, content):
    earlier = tmp_path / f"earlier{extension}"
    if content is not None:
        earlier.write_bytes(content)
    topology = coarse_topology(SEQUENCE)
    writer = TrajectoryWriter(tmp_path / f"x{extension}", topology)
    with raises(InputError, "earlier"):
        writer.take_over(earlier, 1)
    writer.close()


@pytest.mark.parametrize("name", ["x.xyz", "x", "x.dcd.gz", "x.DCD"])
def test_unknown_extension_is_refused(tmp_path, name):
    with raises(InputError, name, ".dcd", ".xtc", ".h5", ".pdb"):
        TrajectoryWriter(tmp_path / name, coarse_topology("AAAA"))
    assert list(tmp_path.iterdir()) == []


@formats
def test_file_that_cannot_be_written_is_an_oserror(tmp_path, extension):
    """At the latest with the first frame: some formats make their file then."""
    topology = coarse_topology(SEQUENCE)

    def write_a_frame() -> None:
        writer = TrajectoryWriter(tmp_path / "no such folder" / f"x{extension}", topology)
        writer.write(frames(topology)[0], 0)

    with pytest.raises(OSError, match=r".+"):
        write_a_frame()


def test_reading_prints_nothing(tmp_path, capfd):
    """MDTraj's DCD reader would, from C."""
    path, topology = tmp_path / "traj.dcd", coarse_topology(SEQUENCE)
    with closing(TrajectoryWriter(path, topology)) as writer:
        writer.write(frames(topology)[0], 0)
    os.write(1, b"before ")
    assert len(read_trajectory(path, topology, 1)) == 1
    os.write(1, b"after")
    ctypes.CDLL(None).fflush(None)
    assert capfd.readouterr().out == "before after"

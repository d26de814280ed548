"""HDF5 files in which somebody has put pickles run nothing when they are read."""

import os
from pathlib import Path

import mdtraj as md
import numpy as np
import pytest
import tables

from openmm_nemo.data import read_frame
from openmm_nemo.engine import coarse_topology
from openmm_nemo.engine.trajectory import read_trajectory
from openmm_nemo.hdf5 import no_unpickling
from openmm_nemo.sampling.ensembles import read_ensemble, write_ensemble
from tests.helpers import raises, random_chain
from tests.unit.sampling.test_ensembles import an_ensemble

SEQUENCE = "GSAVLKEF"
TOPOLOGY = coarse_topology(SEQUENCE)


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def trap(tmp_path):
    """A trap; the test fails if it was sprung."""
    folder = tmp_path / "sprung"
    yield Trap(folder)
    assert not folder.exists()


def set_attributes(path: Path, trap: Trap) -> None:
    """Put a trap in attributes that are read, and in one that nothing reads."""
    with tables.open_file(str(path), "a") as file:
        for name in ("application", "conventionVersion", "title", "unknown"):
            file.root._v_attrs[name] = trap
        for node in file.root:
            node._v_attrs["CONTOUR"] = trap


def replace_topology(path: Path, trap: Trap) -> None:
    """Put a trap in the place of the topology."""
    with tables.open_file(str(path), "a") as file:
        file.remove_node("/", "topology")
        file.create_vlarray("/", "topology", tables.ObjectAtom()).append(trap)


@pytest.fixture
def trajectory(tmp_path):
    x = random_chain(3, len(SEQUENCE)).numpy().astype(np.float32) / 10
    path = tmp_path / "run.h5"
    md.Trajectory(x, TOPOLOGY).save_hdf5(str(path))
    return path, x


def test_the_trap_works(trajectory, tmp_path):
    """Otherwise the tests below show nothing."""
    path, _ = trajectory
    set_attributes(path, Trap(tmp_path / "sprung here"))
    with tables.open_file(str(path)) as file:
        _ = file.root._v_attrs["unknown"]
    assert (tmp_path / "sprung here").is_dir()


def test_frames_are_read_and_pickles_beside_them_are_not(trajectory, trap):
    path, x = trajectory
    set_attributes(path, trap)
    structure = read_frame(path, path, 1)
    assert structure.sequence == SEQUENCE
    np.testing.assert_allclose(structure.ca, 10 * x[1], rtol=1e-5)
    np.testing.assert_array_equal(read_trajectory(path, TOPOLOGY, 3).xyz, x)


def test_ensembles_are_read_and_pickles_beside_them_are_not(tmp_path, trap):
    write_ensemble(tmp_path, an_ensemble())
    for name in ("coarse.h5", "atoms.h5", "native.h5"):
        set_attributes(tmp_path / "1abc_A" / name, trap)
    assert read_ensemble(tmp_path, "1abc_A").sequence == an_ensemble().sequence


def test_a_topology_that_is_a_pickle_is_refused(trajectory, trap):
    path, _ = trajectory
    replace_topology(path, trap)
    with raises(ValueError, path, "pickle"):
        read_frame(path, path)


def test_an_ensemble_whose_topology_is_a_pickle_is_refused(tmp_path, trap):
    write_ensemble(tmp_path, an_ensemble())
    replace_topology(tmp_path / "1abc_A" / "coarse.h5", trap)
    with raises(ValueError, "coarse.h5", "pickle"):
        read_ensemble(tmp_path, "1abc_A")


def test_pytables_is_as_before_afterwards(tmp_path):
    def fail():
        with no_unpickling(), no_unpickling():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with tables.open_file(str(tmp_path / "x.h5"), "w") as file:
        file.root._v_attrs["object"] = {1, 2}
        assert file.root._v_attrs["object"] == {1, 2}

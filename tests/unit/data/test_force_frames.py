"""Files of force frames: what they give back, and what is refused."""

import os
from dataclasses import replace

import numpy as np
import safetensors.numpy

from openmm_nemo.data import ForceFrames
from openmm_nemo.errors import InputError
from tests.helpers import raises

SEQUENCE = "ACDEFG"


def frames(n: int = 5) -> ForceFrames:
    both = np.random.default_rng(0).normal(size=(2, 6, n, 3)).astype(np.float32)
    # Not contiguous, as after a transposition.
    return ForceFrames(SEQUENCE, *both.transpose(0, 2, 1, 3), 298.15)


def test_a_file_gives_back_what_was_written(tmp_path):
    path = tmp_path / "a.safetensors"
    written = frames()
    assert not written.positions.flags.c_contiguous
    path.write_bytes(b"another file")
    written.write(path)
    found = ForceFrames.read(path)
    assert len(found) == 5
    np.testing.assert_array_equal(found.positions, written.positions)
    np.testing.assert_array_equal(found.forces, written.forces)
    assert (found.sequence, found.temperature) == (SEQUENCE, 298.15)
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_files_that_are_damaged_are_refused(tmp_path):
    """One bit of the sequence, of the temperature and of the numbers; and files that were cut short."""
    path = tmp_path / "a.safetensors"
    frames().write(path)
    content = path.read_bytes()
    places = [content.index(b"ACDEFG"), content.index(b"298.15"), len(content) - 1]
    for place in [*places, len(content) - 300]:
        damaged = bytearray(content)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with raises(InputError, "a.safetensors", "damaged"):
            ForceFrames.read(path)
    for size in (0, 5, 100, len(content) - 1):
        path.write_bytes(content[:size])
        with raises(InputError, "a.safetensors"):
            ForceFrames.read(path)


def test_other_files_are_refused(tmp_path):
    with raises(InputError, "none.safetensors"):
        ForceFrames.read(tmp_path / "none.safetensors")
    with raises(InputError, "nemo-tiny/model.safetensors", "force frames"):
        ForceFrames.read("torchscript_models/nemo-tiny/model.safetensors")
    path = tmp_path / "a.safetensors"
    kind = {"format": "openmm_nemo force frames", "version": "0"}
    safetensors.numpy.save_file({"positions": np.zeros(3)}, path, kind)
    with raises(InputError, "a.safetensors", "version"):
        ForceFrames.read(path)
    safetensors.numpy.save_file({"positions": np.zeros(3)}, path, kind | {"version": "1"})
    with raises(InputError, "a.safetensors"):
        ForceFrames.read(path)
    with raises(InputError, tmp_path / "none" / "a.safetensors"):
        frames().write(tmp_path / "none" / "a.safetensors")


def test_parts_that_do_not_fit_are_refused():
    good = frames()
    not_finite = good.forces.copy()
    not_finite[3, 2, 1] = np.inf
    for changes, facts in (
        ({"sequence": "ACDEFX"}, ["'X'", "position 6"]),
        ({"sequence": "ACDEFGH"}, ["positions", "(5, 6, 3)", "7 residues"]),
        ({"forces": good.forces[:4]}, ["forces", "(4, 6, 3)"]),
        ({"positions": good.positions[:0], "forces": good.forces[:0]}, ["frames"]),
        ({"forces": not_finite}, ["forces", "frame 3", "finite"]),
        ({"temperature": 0.0}, ["temperature", 0.0]),
        ({"temperature": float("nan")}, ["temperature", "nan"]),
    ):
        with raises(InputError, *facts):
            replace(good, **changes)

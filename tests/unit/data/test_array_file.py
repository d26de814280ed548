"""Files of arrays: what is read, and what is refused by name."""

import numpy as np
import pytest

from openmm_nemo.data.array_file import ArrayFile
from openmm_nemo.errors import InputError
from tests.helpers import raises


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some.npz"
    np.savez(path, length=np.array([3, 1, 2]), x=np.arange(12.0).reshape(6, 2))
    return path


def test_columns_are_the_arrays_of_the_file(path):
    file = ArrayFile(path)
    assert file.names == {"length", "x"}
    assert file.path == path
    np.testing.assert_array_equal(file.column("x", "f", (None, 2)), np.arange(12.0).reshape(6, 2))
    np.testing.assert_array_equal(file.column("length", "iu"), [3, 1, 2])


def test_ends_are_sums_of_the_lengths(path):
    assert ArrayFile(path).ends().tolist() == [3, 4, 6]


def test_a_column_that_is_not_there_is_named(path):
    with raises(InputError, "'y'", path, "docs/data-format.md"):
        ArrayFile(path).column("y", "f")


@pytest.mark.parametrize(
    ("kinds", "shape"), [("i", None), ("f", (6,)), ("f", (6, 3)), ("f", (None, 2, 1))]
)
def test_columns_of_another_type_or_shape_are_named(path, kinds, shape):
    with raises(InputError, "'x'", path, "float64", (6, 2)):
        ArrayFile(path).column("x", kinds, shape)


@pytest.mark.parametrize("lengths", [[], [[1]], [2, 0]], ids=str)
def test_lengths_are_positive_numbers(tmp_path, lengths):
    path = tmp_path / "some.npz"
    np.savez(path, length=np.array(lengths, dtype=np.int64))
    with raises(InputError, "'length'", path):
        ArrayFile(path).ends()


def test_a_single_array_is_not_a_file_of_arrays(tmp_path):
    path = tmp_path / "one.npy"
    np.save(path, np.zeros(3))
    with raises(InputError, path, ".npz", "single array"):
        ArrayFile(path)


def test_objects_are_not_unpickled(tmp_path):
    path = tmp_path / "objects.npz"
    np.savez(path, x=np.array([{}], dtype=object))
    with raises(InputError, path, ".npz"):
        ArrayFile(path).column("x", "O")

"""Structures that face the viewer."""

import numpy as np
from scipy.spatial.transform import Rotation

from openmm_nemo.pages.structures import coordinates, facing
from tests.helpers import random_chain


def test_chains_are_rotated_together_with_the_longest_axis_across():
    frames, native = random_chain(5, 30, seed=1).numpy(), random_chain(30, seed=9).numpy()
    for like in (None, native):
        turned, other = facing([frames, native], like)
        both = np.concatenate([frames.reshape(-1, 3), native])
        moved = np.concatenate([turned.reshape(-1, 3), other])
        _, error = Rotation.align_vectors(
            moved - moved.mean(0), both - both.mean(0)
        )  # never a reflection
        assert error < 1e-6
        points = moved if like is None else other
        np.testing.assert_allclose(points.mean(0), 0, atol=1e-9)
        covariance = np.cov(points.T)
        np.testing.assert_allclose(covariance, np.diag(covariance.diagonal()), atol=1e-9)
        assert (np.diff(covariance.diagonal()) < 0).all()


def test_coordinates_are_rounded_to_a_thousandth():
    assert coordinates(np.array([[1.23456, -2, 0]])) == [[1.235, -2.0, 0.0]]

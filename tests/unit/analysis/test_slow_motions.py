"""TICA on a chain with one slow dihedral."""

import sys

import mdtraj as md
import numpy as np
import pytest

from openmm_nemo.analysis.slow_motions import features, slow_motions
from openmm_nemo.engine.trajectory import coarse_topology
from openmm_nemo.errors import InputError
from openmm_nemo.geometry.internal import internal_to_cartesian
from tests.helpers import names, raises, random_chain

STAY = 0.98
"""Probability that the slow dihedral keeps its sign from one frame to the next."""


def test_features_are_those_of_mdtraj():
    x = random_chain(7, 9, seed=1).numpy()
    t = md.Trajectory(x / 10, coarse_topology("A" * 9))
    ca = np.arange(9)
    angles = md.compute_angles(t, np.stack([ca[:-2], ca[1:-1], ca[2:]], 1))
    dihedrals = md.compute_dihedrals(t, np.stack([ca[:-3], ca[1:-2], ca[2:-1], ca[3:]], 1))
    expected = np.concatenate([np.cos(angles), np.cos(dihedrals), np.sin(dihedrals)], axis=1)
    np.testing.assert_allclose(features(x), expected, atol=1e-5)


@pytest.fixture(scope="module")
def hopping():
    """Sign of the slow dihedral, and positions, of two trajectories."""
    import torch

    random = np.random.default_rng(1)
    made = []
    for n in (3000, 2000):
        sign = np.cumprod(np.where(random.uniform(size=n) < STAY, 1, -1))
        z = np.zeros((n, 6, 3))
        z[:, 1:, 0] = 3.8
        z[:, 2:, 1] = random.normal(0, 0.1, (n, 4)) + 0.5
        z[:, 3:, 2] = random.normal(0, 0.3, (n, 3))
        z[:, 4, 2] += 1.2 * sign
        made.append((sign, internal_to_cartesian(torch.from_numpy(z)).numpy()))
    return made


@pytest.mark.parametrize("lag", [1, 5])
def test_slow_dihedral_is_found_with_its_time(hopping, lag):
    found = slow_motions([x for _, x in hopping], lag)
    for (sign, _), component in zip(hopping, found.components, strict=True):
        assert abs(np.corrcoef(sign, component[:, 0])[0, 1]) > 0.95
    assert found.times[0] == pytest.approx(-1 / np.log(2 * STAY - 1), rel=0.25)
    assert not found.times[1] > 5


def test_too_few_frames_are_refused(hopping):
    x = hopping[0][1]
    with raises(InputError, "--tica 3", "10 pairs", "10 angles"):
        slow_motions([x[:9], x[:7], x[:2]], 3)


def test_what_to_install_is_told(hopping, monkeypatch):
    monkeypatch.setitem(sys.modules, "deeptime.decomposition", None)
    with pytest.raises(InputError) as refusal:
        slow_motions([x for _, x in hopping], 1)
    names(refusal.value, "--tica", "openmm-nemo[analyze]")

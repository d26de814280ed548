"""Measures of frames, against MDTraj and MDAnalysis."""

from pathlib import Path

import mdtraj as md
import numpy as np
import pytest
from MDAnalysis.analysis.contacts import soft_cut_q

from openmm_nemo.analysis import measures
from openmm_nemo.analysis.measures import (
    contact_frequencies,
    native_contacts,
    pairs,
    secondary_structure,
)
from openmm_nemo.data import read_structure
from openmm_nemo.engine.trajectory import coarse_topology
from tests.helpers import random_chain
from tests.tolerances import ANALYSIS

TRP_CAGE = Path(__file__).parents[3] / "examples" / "data" / "1l2y.pdb"
SEQUENCE = "NLYIQWLKDGGPSSGRPPPS"


@pytest.fixture(scope="module")
def native() -> np.ndarray:
    return read_structure(TRP_CAGE).ca.astype(float)


@pytest.fixture(scope="module")
def frames(native) -> np.ndarray:
    """From the native to random chains."""
    noise = np.random.default_rng(1).normal(size=(40, 20, 3))
    moved = native + np.linspace(0, 6, 40)[:, None, None] * noise
    return np.concatenate([moved, random_chain(10, 20, seed=2).numpy()])


def trajectory(x: np.ndarray) -> md.Trajectory:
    return md.Trajectory(x / 10, coarse_topology(SEQUENCE))


def test_contacts_are_those_of_mdtraj(frames, monkeypatch):
    monkeypatch.setattr(measures, "_BLOCK", 7)
    distances, which = md.compute_contacts(trajectory(frames), scheme="ca")
    np.testing.assert_array_equal(np.stack(pairs(20), axis=1), which)
    found = contact_frequencies(frames)
    np.testing.assert_allclose(found, (10 * distances < 8).mean(0), atol=1e-12)
    assert 0 < found.min() + 0.1 < found.max() <= 1


def test_q_is_that_of_mdanalysis_on_distances_of_mdtraj(frames, native):
    r, _ = md.compute_contacts(trajectory(frames), scheme="ca")
    r0, _ = md.compute_contacts(trajectory(native[None]), scheme="ca")
    close = r0[0] < 0.8
    expected = [soft_cut_q(10 * row[close], 10 * r0[0, close], 5.0, 1.5) for row in r]
    found = native_contacts(frames, native)
    np.testing.assert_allclose(found, expected, atol=ANALYSIS["q"])
    assert found[0] > 0.99
    assert found.min() < 0.5


def test_q_does_not_overflow_and_is_unknown_without_native_contacts(native):
    far = 1e4 * np.arange(20)[:, None] * np.ones(3)
    assert native_contacts(far[None], native) == pytest.approx(0)
    assert np.isnan(native_contacts(native[None], far)).all()


@pytest.mark.parametrize("side_chain_bead", [True, False])
def test_secondary_structure_of_imputed_atoms_is_that_of_all_atoms(side_chain_bead):
    whole = md.load(str(TRP_CAGE))
    names = "name N or name CA or name C or name O" + " or name CB" * side_chain_bead
    found = secondary_structure(whole.atom_slice(whole.top.select(names)))
    np.testing.assert_array_equal(found, md.compute_dssp(whole))
    assert (found == "H").mean() > 0.3

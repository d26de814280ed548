"""Figures of energies, by hand."""

import numpy as np
import pytest
import torch

from openmm_nemo.comparison.energies import (
    MIN_FOREIGN,
    energy_figures,
    mirror_energies,
    threading_z,
)
from tests.helpers import random_chain
from tests.unit.comparison.batches import Handed, Springs, springs


def test_the_gap_is_per_residue_and_negative_where_the_native_is_low():
    energy = np.array([-2.0, 6.0, np.inf, np.nan])
    found = energy_figures(energy, -4.0, 4)
    assert found == {"energy_kt": 0.5, "energy_gap_kt": -1.5, "native_lowest": 1}
    found = energy_figures(energy, -2.0, 4)
    assert found == {"energy_kt": 0.5, "energy_gap_kt": -1, "native_lowest": 0}
    assert energy_figures(np.array([np.nan]), 0.0, 4) == {}


def test_threading_compares_structures_with_the_same_coefficients():
    batch = springs([9, 6, 6], [2.0, 3.0, 0.0])
    counts = (MIN_FOREIGN + 2, MIN_FOREIGN, MIN_FOREIGN)
    foreign = [
        [random_chain(n, seed=20 * n + k).float().numpy() for k in range(count)]
        for n, count in zip((9, 6, 6), counts, strict=True)
    ]
    native_energy = torch.tensor([1.0, 2.0, 0.0])
    with torch.no_grad():
        z = threading_z(batch, native_energy, foreign)
    for b, k in ((0, 2.0), (1, 3.0)):
        u = [
            k * ((np.linalg.norm(np.diff(x.astype(float), axis=0), axis=1) - 4) ** 2).sum()
            for x in foreign[b]
        ]
        expected = (float(native_energy[b]) - np.mean(u)) / np.std(u, ddof=1)
        assert z[b] == pytest.approx(expected, rel=1e-4)
    assert np.isnan(z[2])  # all energies are equal
    with torch.no_grad():
        few = threading_z(batch, native_energy, [[*here][: MIN_FOREIGN - 1] for here in foreign])
        none = threading_z(batch, native_energy, [[], [], []])
    assert np.isnan(few).all()
    assert np.isnan(none).all()


def test_mirror_images_are_higher_where_the_energy_prefers_the_handedness_of_the_native():
    # Dihedrals of -90 and 180 degrees, and one of 90 degrees: U is -3 and 5, and 3 and -5 for the mirror images.
    left = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 1, 1], [0, 2, 1]])
    right = torch.tensor([[1.0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 1, -1], [0, 0, 0]])
    native = torch.stack([left, right])
    handed, blind = (springs([5, 4], [3.0, 5.0], energy=e) for e in (Handed, Springs))
    with torch.no_grad():
        np.testing.assert_allclose(handed.energy(native), [-3, 5])
        np.testing.assert_allclose(mirror_energies(handed, native), [6 / 5, -10 / 4])
        np.testing.assert_allclose(mirror_energies(blind, native), [0, 0], atol=1e-4)

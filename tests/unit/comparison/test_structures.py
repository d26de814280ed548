"""Figures of samples, against those of each sample alone."""

import numpy as np
import pytest
import torch

from openmm_nemo.comparison.structures import deviation, similarity, structure_figures
from openmm_nemo.geometry.similarity import overlap_share, radius_of_gyration
from tests.helpers import normal, random_chain

N = 30


@pytest.fixture
def native() -> torch.Tensor:
    return random_chain(N, seed=1).float()


def near(native: torch.Tensor, size: float, seed: int) -> torch.Tensor:
    return native + size * normal(N, 3, seed=seed).float()


def test_samples_are_chosen_by_energy_consensus_and_knowledge(native):
    other = random_chain(N, seed=50).float()
    x = torch.stack([near(native, 0.3, 1), near(other, 0.3, 2), near(other, 0.5, 3), other])
    tm = [similarity(y, native) for y in x]
    figures = structure_figures(x, np.array([2.0, 3.0, 1.0, np.nan]), native, tm)
    assert figures["tm"] == pytest.approx(np.mean(tm))
    assert figures["rmsd_angstrom"] == pytest.approx(np.mean([deviation(y, native) for y in x]))
    expected = np.mean([float(radius_of_gyration(y) / radius_of_gyration(native)) for y in x])
    assert figures["rg_ratio"] == pytest.approx(expected)
    assert figures["overlap_share"] == pytest.approx(np.mean([overlap_share(y) for y in x]))
    # The lowest known energy; the structure that is nearest to its two relatives; the one near the native.
    for choice, k in (("lowest", 2), ("jury", 3), ("best", 0)):
        assert figures[f"tm_{choice}"] == tm[k]
        assert figures[f"rmsd_{choice}_angstrom"] == deviation(x[k], native)
    assert figures["tm_best"] > 0.8 > 2 * figures["tm_jury"]


def test_sizes_that_are_wrong_in_both_directions_do_not_cancel(native):
    x = torch.stack([0.8 * native, 1.2 * native])
    figures = structure_figures(x, np.zeros(2), native, [1.0, 1.0])
    assert figures["rg_ratio"] == pytest.approx(1)
    assert figures["rg_error"] == pytest.approx(0.2)


def test_samples_that_are_not_finite_are_not_chosen_and_score_nothing(native):
    x = torch.stack([torch.full((N, 3), torch.inf), near(native, 1.0, 4)])
    tm = [similarity(y, native) for y in x]
    assert tm[0] == 0
    figures = structure_figures(x, np.array([-1.0, 5.0]), native, tm)
    assert figures["tm"] == tm[1] / 2
    assert figures["rmsd_angstrom"] == np.inf
    assert figures["tm_lowest"] == figures["tm_best"] == tm[1]
    alone = structure_figures(x[1:], np.array([5.0]), native, tm[1:])
    finite = ("rg_ratio", "rg_error", "contact_precision", "bond_error_angstrom", "overlap_share")
    for name in finite:
        assert figures[name] == alone[name]
    broken = structure_figures(x[:1], np.array([np.nan]), native, tm[:1])
    assert broken["tm_lowest"] == 0
    assert "rg_ratio" not in broken

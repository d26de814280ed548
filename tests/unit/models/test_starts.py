"""Initial positions that are drawn from the density of each residue's angle and dihedral, and annealed simulations."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from openmm_nemo import NemoConfig, NemoModel
from openmm_nemo.dynamics import Schedule
from openmm_nemo.energies.chain_basis import GRID_ANGLES, N_ANGLES, N_DIHEDRALS
from openmm_nemo.geometry import bond_angles
from tests.tolerances import assert_close
from tests.unit.models.chains import make_model

SEQUENCE = "NLYIQWLKDG"
N_DRAWS = 4000


@pytest.fixture(scope="module")
def protein():
    return make_model("fold").condition(SEQUENCE)


def test_angles_and_dihedrals_follow_their_densities(protein):
    """Pearson's chi-squared test for each of three residues; false alarms: 1 in 10,000."""
    x = protein.copies(N_DRAWS).initial_positions(seed=7)
    _, angle, dihedral = bond_angles(x)
    low, high = GRID_ANGLES
    term = protein.potential.network.terms["chain-basis"]
    density = term.log_density(protein.copies(1).coefficients_of("chain-basis")[0][0]).exp()
    for residue in (3, 6, 9):
        row = ((angle[:, residue - 2] - low) / (high - low) * (N_ANGLES - 1)).round().long()
        turn = (dihedral[:, residue - 3] / math.pi + 1) / 2 * N_DIHEDRALS - 0.5
        column = turn.round().long()
        assert (turn - column).abs().max() < 1e-9
        found = np.bincount(row * N_DIHEDRALS + column, minlength=N_ANGLES * N_DIHEDRALS)
        expected = density[residue].numpy() * N_DRAWS
        # Bins with few draws are counted together.
        order = np.argsort(expected)
        rare = order[: np.searchsorted(np.cumsum(expected[order]), 20)]
        common = np.setdiff1d(order, rare)
        found = np.append(found[common], found[rare].sum())
        expected = np.append(expected[common], expected[rare].sum())
        assert chisquare(found, expected * found.sum() / expected.sum()).pvalue > 1e-4 / 3


def test_a_chain_starts_as_it_would_alone(protein):
    x = protein.copies(3).initial_positions(seed=20)
    for k in range(3):
        assert_close(x[k], protein.initial_state(seed=20 + k), "rounding")
    assert (x[0] - x[1]).abs().max() > 1


def test_a_model_without_the_density_starts_from_z0():
    protein = make_model().condition(SEQUENCE)
    assert torch.equal(protein.initial_state(seed=3), protein.initial_state())


def test_a_simulation_starts_from_a_draw_and_follows_the_schedule(protein):
    found = protein.rollout(25, seed=4)
    assert torch.equal(found.x[0, 0], protein.initial_state(seed=4))
    schedule = protein.schedule(25)
    assert schedule == Schedule(25, 2.0, 0.1)
    expected = protein.copies(1).rollout(25, found.x[0], seed=4, schedule=schedule)
    assert torch.equal(found.x, expected.x)
    plain = protein.rollout(25, seed=4, anneal=False)
    constant = protein.copies(1).rollout(25, found.x[0], seed=4)
    assert torch.equal(plain.x, constant.x)
    assert not torch.equal(plain.x, found.x)


def test_bonds_of_an_annealed_simulation_have_their_length():
    """With Cartesian steps that are too long for their stiffness, they would oscillate by 0.4 Angstrom."""
    torch.manual_seed(1)
    protein = NemoModel(NemoConfig.preset("fold")).condition("A" * 30)
    b, _, _ = bond_angles(protein.rollout(200, n_chains=8, seed=3).x[-1])
    assert (b - 3.8).square().mean().sqrt() < 0.1

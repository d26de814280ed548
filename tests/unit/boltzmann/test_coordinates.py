"""Torsions and stiff coordinates: there and back, folds, and the volume element."""

import math

import pytest
import torch

from openmm_nemo.boltzmann.coordinates import Coordinates
from openmm_nemo.boltzmann.energies import EnergyPool
from openmm_nemo.boltzmann.molecule import choose_coordinates
from openmm_nemo.geometry import rmsd
from tests.helpers import normal, uniform
from tests.tolerances import assert_close
from tests.unit.boltzmann.molecules import jostled, peptide


@pytest.fixture(scope="module")
def alanine() -> Coordinates:
    system, topology, x = peptide()
    return choose_coordinates(topology, x, EnergyPool(system, workers=1), 300.0)


def test_positions_come_back(alanine):
    x = jostled(peptide()[2], 5, 0.05)
    found, _ = alanine.cartesian(*alanine.internal(x))
    assert float(rmsd(found, x).max()) < 1e-6


def test_coordinates_come_back(alanine):
    d = math.pi * uniform(-1, 1, 6, len(alanine.folds), seed=1)
    w = normal(6, len(alanine.centre), seed=2)
    x, _ = alanine.cartesian(d, w)
    found_d, found_w = alanine.internal(x)
    assert_close(found_d, d, "round_trip")
    assert_close(found_w, w, "round_trip")


def test_methyl_groups_have_three_folds(alanine):
    """Of ACE, of the side chain and of NME; phi, psi and both omegas are different everywhere."""
    assert sorted(alanine.folds) == [1, 1, 1, 1, 3, 3, 3]


def test_turning_a_fold_exchanges_hydrogens(alanine):
    """With hydrogens at 120 degrees from each other, the other dihedrals of a fold place them on each other."""
    z = alanine.zmatrix
    d = math.pi * uniform(-1, 1, len(alanine.folds), seed=3)
    turns = torch.eye(len(alanine.folds), dtype=torch.int64)[alanine.folds.index(3)]
    t = alanine.folded(d)
    row = z.torsions[alanine.folds.index(3)]
    group = [k for k in range(len(z.atoms)) if int(z.relative_to[k]) == row]
    values = torch.zeros(len(z.atoms), 3, dtype=torch.float64)
    values[z.stiff] = alanine.centre
    for k, turn in zip(group, (0, 1, 2), strict=True):
        values[k] = torch.tensor([1.09, 1.9, 2 * math.pi * turn / 3])
    even = Coordinates(z, alanine.folds, values[z.stiff], alanine.scale)
    w = torch.zeros_like(alanine.centre)
    first, _ = even.cartesian(even.dihedrals(t, 0 * turns), w)
    second, _ = even.cartesian(even.dihedrals(t, turns), w)
    hydrogens = {int(z.atoms[k]) for k in group}
    others = [atom for atom in range(len(first)) if atom not in hydrogens]
    assert_close(second[others], first[others], "round_trip")
    near = torch.cdist(first[list(hydrogens)], second[list(hydrogens)])
    assert float(near.min(1).values.max()) < 1e-6
    assert float(near.diagonal().min()) > 1.0


def test_folded_angles_come_back(alanine):
    t = math.pi * uniform(-1, 1, 4, len(alanine.folds), seed=4)
    for turn in range(3):
        turns = torch.full_like(t, turn, dtype=torch.int64)
        assert_close(alanine.folded(alanine.dihedrals(t, turns)), t, "round_trip")


def test_volume_is_that_of_the_jacobian(alanine):
    """With translation and a small rotation as the six other coordinates."""
    k = len(alanine.folds)
    d = math.pi * uniform(-1, 1, k, seed=5)
    w = normal(len(alanine.centre), seed=6)

    def place(q):
        x, _ = alanine.cartesian(q[6 : 6 + k], q[6 + k :])
        return (x + torch.linalg.cross(q[3:6].expand_as(x), x) + q[:3]).reshape(-1)

    q = torch.cat([torch.zeros(6, dtype=torch.float64), d, w])
    jacobian = torch.autograd.functional.jacobian(place, q)
    _, log_volume = alanine.cartesian(d, w)
    assert_close(log_volume, torch.linalg.slogdet(jacobian).logabsdet, "autograd")


def test_impossible_lengths_and_angles_have_no_volume(alanine):
    """And gradients stay finite."""
    w = torch.zeros(3, len(alanine.centre), dtype=torch.float64)
    values = alanine.centre.clone()
    lengths = torch.tensor([True, False, False]).expand(alanine.zmatrix.stiff.shape)
    is_length = lengths[alanine.zmatrix.stiff]
    values[is_length.nonzero()[0]] = -1.0
    w[1] = torch.linalg.solve(alanine.scale, values - alanine.centre)
    values = alanine.centre.clone()
    values[(~is_length).nonzero()[0]] = 4.0
    w[2] = torch.linalg.solve(alanine.scale, values - alanine.centre)
    w.requires_grad_()
    x, log_volume = alanine.cartesian(torch.zeros(3, len(alanine.folds)), w)
    assert torch.isfinite(log_volume).tolist() == [True, False, False]
    x.sum().backward(retain_graph=True)
    log_volume[0].backward()
    assert torch.isfinite(w.grad).all()

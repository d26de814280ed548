"""Internal coordinates of molecules: against MDTraj, autograd and themselves."""

import math

import mdtraj as md
import numpy as np
import openmm.app as app
import pytest
import torch

from openmm_nemo.errors import InputError
from openmm_nemo.geometry import rmsd
from openmm_nemo.geometry.zmatrix import ZMatrix, z_matrix
from tests.helpers import raises, uniform
from tests.tolerances import assert_close


@pytest.fixture(scope="module")
def peptide() -> tuple[app.Topology, torch.Tensor]:
    """A helix of alanines with a lysine, and its positions, nm."""
    topology = app.AmberPrmtopFile("examples/data/alanine_peptide.prmtop").topology
    positions = app.AmberInpcrdFile("examples/data/alanine_peptide.inpcrd").getPositions(
        asNumpy=True
    )
    return topology, torch.tensor(positions._value)


@pytest.fixture(scope="module")
def tree(peptide) -> ZMatrix:
    topology, x = peptide
    bonds = [(bond[0].index, bond[1].index) for bond in topology.bonds()]
    heavy = [atom.element.symbol != "H" for atom in topology.atoms()]
    return z_matrix(bonds, heavy, x)


def test_it_is_what_mdtraj_measures(peptide, tree):
    topology, x = peptide
    trajectory = md.Trajectory(x.numpy(), md.Topology.from_openmm(topology))
    z = tree.internal(x).numpy()
    atoms = tree.atoms.numpy()
    rows = np.concatenate([np.arange(len(atoms))[:, None], tree.references.numpy()], axis=1)
    for count, measure, first in (
        (2, md.compute_distances, 1),
        (3, md.compute_angles, 2),
        (4, md.compute_dihedrals, 3),
    ):
        found = measure(trajectory, atoms[rows[first:, :count]])[0]
        expected = z[first:, count - 2]
        if count == 4:
            expected = (
                expected
                + np.where(tree.relative_to != torch.arange(len(atoms)), z[tree.relative_to, 2], 0)[
                    3:
                ]
            )
            expected = (expected + math.pi) % (2 * math.pi) - math.pi
        np.testing.assert_allclose(found, expected, atol=2e-5)
    assert (z[0] == 0).all()
    assert (z[1, 1:] == 0).all()
    assert z[2, 2] == 0


def test_positions_come_back_with_their_chirality(peptide, tree):
    _, x = peptide
    placed = tree.cartesian(tree.internal(x))
    assert float(rmsd(placed, x)) < 1e-7
    assert float(rmsd(placed * torch.tensor([1.0, 1, -1]), x)) > 0.01


def test_any_coordinates_come_back(tree, peptide):
    """Also in a batch, with dihedrals all around."""
    n = len(tree.atoms)
    z = tree.internal(peptide[1]).expand(5, n, 3).clone()
    z[..., :2] *= uniform(0.9, 1.1, 5, n, 2, seed=1)
    z[:, 3:, 2] = math.pi * uniform(-1, 1, 5, n - 3, seed=2)
    assert_close(tree.internal(tree.cartesian(z)), z, "round_trip")


def test_volume_is_that_of_the_jacobian(tree, peptide):
    """With translation and a small rotation of the whole molecule as the six other coordinates."""
    z = tree.internal(peptide[1])
    used = tree.present

    def place(q: torch.Tensor) -> torch.Tensor:
        moved = torch.zeros_like(z).masked_scatter(used, q[6:])
        x = tree.cartesian(moved)
        return (x + torch.linalg.cross(q[3:6].expand_as(x), x) + q[:3]).reshape(-1)

    q = torch.cat([torch.zeros(6, dtype=torch.float64), z[used]])
    jacobian = torch.autograd.functional.jacobian(place, q)
    assert_close(tree.log_volume(z), torch.linalg.slogdet(jacobian).logabsdet, "autograd")


def test_few_coordinates_are_soft(tree, peptide):
    """One per bond between two atoms that have other neighbours; what is bound to one atom turns together."""
    topology, x = peptide
    bonds = [(bond[0].index, bond[1].index) for bond in topology.bonds()]
    counts = np.bincount(np.ravel(bonds))
    about = [
        tuple(sorted(int(tree.atoms[row]) for row in tree.references[k, :2])) for k in tree.torsions
    ]
    inner = [tuple(sorted(bond)) for bond in bonds if min(counts[list(bond)]) > 1]
    assert sorted(about) == sorted(inner)
    z = tree.internal(x)
    for row in tree.torsions[::4]:
        turned = z.clone()
        turned[row, 2] += 1
        moved = tree.cartesian(turned)
        assert float(rmsd(moved, x)) > 1e-3
        for atom in range(len(x)):
            shell = [atom, *(j for bond in bonds if atom in bond for j in bond if j != atom)]
            assert float(rmsd(moved[shell], x[shell])) < 1e-6


X = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1.5, 1, 0], [2.5, 1, 0.3]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("bonds", "x", "words"),
    [
        ([(0, 1), (1, 2), (2, 3), (3, 0)], X, ("ring", "atom 1", "atom 2")),
        ([(0, 1), (1, 2)], X, ("atom 3", "no path")),
        ([(0, 1), (1, 2), (2, 3)], X * torch.tensor([1.0, 0, 0]), ("on a line",)),
        ([(0, 1)], X[:2], ("2 atoms", "three or more")),
    ],
)
def test_what_has_no_such_coordinates_is_refused(bonds, x, words):
    with raises(InputError, *words):
        z_matrix(bonds, [True] * len(x), x)

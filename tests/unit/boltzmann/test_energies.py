"""Energies from a pool of Contexts: the same as from one, with gradients, whatever the structures."""

import math

import numpy as np
import pytest
import torch

from openmm_nemo.boltzmann.energies import EnergyPool
from openmm_nemo.errors import InputError
from tests.helpers import raises
from tests.tolerances import assert_close
from tests.unit.boltzmann.molecules import KT, energy, jostled, peptide


@pytest.mark.parametrize("workers", [1, 3])
def test_energies_are_those_of_openmm(workers):
    """Also where there are fewer structures than Contexts."""
    system, _, positions = peptide()
    pool = EnergyPool(system, workers=workers)
    for n in (5, 1):
        x = jostled(positions, n, 0.03)
        expected = [energy(system, one / 10) / KT for one in x.numpy()]
        assert_close(pool(x, 300.0), torch.tensor(expected, dtype=torch.float64), "rounding")
    assert pool.evaluations == 6
    assert pool.failures == 0


def test_gradients_are_those_of_finite_differences():
    system, _, positions = peptide()
    pool = EnergyPool(system, workers=2)
    x = jostled(positions, 3, 0.03).requires_grad_()
    (gradient,) = torch.autograd.grad(pool(x, 450.0).sum(), x)
    step = torch.zeros_like(x)
    for atom, axis in ((0, 0), (8, 2), (21, 1)):
        step[:, atom, axis] = 1e-5
        with torch.no_grad():
            found = (pool(x + step, 450.0) - pool(x - step, 450.0)) / 2e-5
        step[:, atom, axis] = 0
        assert_close(gradient[:, atom, axis], found, "finite_difference")


def test_structures_without_an_energy_are_counted_and_infinite():
    """Nothing else is lost."""
    system, _, positions = peptide()
    pool = EnergyPool(system, workers=2)
    x = jostled(positions, 4, 0.0)
    x[1] = math.nan
    x[2, 4] = x[2, 5]
    x.requires_grad_()
    u = pool(x, 300.0)
    assert torch.isfinite(u).tolist() == [True, False, False, True]
    assert (pool.evaluations, pool.failures) == (4, 2)
    (gradient,) = torch.autograd.grad(u[torch.isfinite(u)].sum(), x)
    assert (gradient[1:3] == 0).all()
    np.testing.assert_allclose(u[3].item(), energy(system, positions) / KT, rtol=1e-6)


def test_an_unknown_platform_is_refused():
    with raises(InputError, "Abacus", "Reference"):
        EnergyPool(peptide()[0], "Abacus")

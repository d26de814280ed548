"""What the dynamics samples, compared with Boltzmann distributions in closed form.

The energy is a sum over bonds, angles and dihedrals, so that all of those of all chains are independent samples of
three known densities. Each run takes the last state of 1024 chains of five beads: 4096 bonds, 3072 angles and 2048
dihedrals, which at p = 0.01 resolve a Kolmogorov-Smirnov distance of 0.025, 0.029 and 0.036. With the step sizes below
the discretisation makes distributions 1.5% wider (a distance of 0.004; the excess falls with the step size), while a
missing measure correction is a distance of 0.06 and rejected at p < 1e-6.
"""

import functools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from openmm_nemo.dynamics import StepOptions, StepParameters, rollout, steps
from openmm_nemo.geometry import bond_angles, detrend, internal_to_cartesian
from tests.unit.dynamics.energies import ENERGIES, RANGES, separable_energy

pytestmark = pytest.mark.boltzmann

N_CHAINS, N_BEADS = 1024, 5
KINDS = "b", "a", "d"

# Factors of exp(-U) in the densities of b, a and d: the volume element of x, and that of the unconstrained z.
VOLUME_OF_X = {"b": lambda b: b**2, "a": np.sin, "d": np.ones_like}
VOLUME_OF_Z = {
    "b": lambda b: 1 / (1 - np.exp(-b)),  # db~/db
    "a": lambda a: math.pi / (a * (math.pi - a)),  # da~/da
    "d": np.ones_like,
}


@functools.cache
def distribution(kind, volume_of_x):
    """Grid and cumulative distribution of one internal coordinate."""
    grid = np.linspace(*RANGES[kind], 20001)
    volume = (VOLUME_OF_X if volume_of_x else VOLUME_OF_Z)[kind](grid)
    density = volume * np.exp(-ENERGIES[kind](torch.from_numpy(grid)).numpy())
    cumulative = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return grid, cumulative / cumulative[-1]


def p_value(values, kind, volume_of_x=True):
    """Probability of the Kolmogorov-Smirnov distance to exp(-U) dx or to exp(-U) dz."""
    grid, cumulative = distribution(kind, volume_of_x)
    return stats.kstest(values.ravel(), lambda v: np.interp(v, grid, cumulative)).pvalue


def start():
    """Chains with wrong bonds and angles. Dihedrals relax slowly and begin where they should stay."""
    random = np.random.default_rng(1)
    grid, cumulative = distribution("d", True)
    z = random.normal(size=(N_CHAINS, N_BEADS, 3)) * [0.4, 0.5, 0] + [3.8, 0.4, 0]
    z[..., 2] = np.interp(random.uniform(size=z.shape[:2]), cumulative, grid)
    return internal_to_cartesian(torch.from_numpy(z))


def correlation(before, after):
    pair = torch.stack([before.flatten(), after.flatten()])
    return abs(torch.corrcoef(pair)[0, 1])


def simulate(n_steps, integrator, preconditioner, detrended, corrected):
    """Bonds, angles and dihedrals after a number of steps, and what is left of where they began."""
    one = torch.ones(N_CHAINS, N_BEADS, dtype=torch.float64)
    parameters = StepParameters(
        cartesian_step=0.003 * one[:, 0],
        internal_step=0.001 * one[:, 0],
        cartesian_preconditioner=one,
        internal_preconditioner=one[..., None] * torch.tensor(preconditioner),
        mask=one,
    )
    first = x = start()
    for first_step in range(0, n_steps, 100):
        x = rollout(
            separable_energy,
            x,
            parameters,
            100,
            seed=1000,
            first_step=first_step,
            integrator=integrator,
            options=StepOptions(math.inf, detrended, corrected),
        ).x[-1]
    before, after = bond_angles(first), bond_angles(x)
    left = {
        "b": correlation(before[0], after[0]),
        "a": correlation(before[1], after[1]),
        "d": correlation(torch.exp(1j * before[2]), torch.exp(1j * after[2])),
    }
    return {kind: v.numpy() for kind, v in zip(KINDS, after, strict=True)}, left


@functools.cache
def mixed(detrended, corrected=True):
    """Preconditioners that leave most of the motion of bonds and angles to the internal step."""
    return simulate(1000, "mixed", (12.0, 9.0, 5.0), detrended, corrected)


@functools.cache
def internal_steps_only():
    return simulate(1000, "transform", (12.0, 6.0, 3.0), detrended=False, corrected=False)


def test_chains_begin_far_from_every_distribution():
    b, a, _ = (v.numpy() for v in bond_angles(start()))
    for kind, values in (("b", b), ("a", a)):
        for volume_of_x in (True, False):
            assert p_value(values, kind, volume_of_x) < 1e-6


@pytest.mark.parametrize("detrended", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_corrected_dynamics_samples_the_boltzmann_distribution(kind, detrended):
    values, left = mixed(detrended)
    assert left[kind] < (0.1 if kind == "d" else 0.05)
    assert p_value(values[kind], kind) > 0.01
    if kind != "d":
        # The same samples tell apart the measure that the uncorrected internal step leaves invariant.
        assert p_value(values[kind], kind, volume_of_x=False) < 1e-6


@pytest.mark.parametrize("kind", ["b", "a"])
def test_the_same_dynamics_without_the_correction_is_rejected(kind):
    values, left = mixed(detrended=False, corrected=False)
    assert left[kind] < 0.05
    assert p_value(values[kind], kind) < 1e-6


@pytest.mark.parametrize("kind", ["b", "a"])
def test_uncorrected_internal_steps_sample_the_measure_of_internal_coordinates(kind):
    values, left = internal_steps_only()
    assert left[kind] < 0.05
    assert p_value(values[kind], kind, volume_of_x=False) > 0.01
    assert p_value(values[kind], kind) < 1e-6


def test_linear_detrending_would_bias_what_is_sampled(monkeypatch):
    # Why detrend_rigidly exists: with `detrend` in its place, the run that passes above is far off.
    monkeypatch.setattr(steps, "detrend_rigidly", detrend)
    values, _ = simulate(400, "mixed", (12.0, 9.0, 5.0), detrended=True, corrected=True)
    for kind in ("b", "a"):
        assert p_value(values[kind], kind) < 1e-6
        assert p_value(mixed(True)[0][kind], kind) > 0.01

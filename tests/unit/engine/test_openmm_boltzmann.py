"""What many independent chains sample in OpenMM against the densities of their bonds, angles and dihedrals.

False alarms: every comparison with a density fails at p < 0.01 for samples that are drawn from it. Seeds are fixed, so
that a test that has passed goes on to pass unless the dynamics changes.
"""

import math

import numpy as np
import openmm as mm
import pytest
from scipy import stats

from openmm_nemo.engine.integrator import CompiledIntegrator, PythonIntegrator
from tests.unit.engine.boltzmann import (
    BOLTZMANN,
    UNCONSTRAINED,
    chains_of,
    measured,
    p_value,
    start,
    system_of,
)
from tests.unit.engine.platforms import platform_context
from tests.unit.engine.toys import GAS_CONSTANT, make_context, positions_of

pytestmark = pytest.mark.boltzmann

N_CHAINS = 256

QUICK = "Reference", "CPU"
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("OpenCL mixed", "Python")]
EVERYWHERE = pytest.mark.parametrize("where", [*QUICK, *SLOW])
"""Platforms of the compiled integrator, and the one that is driven from Python."""


def context_of(
    where: str, system: mm.System, positions: np.ndarray, *args, **options
) -> mm.Context:
    if where == "Python":
        return make_context(system, PythonIntegrator(*args, **options), positions)
    return platform_context(system, CompiledIntegrator(*args, **options), positions, where)


def sample(
    where: str,
    length: int,
    cartesian: float,
    internal: float,
    n_frames: int,
    every: int = 150,
    **options,
) -> dict[str, np.ndarray]:
    """Bonds and angles of frames that are ``every`` steps apart, dihedrals, which are slow, of the last one.

    The steps are in Angstrom^2 and in the units of z.
    """
    chains = chains_of(length, N_CHAINS)
    options = {"max_displacement": math.inf, "seed": 12345, "chains": chains, **options}
    temperature = options.pop("temperature", 300)
    positions, system = start(length, N_CHAINS), system_of(chains)
    arguments = (temperature, cartesian / 100, internal)
    context = context_of(where, system, positions, *arguments, **options)
    context.getIntegrator().step(4 * every)
    frames = []
    for _ in range(n_frames):
        context.getIntegrator().step(every)
        frames.append(positions_of(context))
    values = measured(frames, chains)
    # What is left of a deviation from one frame to the next: samples count in full.
    for name in "ba":
        assert abs(np.corrcoef(values[name][:-1].ravel(), values[name][1:].ravel())[0, 1]) < 0.1
    return {"b": values["b"].ravel(), "a": values["a"].ravel(), "d": values["d"][-1]}


@EVERYWHERE
@pytest.mark.parametrize(
    ("length", "detrend"), [(4, False), (6, True)], ids=["4 beads", "6 beads, detrended"]
)
def test_corrected_steps_sample_the_boltzmann_distribution(length, detrend, where):
    values = sample(where, length, 0.002, 0.002, 8, detrend=detrend, measure_correction=True)
    for name in "bad":
        assert p_value(values[name], name, BOLTZMANN) > 0.01, name
    assert p_value(values["b"], "b", UNCONSTRAINED) < 1e-6
    assert p_value(-values["d"], "d", BOLTZMANN) < 1e-6


@EVERYWHERE
def test_uncorrected_internal_steps_sample_the_density_in_z(where):
    values = sample(where, 5, 0.0, 0.004, 8, detrend=False)
    for name in "bad":
        assert p_value(values[name], name, UNCONSTRAINED) > 0.01, name
    assert p_value(values["b"], "b", BOLTZMANN) < 1e-6
    assert p_value(values["a"], "a", BOLTZMANN) < 1e-6


@EVERYWHERE
def test_particles_in_no_chain_sample_the_temperature(where):
    n, spring = 3000, 1000.0
    system = mm.System()
    well = mm.CustomExternalForce(f"0.5*{spring}*(x*x + y*y + z*z)")
    for _ in range(n + 1):
        system.addParticle(1.0)
    for particle in range(n + 1):
        well.addParticle(particle)
    system.addForce(well)
    for temperature in (150, 600):
        width = math.sqrt(GAS_CONSTANT * temperature / spring)
        # eps k / 4 kT = 0.05: what is sampled is wider by 1 / (1 - 0.05).
        context = context_of(
            where,
            system,
            np.zeros((n + 1, 3)),
            temperature,
            0.2 * width**2,
            0.0,
            chains=[[0]],
            seed=3,
        )
        context.getIntegrator().step(60)
        x = positions_of(context)[1:].ravel() / (width / math.sqrt(0.95))
        assert stats.kstest(x, "norm").pvalue > 0.01


def test_corrected_steps_sample_the_boltzmann_distribution_on_gpu_platforms():
    values = sample("OpenCL mixed", 4, 0.002, 0.002, 3, detrend=False, measure_correction=True)
    for name in "bad":
        assert p_value(values[name], name, BOLTZMANN) > 0.01, name
    assert p_value(-values["d"], "d", BOLTZMANN) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("where", QUICK)
@pytest.mark.parametrize("detrend", [False, True])
@pytest.mark.parametrize("temperature", [300, 450])
def test_smaller_steps_and_more_samples_agree_as_well(detrend, temperature, where):
    values = sample(
        where,
        5,
        0.001,
        0.001,
        50,
        every=500,
        detrend=detrend,
        measure_correction=True,
        temperature=temperature,
    )
    for name in "bad":
        assert p_value(values[name], name, BOLTZMANN, temperature) > 0.01, name

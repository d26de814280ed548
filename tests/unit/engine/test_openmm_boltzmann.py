"""What many independent chains sample in OpenMM against the densities of their bonds, angles and dihedrals.

All terms of the energy are of one internal coordinate, so that exp(-U/kT) dx makes them independent with densities
p(b) ~ b^2 exp(-U(b)/kT), p(a) ~ sin(a) exp(-U(a)/kT) and p(d) ~ exp(-U(d)/kT).
"""

import math

import mdtraj as md
import numpy as np
import openmm as mm
import pytest
from scipy import stats

from openmm_nemo import NemoLangevinIntegrator
from tests.unit.engine.toys import GAS_CONSTANT, KT, make_context, positions_of

pytestmark = pytest.mark.usefixtures("implementation")

N_CHAINS = 256

# In kT at 300 K, Angstrom and radian.
BOND = (3.8, 10.0)
ANGLE = (1.9, 20.0)


def bond_energy(b):
    return 0.5 * BOND[1] * (b - BOND[0]) ** 2


def angle_energy(a):
    return 0.5 * ANGLE[1] * (a - ANGLE[0]) ** 2


def dihedral_energy(d):
    """Two wells of different depth: one sign of the dihedral is the likelier."""
    return 0.5 * np.cos(2 * d) + 0.4 * np.sin(d)


def chains_of(length: int) -> list[list[int]]:
    return [list(range(k * length, (k + 1) * length)) for k in range(N_CHAINS)]


def system_of(length: int) -> mm.System:
    system = mm.System()
    bonds, angles = mm.HarmonicBondForce(), mm.HarmonicAngleForce()
    torsions = mm.CustomTorsionForce(f"{KT}*(0.5*cos(2*theta) + 0.4*sin(theta))")
    for c in chains_of(length):
        for _ in c:
            system.addParticle(100.0)
        for i in c[:-1]:
            bonds.addBond(i, i + 1, BOND[0] / 10, 100 * BOND[1] * KT)
        for i in c[:-2]:
            angles.addAngle(i, i + 1, i + 2, ANGLE[0], ANGLE[1] * KT)
        for i in c[:-3]:
            torsions.addTorsion(i, i + 1, i + 2, i + 3, [])
    for force in (bonds, angles, torsions):
        system.addForce(force)
    return system


def build(b, a, d) -> np.ndarray:
    """Positions (n + 1, 3) from n bonds, n - 1 angles and n - 2 dihedrals, atom by atom."""
    x = [np.zeros(3), np.array([b[0], 0, 0])]
    x.append(x[1] + b[1] * np.array([-np.cos(a[0]), np.sin(a[0]), 0]))
    for k in range(2, len(b)):
        u = x[-1] - x[-2]
        u /= np.linalg.norm(u)
        n = np.cross(x[-2] - x[-3], u)
        n /= np.linalg.norm(n)
        side = np.cos(d[k - 2]) * np.cross(n, u) + np.sin(d[k - 2]) * n
        x.append(x[-1] + b[k] * (-np.cos(a[k - 1]) * u + np.sin(a[k - 1]) * side))
    return np.array(x)


def start(length: int) -> np.ndarray:
    """All bonds and angles at their minima; dihedrals, which are slow, as they are to be sampled. nm."""
    random = np.random.default_rng(1)
    grid, cumulative = distribution("d", BOLTZMANN, 300)
    chains = [
        build(
            np.full(length - 1, BOND[0]),
            np.full(length - 2, ANGLE[0]),
            np.interp(random.uniform(size=length - 3), cumulative, grid),
        )
        for _ in range(N_CHAINS)
    ]
    return np.concatenate(chains) / 10


def sample(
    length: int, cartesian: float, internal: float, n_frames: int, every: int = 150, **options
) -> dict[str, np.ndarray]:
    """Bonds and angles of frames that are ``every`` steps apart, dihedrals, which are slow, of the last one.

    Measured by MDTraj. The steps are in Angstrom^2 and in the units of z.
    """
    integrator = NemoLangevinIntegrator(
        options.pop("temperature", 300),
        cartesian / 100,
        internal,
        max_displacement=math.inf,
        seed=12345,
        chains=chains_of(length),
        **options,
    )
    context = make_context(system_of(length), integrator, start(length), "Reference")
    integrator.step(4 * every)
    frames = []
    for _ in range(n_frames):
        integrator.step(every)
        frames.append(positions_of(context))
    trajectory = md.Trajectory(np.array(frames, dtype=np.float32), None)
    chains = np.array(chains_of(length))

    def tuples(n: int) -> np.ndarray:
        return np.concatenate([chains[:, k : k + n] for k in range(length - n + 1)])

    return {
        "b": 10 * md.compute_distances(trajectory, tuples(2), periodic=False).ravel(),
        "a": md.compute_angles(trajectory, tuples(3), periodic=False).ravel(),
        "d": md.compute_dihedrals(trajectory[-1], tuples(4), periodic=False).ravel(),
    }


GRIDS = {
    "b": np.linspace(2, 6, 8001),
    "a": np.linspace(1e-6, math.pi - 1e-6, 8001),
    "d": np.linspace(-math.pi, math.pi, 8001),
}
ENERGIES = {"b": bond_energy, "a": angle_energy, "d": dihedral_energy}

BOLTZMANN = {"b": lambda b: b**2, "a": np.sin, "d": np.ones_like}
"""Volume of the coordinate in dx."""

UNCONSTRAINED = {
    "b": lambda b: 1 / -np.expm1(-b),
    "a": lambda a: 1 / (a * (math.pi - a)),
    "d": np.ones_like,
}
"""Volume of the coordinate in dz: db~/db and da~/da."""


def distribution(name: str, volume: dict, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Cumulative distribution of a coordinate on its grid."""
    grid = GRIDS[name]
    density = volume[name](grid) * np.exp(-ENERGIES[name](grid) * 300 / temperature)
    cumulative = np.concatenate([[0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    return grid, cumulative / cumulative[-1]


def p_value(values: np.ndarray, name: str, volume: dict, temperature: float = 300.0) -> float:
    """Of Kolmogorov and Smirnov."""
    grid, cumulative = distribution(name, volume, temperature)
    return stats.kstest(values, lambda v: np.interp(v, grid, cumulative)).pvalue


@pytest.mark.parametrize(
    ("length", "detrend"), [(4, False), (6, True)], ids=["4 beads", "6 beads, detrended"]
)
def test_corrected_steps_sample_the_boltzmann_distribution(length, detrend):
    values = sample(length, 0.002, 0.002, 8, detrend=detrend, measure_correction=True)
    for name in "bad":
        assert p_value(values[name], name, BOLTZMANN) > 0.01, name
    assert p_value(values["b"], "b", UNCONSTRAINED) < 1e-6
    assert p_value(-values["d"], "d", BOLTZMANN) < 1e-6


def test_uncorrected_internal_steps_sample_the_density_in_z():
    values = sample(5, 0.0, 0.004, 8, detrend=False)
    for name in "bad":
        assert p_value(values[name], name, UNCONSTRAINED) > 0.01, name
    assert p_value(values["b"], "b", BOLTZMANN) < 1e-6
    assert p_value(values["a"], "a", BOLTZMANN) < 1e-6


def test_particles_in_no_chain_sample_the_temperature():
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
        integrator = NemoLangevinIntegrator(temperature, 0.2 * width**2, 0.0, chains=[[0]], seed=3)
        context = make_context(system, integrator, np.zeros((n + 1, 3)), "Reference")
        integrator.step(60)
        x = positions_of(context)[1:].ravel() / (width / math.sqrt(0.95))
        assert stats.kstest(x, "norm").pvalue > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("detrend", [False, True])
@pytest.mark.parametrize("temperature", [300, 450])
def test_smaller_steps_and_more_samples_agree_as_well(detrend, temperature):
    values = sample(
        5,
        0.001,
        0.001,
        50,
        every=300,
        detrend=detrend,
        measure_correction=True,
        temperature=temperature,
    )
    for name in "bad":
        assert p_value(values[name], name, BOLTZMANN, temperature) > 0.01, name

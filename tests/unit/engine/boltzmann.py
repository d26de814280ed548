"""An energy of which the densities of all bonds, angles and dihedrals are known.

Each term is of one internal coordinate, so that exp(-U/kT) dx makes them independent with densities
p(b) ~ b^2 exp(-U(b)/kT), p(a) ~ sin(a) exp(-U(a)/kT) and p(d) ~ exp(-U(d)/kT).
"""

import math

import mdtraj as md
import numpy as np
import openmm as mm
from scipy import stats

from tests.unit.engine.toys import KT

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


def chains_of(length: int, n_chains: int) -> list[list[int]]:
    return [list(range(k * length, (k + 1) * length)) for k in range(n_chains)]


def system_of(chains: list[list[int]]) -> mm.System:
    system = mm.System()
    bonds, angles = mm.HarmonicBondForce(), mm.HarmonicAngleForce()
    torsions = mm.CustomTorsionForce(f"{KT}*(0.5*cos(2*theta) + 0.4*sin(theta))")
    for c in chains:
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


def start(length: int, n_chains: int) -> np.ndarray:
    """All bonds and angles at their minima; dihedrals, which are slow, as they are to be sampled. nm."""
    random = np.random.default_rng(1)
    grid, cumulative = distribution("d", BOLTZMANN, 300)
    chains = [
        build(
            np.full(length - 1, BOND[0]),
            np.full(length - 2, ANGLE[0]),
            np.interp(random.uniform(size=length - 3), cumulative, grid),
        )
        for _ in range(n_chains)
    ]
    return np.concatenate(chains) / 10


def measured(frames: list[np.ndarray], chains: list[list[int]]) -> dict[str, np.ndarray]:
    """Bonds, angles and dihedrals of every frame, by MDTraj, Angstrom and radian."""
    trajectory = md.Trajectory(np.array(frames, dtype=np.float32), None)
    array = np.array(chains)

    def tuples(n: int) -> np.ndarray:
        return np.concatenate([array[:, k : k + n] for k in range(array.shape[1] - n + 1)])

    return {
        "b": 10 * md.compute_distances(trajectory, tuples(2), periodic=False),
        "a": md.compute_angles(trajectory, tuples(3), periodic=False),
        "d": md.compute_dihedrals(trajectory, tuples(4), periodic=False),
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

"""Jumps and local moves on a chain of four beads, of which all distributions are known.

Its dihedral has two wells with a barrier of 10 kT, which local moves do not cross; bonds and angles are harmonic. The
generator draws each coordinate from another distribution than that of the energy: wells in wrong proportions, and too
wide.
"""

from typing import NamedTuple

import numpy as np
import openmm as mm
import pytest
import torch
from openmm import unit
from scipy import stats

from openmm_nemo import NemoLangevinIntegrator
from openmm_nemo.dynamics import Schedule
from openmm_nemo.errors import InputError
from openmm_nemo.geometry.zmatrix import z_matrix
from openmm_nemo.sampling import MixtureSampler
from tests.helpers import need_plugin, platform, raises
from tests.tolerances import MIXTURE
from tests.unit.engine.boltzmann import ANGLE, BOND, build
from tests.unit.engine.toys import KT

BARRIER, ASYMMETRY = 5.0, 0.4
"""U/kT of the dihedral is -BARRIER cos(2 d) - ASYMMETRY cos(d): minima at 0 and pi, maxima between them."""

START = build(np.full(3, BOND[0]), np.full(2, ANGLE[0]), [0.0]) / 10
TREE = z_matrix([(0, 1), (1, 2), (2, 3)], [True] * 4, torch.from_numpy(START))


def double_well() -> mm.System:
    system = mm.System()
    bonds, angles = mm.HarmonicBondForce(), mm.HarmonicAngleForce()
    torsion = mm.CustomTorsionForce(f"{-KT}*({BARRIER}*cos(2*theta) + {ASYMMETRY}*cos(theta))")
    for _ in range(4):
        system.addParticle(100.0)
    for i in range(3):
        bonds.addBond(i, i + 1, BOND[0] / 10, 100 * BOND[1] * KT)
    for i in range(2):
        angles.addAngle(i, i + 1, i + 2, ANGLE[0], ANGLE[1] * KT)
    torsion.addTorsion(0, 1, 2, 3, [])
    for force in (bonds, angles, torsion):
        system.addForce(force)
    return system


def coordinates(positions: np.ndarray) -> dict[str, np.ndarray]:
    """Bonds (n, 3), Angstrom, angles (n, 2) and dihedrals (n, 1), radian, of positions (n, 4, 3), nm."""
    z = TREE.internal(torch.from_numpy(10 * positions)).numpy()
    return {"b": z[:, 1:, 0], "a": z[:, 2:, 1], "d": z[:, 3:, 2]}


def log_density(b: np.ndarray, a: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Log-density (n,) of the Boltzmann distribution in these coordinates, but for a constant."""
    energy = BOND[1] * (b - BOND[0]) ** 2 / 2
    bend = ANGLE[1] * (a - ANGLE[0]) ** 2 / 2
    turn = BARRIER * np.cos(2 * d) + ASYMMETRY * np.cos(d)
    return (2 * np.log(b) - energy).sum(1) + (np.log(np.sin(a)) - bend).sum(1) + turn.sum(1)


class Samples(NamedTuple):
    positions: np.ndarray
    log_weights: np.ndarray


class Analytic:
    """Normal bonds and angles, and a dihedral from two von Mises distributions: mean and width, weight and center."""

    BONDS, ANGLES = (BOND[0] + 0.03, 1.08 * BOND[1] ** -0.5), (ANGLE[0], 1.08 * ANGLE[1] ** -0.5)
    WELLS, NARROWNESS = ((0.35, 0.0), (0.65, np.pi)), 16.0

    def __init__(self) -> None:
        self.system = double_well()
        self.temperature = 300.0

    def sample(self, n: int, seed: int) -> Samples:
        random = np.random.default_rng(seed)
        z = np.zeros((n, 4, 3))
        z[:, 1:, 0] = random.normal(*self.BONDS, (n, 3))
        z[:, 2:, 1] = random.normal(*self.ANGLES, (n, 2))
        weights, centres = zip(*self.WELLS, strict=True)
        z[:, 3, 2] = random.vonmises(random.choice(centres, n, p=weights), self.NARROWNESS)
        positions = TREE.cartesian(torch.from_numpy(z)).numpy() / 10
        return Samples(positions, self.log_weights(positions))

    def log_weights(self, positions: np.ndarray) -> np.ndarray:
        z = coordinates(positions)
        drawn = np.log(
            sum(w * np.exp(self.NARROWNESS * np.cos(z["d"] - c)) for w, c in self.WELLS)
        ).sum(1)
        for name, (mean, width) in (("b", self.BONDS), ("a", self.ANGLES)):
            drawn -= (((z[name] - mean) / width) ** 2).sum(1) / 2
        return log_density(**z) - drawn


class WithoutDensity(Analytic):
    """Jumps by the energy alone: the wrong rule."""

    def log_weights(self, positions: np.ndarray) -> np.ndarray:
        return log_density(**coordinates(positions))


def distances(positions: np.ndarray) -> dict[str, float]:
    """Kolmogorov and Smirnov's distances of each coordinate from its closed form."""
    grids = {
        "b": np.linspace(2, 6, 8001),
        "a": np.linspace(1e-6, np.pi - 1e-6, 8001),
        "d": np.linspace(-np.pi, np.pi, 8001),
    }
    still = {"b": np.array([[BOND[0]]]), "a": np.array([[ANGLE[0]]]), "d": np.array([[0.0]])}
    found = {}
    for name, values in coordinates(positions).items():
        grid = grids[name]
        density = np.exp(log_density(**still | {name: grid[:, None]}))
        cumulative = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
        for k, column in enumerate(values.T):
            cdf = np.interp(column, grid, cumulative / cumulative[-1])
            found[f"{name}{k}"] = stats.kstest(cdf, "uniform").statistic
    return found


def nemo(temperature: float = 300.0, **options) -> mm.Integrator:
    need_plugin()
    return NemoLangevinIntegrator(temperature, 3e-4, 0.06, seed=5, metropolis=True, **options)


def langevin(temperature=300.0) -> mm.Integrator:
    """With steps of 7 fs, which are tiny: the fastest bond has a period of 900 fs."""
    integrator = mm.LangevinMiddleIntegrator(temperature, 5.0, 0.007)
    integrator.setRandomNumberSeed(5)
    return integrator


def sampler(generator=None, integrator=None, **options) -> MixtureSampler:
    options = {"steps": 10, "seed": 3, "platform": platform("Reference"), **options}
    return MixtureSampler(generator or Analytic(), integrator, **options)


# What is sampled


def thinned(chain: MixtureSampler, every: int) -> np.ndarray:
    """6,000 states that count in full: no coordinate remembers the one before."""
    positions = chain.run(6000 * every).positions[every - 1 :: every]
    for values in coordinates(positions).values():
        for column in np.cos(values).T:
            assert abs(np.corrcoef(column[1:], column[:-1])[0, 1]) < 0.06
    return positions


@pytest.mark.boltzmann
@pytest.mark.parametrize(
    ("integrator", "every"),
    [(None, 8), (nemo, 5), (langevin, 5)],
    ids=["jumps", "nemo", "langevin"],
)
def test_the_boltzmann_distribution_is_sampled(integrator, every):
    """All distances are below 0.03. Of 6,000 independent samples, one of six is above in 1 of 4,100 runs.

    With the largest correlation that `thinned` lets pass, it is 1 of 1,200.
    """
    found = distances(thinned(sampler(integrator=integrator and integrator()), every))
    assert max(found.values()) < MIXTURE["KS"], found


@pytest.mark.boltzmann
@pytest.mark.parametrize("integrator", [None, nemo], ids=["jumps", "nemo"])
def test_a_wrong_rule_is_noticed(integrator):
    chain = sampler(WithoutDensity(), integrator and integrator())
    found = distances(chain.run(12000).positions)
    assert max(found.values()) > 2 * MIXTURE["KS"], found


def test_local_moves_alone_stay_in_their_well():
    """So that it is the jumps that have given both their weights."""

    class Impossible(Analytic):
        def sample(self, n: int, seed: int) -> Samples:
            samples = super().sample(n, seed)
            return Samples(samples.positions, np.full(n, -np.inf))

    found = sampler(Impossible(), nemo(), positions=START).run(1000)
    assert found.accepted == 0
    assert np.abs(coordinates(found.positions)["d"]).max() < np.pi / 2


# The chain


class Listed:
    """Samples of free beads with log-weights from a list, all at x = 0, 1, 2, ... nm, in this order."""

    def __init__(self, log_weights: list[float], n_beads: int = 1, mass: float = 1.0):
        self.system = mm.System()
        for _ in range(n_beads):
            self.system.addParticle(mass)
        self.temperature = 300.0
        self._listed = np.array(log_weights)

    def sample(self, n: int, seed: int) -> Samples:
        positions = np.zeros((n, self.system.getNumParticles(), 3))
        positions[:, :, 0] = np.arange(n)[:, None]
        return Samples(positions, self._listed)

    def log_weights(self, positions: np.ndarray) -> np.ndarray:
        return np.zeros(len(positions))


def visited(*log_weights: float, **options) -> tuple[list[int], int]:
    """Which samples the chain was at, until there are no more, and the number of accepted ones."""
    chain = MixtureSampler(Listed(list(log_weights)), batch=len(log_weights), **options)
    n = len(log_weights) - ("positions" not in options)
    found = chain.run(n)
    assert found.proposed == n
    return found.positions[:, 0, 0].astype(int).tolist(), found.accepted


def test_better_samples_are_accepted_and_hopeless_ones_never():
    assert visited(0.0, -80.0, 2.0, -80.0, 4.0, 4.0) == ([0, 2, 2, 4, 5], 3)


def test_impossible_samples_are_never_accepted():
    inf, nan = np.inf, np.nan
    assert visited(-80.0, -inf, nan, 0.0, nan, -inf) == ([0, 0, 3, 3, 3], 1)


def test_the_chain_starts_at_the_first_possible_sample_or_where_it_is_told():
    chain = MixtureSampler(Listed([-np.inf, np.nan, 0.0, -80.0]), batch=4)
    assert chain.run(1).positions[0, 0, 0] == 2
    assert visited(-80.0, -80.0, 1.0, positions=[[7.0, 0, 0]]) == ([7, 7, 2], 1)


@pytest.mark.parametrize("ratio", [0.2, 0.7])
def test_worse_samples_are_accepted_by_the_ratio_of_weights(ratio):
    """Every other sample is worse than the one before. Four standard deviations: a false alarm in 16,000 runs."""
    n = 5000
    states, _ = visited(0.0, *[np.log(ratio), 0.0] * n, seed=1)
    share = np.mean(np.array(states[::2]) == np.arange(1, 2 * n, 2))
    assert share == pytest.approx(ratio, abs=4 * (ratio * (1 - ratio) / n) ** 0.5)
    assert states[1::2] == list(range(2, 2 * n + 1, 2))


def test_where_the_integrator_went_has_a_weight_of_its_own():
    """From the best sample, whose weight would keep the chain for ever, steps lead to where the log-weight is 0."""
    log_weights = [0.0, 50.0, 1.0, 2.0]
    options = {"steps": 1, "batch": 4, "platform": platform("Reference")}
    moving = MixtureSampler(Listed(log_weights), mm.VerletIntegrator(0.001), **options)
    assert moving.run(3).accepted == 3
    assert MixtureSampler(Listed(log_weights), batch=4).run(3).accepted == 1


@pytest.mark.parametrize("integrator", [None, nemo, langevin])
def test_the_same_seed_gives_the_same_chain_at_once_and_in_parts(integrator):
    def chain(**options) -> MixtureSampler:
        return sampler(integrator=integrator and integrator(), batch=8, **options)

    whole = chain().run(30)
    parts = chain()
    found = [parts.run(n) for n in (11, 19)]
    np.testing.assert_array_equal(whole.positions, np.concatenate([f.positions for f in found]))
    assert [f.proposed for f in found] == [11, 19]
    assert sum(f.accepted for f in found) == whole.accepted
    assert 0 < whole.accepted < 30
    assert not np.array_equal(whole.positions, chain(seed=4).run(30).positions)


def test_velocities_are_new_after_an_accepted_jump():
    """Without forces, beads go on as they were until they jump. p is above 1e-4: a false alarm in 5,000 runs."""
    mass, step, steps = 2.0, 0.5, 3
    chain = MixtureSampler(
        Listed([0.0, -np.inf, -np.inf, 0.0], n_beads=2000, mass=mass),
        mm.VerletIntegrator(step),
        steps,
        batch=4,
        platform=platform("Reference"),
    )
    way = np.diff(chain.run(3).positions, axis=0, prepend=0)
    np.testing.assert_allclose(way[1], way[0], atol=1e-12)
    before, after = way[0] / (steps * step), (way[2] + 2 * way[0] - [3, 0, 0]) / (steps * step)
    for velocities in (before, after):
        assert stats.kstest(velocities.ravel() / np.sqrt(KT / mass), "norm").pvalue > 1e-4
    assert abs(np.corrcoef(before.ravel(), after.ravel())[0, 1]) < 4 / 6000**0.5


# Bad input


def test_another_temperature_is_refused():
    for integrator in (nemo(310.0), langevin(299.0)):
        with raises(InputError, 300, "temperature"):
            sampler(integrator=integrator)
    sampler(integrator=langevin(300 * unit.kelvin))
    sampler(integrator=mm.VerletIntegrator(0.001))  # it has none


def test_a_schedule_is_refused():
    with raises(InputError, "schedule"):
        sampler(integrator=nemo(schedule=Schedule(20, 8.0, 0.2)))


@pytest.mark.parametrize("name", ["steps", "batch"])
def test_numbers_that_are_not_positive_are_refused(name):
    with raises(InputError, name, 0):
        sampler(**{name: 0})


def test_starts_that_are_impossible_are_refused():
    with raises(InputError, "positions", "(3, 3)", "(4, 3)"):
        sampler(positions=START[:3])
    generator = Analytic()
    generator.log_weights = lambda positions: np.full(len(positions), -np.inf)
    with raises(InputError, "positions", "-inf"):
        sampler(generator, positions=START)
    with raises(InputError, 3, "positions"):
        visited(np.nan, -np.inf, np.nan)

"""`metropolis=True`: every step against its specification in torch, and what is sampled at large steps.

`Walk` takes the steps of `openmm_nemo.dynamics.metropolis`, float64, with the same seed.
"""

import copy
import itertools
import math
from typing import NamedTuple

import numpy as np
import openmm as mm
import pytest
import torch
from torch import Tensor

from openmm_nemo.dynamics import Schedule, StepParameters, langevin_noise
from openmm_nemo.dynamics.metropolis import evaluate, metropolis_step
from openmm_nemo.dynamics.noise import acceptance_numbers
from openmm_nemo.dynamics.schedule import scaled
from openmm_nemo.engine.integrator import CompiledIntegrator
from openmm_nemo.geometry import (
    bond_angles,
    cartesian_to_internal,
    internal_to_cartesian,
    rigid_frame,
)
from tests.helpers import random_chain
from tests.tolerances import METROPOLIS
from tests.unit.engine.boltzmann import (
    BOLTZMANN,
    chains_of,
    measured,
    p_value,
    start,
    system_of,
)
from tests.unit.engine.platforms import platform_context
from tests.unit.engine.toys import KT, chain_forces, positions_of

# kJ/mol, nm and radian; all of them float32 numbers, to which OpenCL rounds.
BOND = (0.375, 4096.0)
ANGLE = (2.0, 64.0)
TORSION = 2.0
PULL = 16.0
WELL = 32.0

PLATFORMS = pytest.mark.parametrize("name", list(METROPOLIS))


class Toy(NamedTuple):
    """A system of n particles with chains, the others free, or, if in ``fixed``, without mass."""

    n: int
    chains: list[list[int]]
    fixed: tuple[int, ...] = ()

    @property
    def free(self) -> list[int]:
        inside = {particle for chain in self.chains for particle in chain}
        return [i for i in range(self.n) if i not in inside and i not in self.fixed]

    def start(self) -> np.ndarray:
        """Bent chains and particles around them, nm."""
        x = 0.2 * np.random.default_rng(1).normal(size=(self.n, 3))
        for k, chain in enumerate(self.chains):
            x[chain] = random_chain(len(chain), seed=40 + 10 * k).numpy() / 10
        return x

    def system(self) -> mm.System:
        """Bonds, angles and torsions, a well, and a spring between the first and the last particle."""
        system = mm.System()
        spring = mm.HarmonicBondForce()
        well = mm.CustomExternalForce(f"{WELL}*(x*x + 2*y*y)")
        for particle in range(self.n):
            system.addParticle(0.0 if particle in self.fixed else 110.0)
            well.addParticle(particle)
        spring.addBond(0, self.n - 1, 0.0, PULL)
        for force in (*chain_forces(self.chains, BOND, ANGLE, TORSION), spring, well):
            system.addForce(force)
        return system

    def energy(self, x: Tensor) -> Tensor:
        """Energy in kT of positions in Angstrom."""
        x = x / 10
        total = WELL * (x[:, 0] ** 2 + 2 * x[:, 1] ** 2).sum()
        total = total + PULL / 2 * ((x[-1] - x[0]) ** 2).sum()
        for chain in self.chains:
            b, a, d = bond_angles(x[chain])
            total = total + BOND[1] / 2 * ((b - BOND[0]) ** 2).sum()
            total = total + ANGLE[1] / 2 * ((a - ANGLE[0]) ** 2).sum()
            total = total + TORSION * (1 + torch.cos(d)).sum()
        return total / KT


ONE = Toy(6, [list(range(6))])
SHORT = Toy(3, [[0, 1, 2]])
MANY = Toy(20, [[9, 7, 5, 3, 1], [0, 2, 4, 6], [8, 10, 11], [12, 13], [14]], fixed=(16, 18))
TOYS = {"one chain": ONE, "three beads": SHORT, "chains and free particles": MANY}

# Angstrom^2 and the units of z; about half of all sub-steps are accepted.
STEPS = {
    "one chain": (0.06, 0.05),
    "three beads": (0.08, 0.25),
    "chains and free particles": (0.05, 0.06),
}


class Walk:
    """The sampler, step by step. Rows: the chains and, last, the particles in no chain, each at its own index."""

    def __init__(self, toy: Toy, name: str, seed: int, temperature: float = 300.0):
        random = np.random.default_rng(6)
        cartesian, internal = STEPS[name]
        self.toy, self.seed, self.scale = toy, seed, 300 / temperature
        self.arguments = {
            "temperature": temperature,
            "cartesian_step": cartesian / 100,
            "internal_step": internal,
            "cartesian_preconditioner": random.uniform(0.5, 1.5, size=toy.n),
            "internal_preconditioner": random.uniform(0.5, 1.5, size=(toy.n, 3)),
            "seed": seed,
            "chains": toy.chains,
            "metropolis": True,
        }
        c_x, c_z = (
            torch.tensor(self.arguments[f"{kind}_preconditioner"])
            for kind in ("cartesian", "internal")
        )
        rows = len(toy.chains) + 1
        one = torch.ones(rows, dtype=torch.float64)
        mask = torch.zeros(rows, toy.n, dtype=torch.float64)
        self.parameters = StepParameters(
            cartesian * one, internal * one, mask.clone(), mask[..., None].repeat(1, 1, 3), mask
        )
        for row, chain in enumerate(toy.chains):
            mask[row, : len(chain)] = 1
            self.parameters.cartesian_preconditioner[row, : len(chain)] = c_x[chain]
            self.parameters.internal_preconditioner[row, : len(chain)] = c_z[chain]
        self.parameters.cartesian_preconditioner[-1, toy.free] = c_x[toy.free]

    def at(self, factor: float) -> "Walk":
        """The sampler with its temperature and step sizes times a factor."""
        changed = copy.copy(self)
        changed.scale, changed.parameters = self.scale / factor, scaled(self.parameters, factor)
        return changed

    def integrator(self, **changes) -> CompiledIntegrator:
        return CompiledIntegrator(**{**self.arguments, **changes})

    def context(self, name: str, **changes) -> mm.Context:
        return platform_context(
            self.toy.system(), self.integrator(**changes), self.toy.start(), name
        )

    def rows(self, x: Tensor) -> Tensor:
        """Positions of a system, (n, 3), by rows."""
        rows = x.repeat(len(self.toy.chains) + 1, 1, 1)
        for row, chain in enumerate(self.toy.chains):
            rows[row, : len(chain)] = x[chain]
        return rows

    def system(self, rows: Tensor) -> Tensor:
        """Back from rows."""
        x = rows[-1]
        for row, chain in enumerate(self.toy.chains):
            x = x.index_put((torch.tensor(chain),), rows[row, : len(chain)])
        return x

    def energy(self, rows: Tensor) -> Tensor:
        return self.scale * self.toy.energy(self.system(rows)).unsqueeze(0)

    def step(self, x: Tensor, number: int) -> tuple[Tensor, list[float]]:
        """Positions in Angstrom after the step, and what decided on its two sub-steps: log A - log u."""
        n_rows = len(self.toy.chains) + 1
        seeds = torch.full((n_rows,), self.seed)
        noise = langevin_noise(seeds, torch.arange(n_rows), number, 1, self.toy.n)[0]
        uniform = acceptance_numbers(seeds[:1], number, 1)[0]
        state = evaluate(self.energy, self.rows(x))
        result = metropolis_step(self.energy, state, noise, uniform, self.parameters)
        margins = (result.log_weight - uniform.log())[0].tolist()
        assert result.accepted[0].tolist() == [margin > 0 for margin in margins]
        return self.system(result.state.x), margins


@PLATFORMS
@pytest.mark.parametrize("toy", TOYS)
def test_steps_are_those_of_the_specification(toy, name):
    walk = Walk(TOYS[toy], toy, seed=2**31 - 9, temperature=330.0)
    context = walk.context(name)
    beads = list(itertools.chain(*walk.toy.chains))
    accepted, n_steps = np.zeros(2), 100 if name == "Reference" else 50
    x = torch.tensor(walk.toy.start() * 10)
    for number in range(n_steps):
        expected, margins = walk.step(x, number)
        before, _ = positions_of(context), context.getIntegrator().step(1)
        after = positions_of(context)
        # No decision is so close that rounding could turn it.
        assert min(abs(margin) for margin in margins) > 100 * METROPOLIS[name]
        np.testing.assert_allclose(after, expected / 10, rtol=0, atol=METROPOLIS[name])
        if max(margins) < 0:
            np.testing.assert_array_equal(after, before)
        moved = np.linalg.norm(after - before, axis=-1)[beads].max()
        largest = context.getIntegrator().getLargestDisplacement()._value
        assert largest == pytest.approx(moved, rel=1e-9, abs=1e-12)
        accepted += [margin > 0 for margin in margins]
        x = torch.tensor(after * 10)
    rates = np.array(context.getIntegrator().getAcceptanceRates())
    np.testing.assert_allclose(rates, accepted / n_steps, rtol=1e-12)
    assert ((rates > 0.1) & (rates < 0.9)).all()


@PLATFORMS
def test_each_step_of_an_annealed_run_is_exact_at_its_own_temperature(name):
    toy, schedule = "chains and free particles", Schedule(30, 2.0, 0.3, block=4)
    walk = Walk(TOYS[toy], toy, seed=17, temperature=330.0)
    context = walk.context(name, schedule=schedule)
    accepted = np.zeros(2)
    for number in range(36):
        x = torch.tensor(positions_of(context) * 10)
        expected, margins = walk.at(schedule.factor(number)).step(x, number)
        assert min(abs(margin) for margin in margins) > 100 * METROPOLIS[name]
        context.getIntegrator().step(1)
        found = positions_of(context)
        np.testing.assert_allclose(found, expected / 10, rtol=0, atol=METROPOLIS[name])
        accepted += [margin > 0 for margin in margins]
    assert ((accepted > 3) & (accepted < 33)).all()


def separable(name: str, steps: int, frames: int, **options) -> dict[str, np.ndarray]:
    """Bonds, angles and dihedrals of a chain of five beads at large steps, of frames that are some steps apart."""
    chains = chains_of(5, 1)
    integrator = CompiledIntegrator(
        300,
        0.03 / 100,
        0.06,
        max_displacement=math.inf,
        detrend=False,
        seed=20,
        **options,
    )
    context = platform_context(system_of(chains), integrator, start(5, 1), name)
    integrator.step(10 * steps)
    positions = []
    for _ in range(frames):
        integrator.step(steps)
        positions.append(positions_of(context))
    values = measured(positions, chains)
    for v in (values["b"], values["a"], np.cos(values["d"])):
        # What is left of a deviation from one frame to the next: samples count in full.
        assert abs(np.corrcoef(v[:-1].ravel(), v[1:].ravel())[0, 1]) < 0.1
    return values


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("Reference", 6000),
        pytest.param("CPU", 1500, marks=pytest.mark.slow),
        pytest.param("OpenCL mixed", 1500, marks=pytest.mark.slow),
    ],
)
def test_samples_are_exact_at_steps_at_which_those_of_the_plain_integrator_are_not(name, frames):
    # A false alarm for each of b, a and d in one of a hundred seeds.
    plain = separable(name, 150, frames, measure_correction=True)
    exact = separable(name, 150, frames, metropolis=True)
    for kind in "bad":
        assert p_value(exact[kind].ravel(), kind, BOLTZMANN) > 0.01, kind
    for kind in "ba":
        assert p_value(plain[kind].ravel(), kind, BOLTZMANN) < 1e-6, kind


@PLATFORMS
def test_internal_moves_keep_the_first_bead_the_first_bond_and_the_plane(name):
    walk = Walk(ONE, "one chain", seed=4)
    context = walk.context(name, cartesian_step=0.0)
    integrator = context.getIntegrator()
    integrator.step(50)
    assert integrator.getAcceptanceRates()[0] == 1  # none was proposed
    assert integrator.getAcceptanceRates()[1] > 0.1
    before, after = torch.tensor(ONE.start()), torch.tensor(positions_of(context))
    assert (after - before)[1:].abs().max() > 0.02
    tolerance = {"rtol": 0, "atol": 1e-6}
    for old, new in zip(rigid_frame(before), rigid_frame(after), strict=True):
        torch.testing.assert_close(new, old, **tolerance)
    # The map is exact and can be reversed: the coordinates of where it led to lead there.
    z = cartesian_to_internal(10 * after)
    there = internal_to_cartesian(z, *rigid_frame(10 * before)) / 10
    torch.testing.assert_close(after, there, **tolerance)


@PLATFORMS
def test_small_steps_are_accepted(name):
    walk = Walk(MANY, "chains and free particles", seed=4)
    context = walk.context(name, cartesian_step=1e-7, internal_step=1e-5)
    context.getIntegrator().step(100)
    assert min(context.getIntegrator().getAcceptanceRates()) >= 0.97
    assert np.abs(positions_of(context) - MANY.start()).max() > 1e-3


def test_rates_are_1_without_metropolis():
    assert CompiledIntegrator(300, 1e-5, 1e-4).getAcceptanceRates() == (1, 1)


def test_detrending_and_speed_limit_are_off():
    integrator = CompiledIntegrator(
        300, 1e-5, 1e-4, detrend=True, max_displacement=1e-3, metropolis=True
    )
    assert integrator.getMetropolis()
    assert integrator.getMeasureCorrection()
    assert integrator.getDetrend() is False
    assert integrator.getMaxDisplacement()._value == math.inf
    context = platform_context(ONE.system(), integrator, ONE.start(), "Reference")
    integrator.step(100)
    assert integrator.getNumClippedSteps() == 0
    drift = (positions_of(context) - ONE.start()).mean(0)
    assert np.abs(drift).max() > 1e-4


def walls(expression: str) -> mm.System:
    """Four beads, each with an energy that is a function of x."""
    system, wall = mm.System(), mm.CustomExternalForce(expression)
    for particle in range(4):
        system.addParticle(1.0)
        wall.addParticle(particle)
    system.addForce(wall)
    return system


# A small tetrahedron to the left of the wall.
CORNERS = 0.1 * np.array([[0, 0, 0], [3, 1, 0], [0, 3, 1], [-3, 0, 3]])


@PLATFORMS
def test_proposals_without_an_energy_are_rejected(name):
    integrator = CompiledIntegrator(300, 0.1, 1.0, seed=1, metropolis=True)
    context = platform_context(walls("4*log(1 - x)^2 + 4*(y^2 + z^2)"), integrator, CORNERS, name)
    for _ in range(200):
        integrator.step(1)
        assert (positions_of(context)[:, 0] < 1).all()
    assert np.abs(positions_of(context) - CORNERS).max() > 0.1
    assert 0.1 < min(integrator.getAcceptanceRates()) < 0.9


@PLATFORMS
def test_a_start_without_an_energy_is_an_error(name):
    integrator = CompiledIntegrator(300, 1e-5, 1e-4, metropolis=True)
    context = platform_context(walls("sqrt(1 - x)"), integrator, CORNERS + 1, name)
    for _ in range(2):
        with pytest.raises(mm.OpenMMException, match="energy is not finite at step 0"):
            integrator.step(1)
    np.testing.assert_allclose(positions_of(context), CORNERS + 1, rtol=0, atol=1e-6)
    assert integrator.getNumSteps() == 0
    context.setPositions(CORNERS)
    integrator.step(1)
    assert integrator.getNumSteps() == 1


class Counted:
    """A spring for every particle, for PythonForce: counts its calls, and fails from one of them on."""

    def __init__(self):
        self.calls, self.failing, self.energy, self.force = 0, False, 0.0, 0.0

    def __call__(self, state: mm.State) -> tuple[float, np.ndarray]:
        self.calls += 1
        x = state.getPositions(asNumpy=True)._value
        energy, force = 50 * (x**2).sum(), -100 * x
        if self.failing:
            energy, force = energy + self.energy, force + self.force
        return energy, force

    def context(self, name: str, **options) -> mm.Context:
        system = mm.System()
        for _ in range(4):
            system.addParticle(1.0)
        system.addForce(mm.PythonForce(self, {"unused": 0.0}))
        integrator = CompiledIntegrator(300, 1e-4, 1e-3, seed=1, metropolis=True, **options)
        return platform_context(system, integrator, CORNERS, name)


@PLATFORMS
@pytest.mark.parametrize("lost", [{"energy": math.nan}, {"force": math.nan}, {"energy": math.inf}])
def test_what_is_not_a_number_is_not_accepted(name, lost):
    springs = Counted()
    context = springs.context(name)
    integrator = context.getIntegrator()
    integrator.step(3)
    before, rates = positions_of(context), np.array(integrator.getAcceptanceRates())
    springs.failing = True
    for key, value in lost.items():
        setattr(springs, key, value)
    integrator.step(5)
    np.testing.assert_array_equal(positions_of(context), before)
    np.testing.assert_allclose(np.array(integrator.getAcceptanceRates()), rates * 3 / 8)
    assert integrator.getNumSteps() == 8
    assert integrator.getLargestDisplacement()._value == 0


@PLATFORMS
def test_a_step_takes_two_evaluations_and_one_more_where_the_state_has_changed(name):
    springs = Counted()
    context = springs.context(name)
    integrator = context.getIntegrator()

    def calls(n_steps: int) -> int:
        before = springs.calls
        integrator.step(n_steps)
        return springs.calls - before

    integrator.step(1)
    assert calls(10) == 20
    context.setPositions(CORNERS + 0.01)
    assert calls(5) == 11
    context.setParameter("unused", 1.0)
    assert calls(5) == 11
    assert calls(5) == 10
    integrator.setInternalStep(0)
    assert calls(5) == 5


@PLATFORMS
def test_a_checkpoint_leads_to_the_same_steps(name):
    context = Walk(MANY, "chains and free particles", seed=5).context(name)
    integrator = context.getIntegrator()
    integrator.step(7)
    checkpoint = context.createCheckpoint()
    integrator.step(20)
    expected, rates = positions_of(context), integrator.getAcceptanceRates()
    context.loadCheckpoint(checkpoint)
    assert integrator.getNumSteps() == 7
    integrator.step(20)
    np.testing.assert_array_equal(positions_of(context), expected)
    assert integrator.getAcceptanceRates() == rates


@PLATFORMS
def test_what_others_did_in_between_is_kept(name):
    """Other integrators of a CompoundIntegrator do not tell it, nor does a change of the box."""
    system = MANY.system()
    exact = CompiledIntegrator(300, 2e-5, 4e-4, chains=MANY.chains, seed=3, metropolis=True)
    compound = mm.CompoundIntegrator()
    for integrator in (exact, mm.BrownianIntegrator(300, 100, 1e-3)):
        compound.addIntegrator(integrator)
    context = platform_context(system, compound, MANY.start(), name)
    compound.step(3)
    compound.setCurrentIntegrator(1)
    compound.step(50)
    moved = positions_of(context)
    compound.setCurrentIntegrator(0)
    compound.step(1)
    # Another one that has taken as many steps, and so has the same noise, from there.
    fresh = CompiledIntegrator(300, 2e-5, 4e-4, chains=MANY.chains, seed=3, metropolis=True)
    alone = platform_context(system, fresh, MANY.start(), name)
    fresh.step(3)
    alone.setPositions(moved)
    fresh.step(1)
    assert exact.getNumSteps() == fresh.getNumSteps() == 4
    np.testing.assert_allclose(positions_of(context), positions_of(alone), rtol=0, atol=1e-6)


def test_a_change_of_the_box_is_noticed():
    system = mm.System()
    for _ in range(4):
        system.addParticle(1.0)
    system.setDefaultPeriodicBoxVectors(*(4 * np.eye(3)))
    pull = mm.CustomBondForce("500*r^2")
    pull.setUsesPeriodicBoundaryConditions(True)
    pull.addBond(0, 3)
    system.addForce(pull)
    x = np.array([[0, 0, 0], [0.3, 0.1, 0], [0.6, 0, 0], [1.1, 0.1, 0.2]])
    ends = []
    for told in (False, True):
        integrator = CompiledIntegrator(300, 1e-5, 0, seed=3, metropolis=True)
        context = platform_context(system, integrator, x, "Reference")
        integrator.step(1)
        context.setPeriodicBoxVectors(*(1.6 * np.eye(3)))
        if told:
            context.setPositions(positions_of(context))
        integrator.step(1)
        ends.append(positions_of(context))
    np.testing.assert_array_equal(*ends)

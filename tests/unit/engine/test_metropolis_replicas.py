"""`metropolis=True` with replicas: each step against the specification in torch, with each replica's own energy."""

import itertools

import numpy as np
import openmm as mm
import pytest
import torch

from openmm_nemo import ConditionedModel
from openmm_nemo.dynamics import Schedule, langevin_noise
from openmm_nemo.dynamics.metropolis import evaluate, metropolis_step
from openmm_nemo.dynamics.noise import acceptance_numbers, replica_seed
from openmm_nemo.engine.integrator import CompiledIntegrator
from tests.helpers import raises
from tests.tolerances import METROPOLIS
from tests.unit.engine.platforms import platform_context
from tests.unit.engine.test_metropolis import ANGLE, BOND, ONE, PULL, TORSION, WELL, Toy, Walk
from tests.unit.engine.toys import make_context, positions_of, run
from tests.unit.models.chains import make_model

pytestmark = pytest.mark.usefixtures("plugin")

PLATFORMS = pytest.mark.parametrize("name", list(METROPOLIS))

CHAINS = Toy(12, [[9, 7, 5, 3, 1], [0, 2, 4, 6], [8, 10, 11]])
TEMPERATURES = [330.0, 250.0, 420.0]
R = len(TEMPERATURES)
SEED = 17

ONLY = "select(nemo_replica+1, delta(nemo_replica-replica), 1)*"
"""1 for terms of the chosen replica, or of all; 0 otherwise."""


def replicated(toy: Toy) -> mm.System:
    """The system of a toy R times, with forces that can compute one replica."""
    system = mm.System()
    harmonic = f"{ONLY}0.5*k*(%s-rest)^2"
    bonds = mm.CustomBondForce(harmonic % "r")
    angles = mm.CustomAngleForce(harmonic % "theta")
    torsions = mm.CustomTorsionForce(f"{ONLY}{TORSION}*(1 + cos(theta))")
    well = mm.CustomExternalForce(f"{ONLY}{WELL}*(x*x + 2*y*y)")
    for force in (bonds, angles):
        adder = force.addPerBondParameter if force is bonds else force.addPerAngleParameter
        for parameter in ("rest", "k", "replica"):
            adder(parameter)
    torsions.addPerTorsionParameter("replica")
    well.addPerParticleParameter("replica")
    for replica in range(R):
        first = replica * toy.n
        for particle in range(toy.n):
            system.addParticle(110.0)
            well.addParticle(first + particle, [replica])
        bonds.addBond(first, first + toy.n - 1, [0.0, PULL, replica])
        for chain in toy.chains:
            beads = [first + particle for particle in chain]
            for i, j in itertools.pairwise(beads):
                bonds.addBond(i, j, [*BOND, replica])
            for i in range(len(beads) - 2):
                angles.addAngle(*beads[i : i + 3], [*ANGLE, replica])
            for i in range(len(beads) - 3):
                torsions.addTorsion(*beads[i : i + 4], [replica])
    for force in (bonds, angles, torsions, well):
        force.addGlobalParameter("nemo_replica", -1.0)
        system.addForce(force)
    return system


def walks(toy: Toy) -> list[Walk]:
    name = "one chain" if toy is ONE else "chains and free particles"
    return [Walk(toy, name, replica_seed(SEED, r), t) for r, t in enumerate(TEMPERATURES)]


def context_of(toy: Toy, name: str, **changes) -> mm.Context:
    arguments = walks(toy)[0].arguments | {
        "cartesian_preconditioner": np.tile(walks(toy)[0].arguments["cartesian_preconditioner"], R),
        "internal_preconditioner": np.tile(
            walks(toy)[0].arguments["internal_preconditioner"], (R, 1)
        ),
        "chains": [[r * toy.n + i for i in chain] for r in range(R) for chain in toy.chains],
        "seed": SEED,
        "replicas": R,
        "temperatures": TEMPERATURES,
    }
    start = np.vstack([toy.start() + 0.01 * r for r in range(R)])
    return platform_context(replicated(toy), CompiledIntegrator(**arguments | changes), start, name)


@PLATFORMS
@pytest.mark.parametrize("toy", [ONE, CHAINS], ids=["one chain", "chains"])
@pytest.mark.parametrize("schedule", [None, Schedule(30, 1.5, 0.5, block=4)])
def test_every_replica_takes_the_steps_of_its_own_sampler(toy, schedule, name):
    context = context_of(toy, name, schedule=schedule)
    integrator = context.getIntegrator()
    accepted = np.zeros((R, 2))
    n_steps = 40 if name == "Reference" else 20
    for number in range(n_steps):
        before, _ = positions_of(context), integrator.step(1)
        after = positions_of(context).reshape(R, -1, 3)
        for replica, walk in enumerate(walks(toy)):
            x = torch.tensor(before.reshape(R, -1, 3)[replica] * 10)
            factor = 1.0 if schedule is None else schedule.factor(number)
            expected, margins = walk.at(factor).step(x, number)
            # No decision is so close that rounding could turn it.
            assert min(abs(margin) for margin in margins) > 100 * METROPOLIS[name]
            np.testing.assert_allclose(after[replica], expected / 10, rtol=0, atol=METROPOLIS[name])
            accepted[replica] += [margin > 0 for margin in margins]
    assert ((accepted.sum(0) > 0) & (accepted.sum(0) < R * n_steps)).all()
    assert len({tuple(row) for row in accepted.tolist()}) > 1
    rates = accepted.sum(0) / (R * n_steps)
    np.testing.assert_allclose(integrator.getAcceptanceRates(), rates, rtol=1e-12)
    assert context.getParameter("nemo_replica") == -1


def test_the_first_replica_is_a_context_of_its_own(plugin):
    walk = walks(CHAINS)[0]
    alone = run(walk.context("Reference", seed=SEED), 30)
    together = run(context_of(CHAINS, "Reference"), 30)
    np.testing.assert_allclose(together[:, : CHAINS.n], alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nemo_itself_takes_the_steps_of_the_specification(request, dtype, backend):
    check_nemo(request.getfixturevalue("protein" if dtype == "float64" else "protein32"), backend)


def test_a_native_force_takes_the_steps_of_the_specification():
    check_nemo(make_model("fold", dtype=torch.float32).condition("NLYIQWLKDGGPSSGR"), "native")


def check_nemo(protein: ConditionedModel, backend: str) -> None:
    """All replicas as the systems of one batch."""
    n = len(protein.sequence)
    tolerance = 1e-9 if protein.z0.dtype == torch.float64 else 1e-5
    integrator = protein.create_integrator(
        seed=SEED, replicas=R, temperatures=TEMPERATURES, metropolis=True
    )
    context = make_context(
        protein.create_system(backend, replicas=R),
        integrator,
        protein.initial_positions(replicas=R),
    )
    seeds = replica_seed(SEED, torch.arange(R))
    scale = 300 / torch.tensor(TEMPERATURES, dtype=torch.float64)
    parameters = protein.step_parameters(R)
    parameters = parameters._make(values.double() for values in parameters)

    def energy(x: torch.Tensor) -> torch.Tensor:
        return scale * protein.energy(x.to(protein.z0)).double()

    decisions = []
    for number in range(12):
        x = torch.tensor(positions_of(context).reshape(R, n, 3) * 10)
        noise = langevin_noise(seeds, torch.zeros_like(seeds), number, 1, n)[0]
        uniform = acceptance_numbers(seeds, number, 1)[0]
        result = metropolis_step(energy, evaluate(energy, x), noise, uniform, parameters)
        assert (result.log_weight - uniform.log()).abs().min() > 100 * tolerance
        integrator.step(1)
        found = positions_of(context).reshape(R, n, 3)
        np.testing.assert_allclose(found, result.state.x / 10, rtol=0, atol=tolerance)
        decisions.append(result.accepted)
    # Replicas are decided differently.
    assert any(row.any() and not row.all() for row in torch.stack(decisions).unbind(2)[0])


@PLATFORMS
def test_a_checkpoint_leads_to_the_same_steps(name):
    context = context_of(CHAINS, name)
    context.getIntegrator().step(5)
    checkpoint = context.createCheckpoint()
    expected = run(context, 10)
    other = context_of(CHAINS, name, seed=1, temperatures=[300] * R)
    other.loadCheckpoint(checkpoint)
    np.testing.assert_array_equal(run(other, 10), expected)


@PLATFORMS
def test_a_replica_without_an_energy_stops_only_itself(name):
    """A wall that the second replica cannot get over; its proposals beyond have no energy."""
    system = mm.System()
    wall = mm.CustomExternalForce(f"{ONLY}(4*x^2 + 4*y^2 + 4*z^2 + barrier*log(1 - barrier*x)^2)")
    for parameter in ("replica", "barrier"):
        wall.addPerParticleParameter(parameter)
    wall.addGlobalParameter("nemo_replica", -1.0)
    corners = 0.1 * np.array([[0, 0, 0], [3, 1, 0], [0, 3, 1], [-3, 0, 3]])
    for particle in range(8):
        system.addParticle(1.0)
        wall.addParticle(particle, [particle // 4, particle // 4])
    system.addForce(wall)
    integrator = CompiledIntegrator(300, 0.1, 1.0, seed=1, metropolis=True, replicas=2)
    context = platform_context(system, integrator, np.tile(corners, (2, 1)), name)
    frames = run(context, 100)
    assert (frames[:, 4:, 0] < 1).all()
    assert (frames[:, :4, 0] > 1).any()


@PLATFORMS
def test_a_force_that_cannot_compute_one_replica_is_refused(name):
    context = context_of(ONE, name)
    system = context.getSystem()
    context.getIntegrator().step(1)
    plain = mm.CustomExternalForce("x^2")
    plain.setName("restraint")
    plain.setForceGroup(5)
    for particle in range(R * ONE.n):
        plain.addParticle(particle)
    system.addForce(plain)
    context.reinitialize(preserveState=True)
    before = positions_of(context)
    with raises(mm.OpenMMException, "restraint", "nemo_replica", "metropolis"):
        context.getIntegrator().step(1)
    np.testing.assert_array_equal(positions_of(context), before)
    context.getIntegrator().setIntegrationForceGroups({0})  # without it
    context.getIntegrator().step(1)


@pytest.mark.parametrize(
    "name",
    [
        "Reference",
        pytest.param("CPU", marks=pytest.mark.slow),
        pytest.param("OpenCL mixed", marks=pytest.mark.slow),
    ],
)
def test_samples_are_boltzmann_distributed_at_the_temperature_of_each_replica(name):
    """Beads in a well, at large steps: the variance of coordinates is kT/k, whatever the other replicas do."""
    n, spring, temperatures = 4, 100.0, [250.0, 500.0] * 4
    system = mm.System()
    well = mm.CustomExternalForce(f"{ONLY}0.5*{spring}*(x^2 + y^2 + z^2)")
    well.addPerParticleParameter("replica")
    well.addGlobalParameter("nemo_replica", -1.0)
    for particle in range(n * len(temperatures)):
        system.addParticle(1.0)
        well.addParticle(particle, [particle // n])
    system.addForce(well)
    integrator = CompiledIntegrator(
        300, 0.03, 0.3, seed=2, metropolis=True, replicas=8, temperatures=temperatures
    )
    start = np.random.default_rng(1).normal(scale=0.15, size=(n * 8, 3))
    context = platform_context(system, integrator, start, name)
    integrator.step(200)
    frames = []
    for _ in range(1500):
        integrator.step(4)
        frames.append(positions_of(context))
    variance = (np.array(frames).reshape(1500, 8, n, 3) ** 2).mean((0, 2, 3))
    assert 0.05 < min(integrator.getAcceptanceRates()) < 0.95
    expected = 8.31446261815324e-3 * np.array(temperatures) / spring
    np.testing.assert_allclose(variance / expected, 1, rtol=0, atol=0.08)
    for own in (0, 1):  # a quarter of the noise
        assert (variance[own::2] / expected[own::2]).mean() == pytest.approx(1, abs=0.04)

"""Moves of chains as rigid bodies: what a move does, and what is sampled by moves alone and between Langevin steps.

All distributions of two bodies are known. With their centres c, the directions u of their long axes and w of their
sides, and e along x, U/kT = k/2 |c1 - c2|^2 - KAPPA u1.u2 - MU w1.e: the components of c1 - c2 are normal, u1.u2 and
w1.e have the densities exp(KAPPA t) and exp(MU t) in (-1, 1), and the azimuths of u2 about u1, w2 about u2, u1 about w1
and w1 about e are uniform.
"""

import math
from collections.abc import Callable

import numpy as np
import openmm as mm
import pytest
from openmm import app, unit
from scipy import stats

from openmm_nemo.dynamics import Schedule
from openmm_nemo.dynamics.noise import replica_seed, rigid_move_numbers
from openmm_nemo.engine import NemoChainMoves, RigidBodyMoves
from openmm_nemo.engine.integrator import CompiledIntegrator, PythonIntegrator
from openmm_nemo.engine.rigid_moves import FREE_WAY, reach_of
from openmm_nemo.errors import InputError
from tests.helpers import raises
from tests.tolerances import RIGID_MOVES
from tests.unit.engine.boltzmann import BOLTZMANN, chains_of, measured, p_value, system_of
from tests.unit.engine.boltzmann import start as start_of_chains
from tests.unit.engine.platforms import one_precision, platform_context
from tests.unit.engine.test_metropolis_replicas import ONLY
from tests.unit.engine.toys import GAS_CONSTANT, KT, bead_topology, make_context
from tests.unit.engine.toys import positions_of as positions_in

SPREAD = 0.25
"""Standard deviation of the components of c1 - c2 at 300 K, nm."""
KAPPA = 2.0
MU = 1.5

BODY = np.array([[0, 0, 0], [0.4, 0, 0], [0.2, 0.3, 0], [0.2, -0.3, 0.0], [0.5, 0.1, 0.4]])
"""Beads of a body, nm. Its long axis is from bead 0 to 1, its side from bead 3 to 2."""
N = len(BODY)
LONG, WIDE = 0.4, 0.6

CHAINS = [list(range(N)), list(range(N, 2 * N))]


def bodies(replicas: int = 1) -> mm.System:
    """Two bodies, once or in several replicas, without bonds: only rigid moves keep their shape."""
    system = mm.System()
    scale = ONLY if replicas > 1 else ""
    spring = mm.CustomCentroidBondForce(
        2, f"{scale}{KT / SPREAD**2 / 2}*((x1-x2)^2 + (y1-y2)^2 + (z1-z2)^2)"
    )
    along = " + ".join(f"({a}2-{a}1)*({a}4-{a}3)" for a in "xyz")
    axes = mm.CustomCompoundBondForce(4, f"-{scale}{KT * KAPPA / LONG**2}*({along})")
    side = mm.CustomCompoundBondForce(2, f"-{scale}{KT * MU / WIDE}*(x2-x1)")
    if replicas > 1:
        for force in (spring, axes, side):
            force.addGlobalParameter("nemo_replica", -1.0)
            force.addPerBondParameter("replica")
    for replica in range(replicas):
        parameters = [replica] if replicas > 1 else []
        first, second = ([2 * N * replica + i for i in chain] for chain in CHAINS)
        groups = [spring.addGroup(chain, [1.0] * N) for chain in (first, second)]
        spring.addBond(groups, parameters)
        axes.addBond([*first[:2], *second[:2]], parameters)
        side.addBond([first[3], first[2]], parameters)
        for _ in range(2 * N):
            system.addParticle(100.0)
    for force in (spring, axes, side):
        system.addForce(force)
    return system


def start(replicas: int = 1) -> np.ndarray:
    return np.tile(np.concatenate([BODY, BODY + [0.3, 0.1, -0.2]]), (replicas, 1))


def context_of(name: str = "Reference", replicas: int = 1) -> mm.Context:
    return make_context(bodies(replicas), mm.VerletIntegrator(0.001), start(replicas), name)


def energy(x: np.ndarray) -> np.ndarray:
    """Energies of replicas, kJ/mol, at (R, 2 N, 3), without OpenMM."""
    first, second = x[:, :N], x[:, N:]
    apart = ((first.mean(1) - second.mean(1)) ** 2).sum(-1)
    axes = ((first[:, 1] - first[:, 0]) * (second[:, 1] - second[:, 0])).sum(-1) / LONG**2
    return KT * (
        apart / SPREAD**2 / 2 - KAPPA * axes - MU * (first[:, 2] - first[:, 3])[:, 0] / WIDE
    )


def turned(x: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Rotated about the mean, by scipy."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(vector).apply(x - x.mean(0)) + x.mean(0)


# What a move does


@pytest.mark.parametrize("replicas", [1, 3])
@one_precision
def test_moves_are_those_of_the_criterion(name, replicas):
    """Energies in numpy, rotations by scipy, numbers by their index."""
    context = context_of(name, replicas)
    temperatures = [300.0, 200.0, 500.0][:replicas]
    moves = RigidBodyMoves(
        [[2 * N * r + i for i in chain] for r in range(replicas) for chain in CHAINS],
        seed=23,
        translations=(0.02, 0.6),
        rotations=(0.1, 1.5),
        replicas=replicas,
    )
    x, decided = start(replicas).reshape(replicas, 2 * N, 3), np.zeros((replicas, 2), dtype=int)
    for number in range(60):
        proposal = x.copy()
        for r in range(replicas):
            n = rigid_move_numbers(replica_seed(23, r), number, 1)
            chain = CHAINS[int(2 * n.chain[0])]
            shift = n.translation[0] * 0.02 * 30 ** n.translation_size[0]
            vector = n.rotation[0] * 0.1 * 15 ** n.rotation_size[0]
            proposal[r, chain] = turned(x[r, chain], vector.numpy()) + shift.numpy()
            du = energy(proposal)[r] - energy(x)[r]
            odds = np.exp(-du / (GAS_CONSTANT * temperatures[r]))
            accepted = bool(n.acceptance[0] < odds)
            decided[r, int(accepted)] += 1
            if not accepted:
                proposal[r] = x[r]
        moves.run(context, temperatures, number, 1)
        x = proposal
        found = positions_in(context).reshape(x.shape)
        np.testing.assert_allclose(found, x, rtol=0, atol=RIGID_MOVES[name])
        x = found
    assert (decided > 8).all()
    assert moves.proposed == 60
    np.testing.assert_array_equal(moves.accepted, decided[:, 1])


@one_precision
def test_moves_keep_shapes_and_blocks_of_them_do_not_matter(name):
    once, twice = context_of(name), context_of(name)
    RigidBodyMoves(CHAINS, 5).run(once, [300], 100, 40)
    for first, number in ((100, 15), (115, 25)):
        RigidBodyMoves(CHAINS, 5).run(twice, [300 * unit.kelvin], first, number)
    # To rounding: a block begins with the positions that the platform has.
    atol = RIGID_MOVES[name]
    np.testing.assert_allclose(positions_in(once), positions_in(twice), rtol=0, atol=atol)
    x = positions_in(once)
    assert np.abs(x - start()).max() > 0.05
    for chain in CHAINS:
        inside = np.linalg.norm(x[chain][:, None] - x[chain], axis=-1)
        expected = np.linalg.norm(BODY[:, None] - BODY, axis=-1)
        np.testing.assert_allclose(inside, expected, rtol=0, atol=50 * atol)


def test_particles_in_no_chain_stay_and_virtual_sites_follow():
    system = bodies()
    for _ in range(2):
        system.addParticle(0.0)
    system.setVirtualSite(2 * N, mm.TwoParticleAverageSite(0, N, 0.5, 0.5))
    x = np.concatenate([start(), np.zeros((2, 3))])
    context = make_context(system, mm.VerletIntegrator(0.001), x)
    RigidBodyMoves(CHAINS, 5).run(context, [300], 0, 30)
    x = positions_in(context)
    np.testing.assert_allclose(x[2 * N], (x[0] + x[N]) / 2, atol=1e-12)
    np.testing.assert_array_equal(x[2 * N + 1], 0)
    assert np.abs(x[: 2 * N] - start()).max() > 0.05


def test_a_rejected_move_leaves_every_bit():
    system = bodies()
    wall = mm.CustomExternalForce("1e12*(x-x0)^2")
    wall.addPerParticleParameter("x0")
    for particle, (x, *_) in enumerate(start()):
        wall.addParticle(particle, [x])
    system.addForce(wall)
    context = make_context(system, mm.VerletIntegrator(0.001), start())
    moves = RigidBodyMoves(CHAINS, 5)
    moves.run(context, [300], 0, 30)
    np.testing.assert_array_equal(positions_in(context), start())
    assert moves.accepted.tolist() == [0]


def test_bad_arguments_are_refused():
    for chains in ([], [[0, 1], []]):
        with raises(ValueError, "chains", "empty"):
            RigidBodyMoves(chains, 1)
    with raises(ValueError, 3, 2, "replicas"):
        RigidBodyMoves([[0], [1], [2]], 1, replicas=2)
    for sizes in ((0.0, 1.0), (1.0, 0.5), (0.1, math.inf)):
        with raises(ValueError, "translations"):
            RigidBodyMoves(CHAINS, 1, translations=sizes)
        with raises(ValueError, "rotations"):
            RigidBodyMoves(CHAINS, 1, rotations=sizes)


def test_energies_that_are_not_finite_are_refused():
    context = context_of()
    x = start()
    x[0] = math.nan
    context.setPositions(x)
    with raises(mm.OpenMMException, "finite"):
        RigidBodyMoves(CHAINS, 1).run(context, [300], 0, 1)


def test_forces_without_the_parameter_of_replicas_are_refused():
    system = bodies(2)
    extra = mm.CustomExternalForce("x^2")
    extra.addParticle(1)
    system.addForce(extra)
    context = make_context(system, mm.VerletIntegrator(0.001), start(2))
    chains = [[2 * N * r + i for i in chain] for r in range(2) for chain in CHAINS]
    with raises(mm.OpenMMException, "nemo_replica"):
        RigidBodyMoves(chains, 1, replicas=2).run(context, [300, 300], 0, 1)


# What is sampled


def exponential(strength: float) -> Callable[[np.ndarray], np.ndarray]:
    """Cumulative distribution of the density exp(strength t) in (-1, 1)."""
    return lambda t: np.expm1(strength * (t + 1)) / np.expm1(2 * strength)


def azimuth(v: np.ndarray, axis: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """Angle of v about an axis from the direction of ``zero``, all (F, 3), in units of the circle, 0 to 1."""
    x = zero - (zero * axis).sum(-1, keepdims=True) * axis
    y = np.cross(axis, x)
    return np.arctan2((v * y).sum(-1), (v * x).sum(-1)) / (2 * math.pi) + 0.5


def distances(frames: np.ndarray, temperature: float = 300.0) -> dict[str, float]:
    """Kolmogorov and Smirnov's distances of all measures of the bodies in frames (F, 2 N, 3)."""
    first, second = frames[:, :N], frames[:, N:]
    apart = first.mean(1) - second.mean(1)
    u, u2 = ((body[:, 1] - body[:, 0]) / LONG for body in (first, second))
    w, w2 = ((body[:, 2] - body[:, 3]) / WIDE for body in (first, second))
    e = np.broadcast_to([1.0, 0.0, 0.0], u.shape)
    y = np.broadcast_to([0.0, 1.0, 0.0], u.shape)
    scale = 300 / temperature
    normal = stats.norm(scale=SPREAD / scale**0.5).cdf
    even = stats.uniform().cdf
    measures = {f"c1 - c2, {axis}": (apart[:, k], normal) for k, axis in enumerate("xyz")} | {
        "u1.u2": ((u * u2).sum(-1), exponential(scale * KAPPA)),
        "w1.e": (w[:, 0], exponential(scale * MU)),
        "u2 about u1": (azimuth(u2, u, w), even),
        "w2 about u2": (azimuth(w2, u2, y), even),
        "u1 about w1": (azimuth(u, w, e), even),
        "w1 about e": (azimuth(w, e, y), even),
    }
    return {name: stats.kstest(values, cdf).statistic for name, (values, cdf) in measures.items()}


@pytest.mark.boltzmann
def test_moves_alone_sample_the_boltzmann_distribution():
    """All distances are below 0.03. Of 6,000 independent samples, one would be above in 1 of 2,800 runs.

    Frames are 20 moves apart, of which half are accepted.
    """
    context = context_of()
    moves = RigidBodyMoves(CHAINS, 11, translations=(0.05, 0.8), rotations=(0.3, 4.0))
    frames = []
    for frame in range(6200):
        moves.run(context, [300], 20 * frame, 20)
        frames.append(positions_in(context))
    found = distances(np.array(frames[200:]))
    assert max(found.values()) < RIGID_MOVES["KS"], found


@pytest.mark.boltzmann
def test_replicas_sample_at_their_own_temperatures():
    """Each replica on its own energy. p is above 1e-4 of each of 18 measures: a false alarm in 550 runs."""
    temperatures = [200.0, 450.0]
    context = context_of(replicas=2)
    chains = [[2 * N * r + i for i in chain] for r in range(2) for chain in CHAINS]
    moves = RigidBodyMoves(chains, 12, translations=(0.05, 0.8), rotations=(0.3, 4.0), replicas=2)
    frames = []
    for frame in range(1600):
        moves.run(context, temperatures, 20 * frame, 20)
        frames.append(positions_in(context).reshape(2, 2 * N, 3))
    x = np.array(frames[100:])
    for replica, temperature in enumerate(temperatures):
        found = distances(x[:, replica], temperature)
        bound = stats.kstwo.isf(1e-4, len(x))
        assert max(found.values()) < bound, (temperature, found)


@pytest.mark.boltzmann
def test_moves_within_reach_sample_chains_within_reach():
    """Of free chains: r has the density r^2 up to the reach; p is above 1e-4."""
    system = mm.System()
    for _ in range(2 * N):
        system.addParticle(100.0)
    context = make_context(system, mm.VerletIntegrator(0.001), start())
    moves = RigidBodyMoves(CHAINS, 13, translations=(0.1, 2.0), reach=2.5)
    apart = []
    for frame in range(1500):
        moves.run(context, [300], 20 * frame, 20)
        x = positions_in(context)
        apart.append(np.linalg.norm(x[:N].mean(0) - x[N:].mean(0)))
    assert stats.kstest(apart, lambda r: (r / 2.5) ** 3).pvalue > 1e-4


def test_chains_out_of_reach_only_come_closer():
    system = mm.System()
    for _ in range(2 * N):
        system.addParticle(100.0)
    x = start()
    x[N:, 0] += 20
    context = make_context(system, mm.VerletIntegrator(0.001), x)
    moves = RigidBodyMoves(CHAINS, 13, reach=2.5 * unit.nanometer)
    before = 20.31
    for number in range(60):
        moves.run(context, [300], number, 1)
        x = positions_in(context)
        apart = np.linalg.norm(x[:N].mean(0) - x[N:].mean(0))
        assert apart <= before + 1e-9
        before = apart
    assert 2.5 < before < 19.5
    assert 15 < moves.accepted[0] < 45
    with raises(ValueError, "reach"):
        RigidBodyMoves(CHAINS, 1, reach=0)


def test_reach_is_that_of_the_largest_chains():
    """Of 100 residues, a globule has a radius of 1.63 nm; of 200, 2.13 nm."""
    assert reach_of([100, 4, 200]) == pytest.approx(1.63 + 2.13 + FREE_WAY, abs=0.01)


def pair(length: int) -> mm.System:
    """Two chains with energies of single bonds, angles and dihedrals, a spring between their centres, and -KAPPA times
    the cosine between their directions from end to end."""
    chains = chains_of(length, 2)
    system = system_of(chains)
    spring = mm.CustomCentroidBondForce(2, f"{KT / SPREAD**2 / 2}*distance(g1,g2)^2")
    groups = [spring.addGroup(chain, [1.0] * length) for chain in chains]
    spring.addBond(groups)
    along = " + ".join(f"({a}2-{a}1)*({a}4-{a}3)" for a in "xyz")
    ends = mm.CustomCompoundBondForce(
        4, f"-{KT * KAPPA}*({along})/(distance(p1,p2)*distance(p3,p4))"
    )
    ends.addBond([chains[0][0], chains[0][-1], chains[1][0], chains[1][-1]])
    for force in (spring, ends):
        system.addForce(force)
    return system


@pytest.mark.boltzmann
def test_moves_between_metropolis_steps_sample_the_boltzmann_distribution():
    """Of chains that bend: shapes, the vector between centres and the angle between directions.

    p is above 1e-4 of each of seven: a false alarm in 1,400 runs. Frames are 60 steps and 12 moves apart, so that
    less than a twentieth of a deviation is left from one frame to the next, also of dihedrals, which are slow.
    """
    chains = chains_of(4, 2)
    integrator = CompiledIntegrator(300, 0.0004, 0.12, seed=21, chains=chains, metropolis=True)
    x = start_of_chains(4, 2)
    x[4:] += [0.3, 0.2, 0.1]
    context = platform_context(pair(4), integrator, x, "Reference")
    moves = RigidBodyMoves(chains, 21, translations=(0.02, 0.8), rotations=(0.1, 4.0))
    frames = []
    for block in range(1600):
        integrator.step(60)
        moves.run(context, [300], 12 * block, 12)
        frames.append(positions_in(context))
    frames = frames[100:]
    for kind, values in measured(frames, chains).items():
        v = np.cos(values) if kind == "d" else values
        v = v - v.mean(0)
        assert abs((v[1:] * v[:-1]).mean() / (v * v).mean()) < 0.05
        assert p_value(values.ravel(), kind, BOLTZMANN) > 1e-4, kind
    f = np.array(frames)
    apart = f[:, :4].mean(1) - f[:, 4:].mean(1)
    ends = [f[:, last] - f[:, first] for first, last in ((0, 3), (4, 7))]
    cosine = (ends[0] * ends[1]).sum(-1) / np.prod([np.linalg.norm(e, axis=-1) for e in ends], 0)
    for k in range(3):
        assert stats.kstest(apart[:, k], stats.norm(scale=SPREAD).cdf).pvalue > 1e-4
    assert stats.kstest(cosine, exponential(KAPPA)).pvalue > 1e-4


# Between the steps of a simulation


def simulation_of(
    file, kind=CompiledIntegrator, seed=7, interval=5, name="Reference", replicas=1, **options
) -> app.Simulation:
    chains = [[2 * N * r + i for i in chain] for r in range(replicas) for chain in CHAINS]
    steps = {"cartesian_step": 1e-4, "internal_step": 0.01}
    integrator = kind(300, **steps, seed=seed, chains=chains, replicas=replicas, **options)
    platform, _, precision = name.partition(" ")
    simulation = app.Simulation(
        bead_topology(2 * N * replicas),
        bodies(replicas),
        integrator,
        mm.Platform.getPlatformByName(platform),
        {"Precision": precision} if precision else {},
    )
    simulation.context.setPositions(start(replicas))
    simulation.reporters.append(NemoChainMoves(file, interval, 4))
    return simulation


def table(file) -> np.ndarray:
    return np.loadtxt(file, delimiter=",", skiprows=1, dtype=int, ndmin=2)


@pytest.mark.parametrize("kind", [CompiledIntegrator, PythonIntegrator])
def test_moves_come_at_the_interval_with_numbers_of_their_own(tmp_path, kind):
    """Of the seed of the integrator; at the temperature of the last step."""
    schedule = Schedule(20, 8.0, 0.2, block=5)
    simulation = simulation_of(tmp_path / "a.csv", kind, schedule=schedule)
    other = simulation_of(tmp_path / "b.csv", kind, schedule=schedule)
    other.reporters.clear()
    moves = RigidBodyMoves(CHAINS, 7)
    rows = [[0, 0, 0]]
    for block in range(5):
        simulation.step(3)
        simulation.step(2)
        other.step(5)
        temperature = 300 * schedule.factor(5 * block + 4)
        moves.run(other.context, [temperature], 4 * block, 4)
        np.testing.assert_array_equal(positions_in(simulation.context), positions_in(other.context))
        rows.append([5 * block + 5, 4 * block + 4, *moves.accepted])
    simulation.reporters[0].close()
    assert (tmp_path / "a.csv").read_text().startswith("step,proposed,accepted\n0,0,0\n5,4,")
    np.testing.assert_array_equal(table(tmp_path / "a.csv"), rows)


@pytest.mark.parametrize("replicas", [1, 2])
@one_precision
def test_a_checkpoint_and_the_table_continue_bit_by_bit(tmp_path, name, replicas):
    options = {"name": name, "replicas": replicas, "metropolis": True}
    whole = simulation_of(tmp_path / "whole.csv", **options)
    whole.step(33)
    checkpoint = whole.context.createCheckpoint()
    whole.step(30)
    other = simulation_of(tmp_path / "other.csv", **options | {"seed": 5})
    other.context.loadCheckpoint(checkpoint)
    other.reporters[0].take_over(other, tmp_path / "whole.csv", 7)
    other.step(30)
    np.testing.assert_array_equal(positions_in(other.context), positions_in(whole.context))
    assert (tmp_path / "other.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    rows = table(tmp_path / "whole.csv")
    assert rows[-1, 1] == 48
    assert (rows[-1, 2:] > 0).all()


def test_a_table_that_lacks_lines_is_refused(tmp_path):
    simulation = simulation_of(tmp_path / "a.csv")
    simulation.step(10)
    other = simulation_of(tmp_path / "b.csv")
    with raises(InputError, tmp_path / "a.csv", "lines"):
        other.reporters[0].take_over(other, tmp_path / "a.csv", 4)


def test_simulations_without_chains_are_refused(tmp_path):
    integrator = CompiledIntegrator(300, 1e-4, 0.01)
    for other in (integrator, mm.VerletIntegrator(0.001)):
        simulation = app.Simulation(bead_topology(2 * N), bodies(), other)
        simulation.context.setPositions(start())
        simulation.reporters.append(NemoChainMoves(tmp_path / "a.csv", 5, 4))
        with raises(ValueError, "NemoLangevinIntegrator", "chains"):
            simulation.step(5)
    for arguments in ((0, 4), (5, 0)):
        with raises(ValueError, 0):
            NemoChainMoves(tmp_path / "a.csv", *arguments)

"""The force of the compiled plugin against the modules in torch, whose terms it computes without torch."""

import copy
import gzip
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import openmm as mm
import pytest
import torch
from torch import Tensor

from openmm_nemo import ConditionedModel, NemoConfig, NemoModel
from openmm_nemo.energies import ComplexEnergy, Energy, Origin, ProteinEnergy
from openmm_nemo.engine import add_to_system, create_force, create_forces, create_system
from openmm_nemo.engine.forces import choose_backend
from openmm_nemo.engine.native import NATIVE_TERMS, native_force
from tests.helpers import degenerate_chains, generator, normal, raises, random_chain
from tests.tolerances import NATIVE
from tests.unit.engine.platforms import platform_context
from tests.unit.engine.toys import KT, energy_of, forces_of, make_context

pytestmark = pytest.mark.usefixtures("plugin")

DATA = Path(__file__).parents[2] / "data"


def native_energy(
    n: int,
    terms: tuple[str, ...] = NATIVE_TERMS,
    strength: float = 1.0,
    lengths: tuple[int, ...] | None = None,
) -> ProteinEnergy:
    """Energy of a chain, or of chains of some lengths, with random coefficients in single precision."""
    config = replace(NemoConfig.preset("fold", profile=True), terms=terms)
    random = generator(n)
    shapes = {"pair-basis": (n, n, 42), "chain-basis": (n, 24)}
    coefficients = [
        strength * torch.randn(shapes[name], generator=random) for name in terms if name in shapes
    ]
    network = Energy(config)
    for name in shapes.keys() & network.terms.keys():
        # Different ones for all ranges of separation.
        logarithms = network.terms[name].scales.logarithms
        logarithms.data += torch.linspace(-0.5, 0.4, len(logarithms))
    kind = ProteinEnergy if lengths is None else ComplexEnergy
    sequence = ":".join("A" * length for length in lengths or (n,))
    return kind(network, coefficients, sequence, Origin("", "", config))


def in_double(energy: ProteinEnergy) -> ProteinEnergy:
    """The same energy in double precision, with constants that were never rounded."""
    torch.set_default_dtype(torch.float64)
    try:
        network = Energy(energy.origin.config)
    finally:
        torch.set_default_dtype(torch.float32)
    network.load_state_dict(energy.network.state_dict())
    coefficients = [part.value.double() for part in energy.coefficients]
    return type(energy)(network, coefficients, energy.sequence, energy.origin)


def u_and_gradient(energy: ProteinEnergy, x: Tensor) -> tuple[float, np.ndarray]:
    """In kT and kT/Angstrom."""
    leaf = x.clone().requires_grad_()
    u = in_double(energy)(leaf[None])[0]
    (gradient,) = torch.autograd.grad(u, leaf)
    return u.item(), gradient.numpy()


def system_of(energy: ProteinEnergy) -> mm.System:
    system = mm.System()
    n = sum(energy.chain_lengths)
    for _ in range(n):
        system.addParticle(1.0)
    system.addForce(native_force(energy, range(n)))
    return system


def stored(x: Tensor, name: str) -> Tensor:
    """Positions as a platform stores them."""
    return 10 * (x / 10).float().double() if name == "OpenCL single" else x


def context_of(energy: ProteinEnergy, x: Tensor, name: str) -> mm.Context:
    return platform_context(system_of(energy), mm.VerletIntegrator(0.001), x.numpy() / 10, name)


def domain() -> Tensor:
    """C-alphas of a folded domain of 147 residues, Angstrom."""
    text = gzip.decompress((DATA / "25_1lol.pdb.gz").read_bytes()).decode()
    chain = gemmi.read_pdb_string(text)[0]["A"]
    atoms = [residue["CA"][0].pos.tolist() for residue in chain.get_polymer()]
    return torch.tensor(atoms[:147], dtype=torch.float64)


def straight(n: int) -> Tensor:
    return torch.arange(n).double()[:, None] * torch.tensor([3.8, 0, 0]).double()


CHAINS: dict[str, Callable[[], Tensor]] = {
    "4": lambda: random_chain(4, seed=1),
    "5": lambda: random_chain(5, seed=1),
    "8": lambda: random_chain(8, seed=1),
    "9": lambda: random_chain(9, seed=1),
    "33": lambda: random_chain(33, seed=1),
    "200": lambda: random_chain(200, seed=1),
    "domain": domain,
    "globule": lambda: 5 * normal(60, 3),
    "straight": lambda: straight(100),
    "near": lambda: normal(12, 3),
}

each_platform = pytest.mark.parametrize("name", list(NATIVE))


@each_platform
@pytest.mark.parametrize("chain", CHAINS)
def test_energy_and_forces_are_those_of_the_network(chain, name):
    x = CHAINS[chain]()
    energy = native_energy(len(x))
    context = context_of(energy, x, name)
    u, gradient = u_and_gradient(energy, stored(x, name))
    assert energy_of(context) == pytest.approx(KT * u, rel=NATIVE[name])
    error = np.abs(forces_of(context) + 10 * KT * gradient).max()
    assert error <= NATIVE[name] * np.abs(10 * KT * gradient).max()


@each_platform
@pytest.mark.parametrize("chain", degenerate_chains())
def test_degenerate_chains_have_the_energy_and_forces_of_the_network(chain, name):
    x = degenerate_chains()[chain]
    if len(x) == 1 and name.startswith("OpenCL"):
        pytest.skip("OpenMM crashes with any force on a single particle on PoCL")
    energy = native_energy(len(x))
    context = context_of(energy, x, name)
    u, gradient = u_and_gradient(energy, stored(x, name))
    assert energy_of(context) == pytest.approx(KT * u, rel=NATIVE[name], abs=NATIVE[name])
    error = np.abs(forces_of(context) + 10 * KT * gradient).max()
    assert error <= NATIVE[name] * max(10 * KT, np.abs(10 * KT * gradient).max())


@each_platform
@pytest.mark.parametrize("term", NATIVE_TERMS)
def test_each_term_is_that_of_the_network_alone(term, name):
    x = random_chain(20, seed=8) * 0.8
    energy = native_energy(20, (term,))
    context = context_of(energy, x, name)
    u, gradient = u_and_gradient(energy, stored(x, name))
    assert u != 0
    assert energy_of(context) == pytest.approx(KT * u, rel=NATIVE[name])
    expected = -10 * KT * gradient
    np.testing.assert_allclose(
        forces_of(context), expected, rtol=0, atol=NATIVE[name] * np.abs(expected).max()
    )


COMPLEXES = {
    "two": (20, 13),
    "in one block": (4, 4),
    "in many blocks": (70, 8, 33, 41),
    "shortest first": (4, 29),
    "alike": (24, 24),
}


def near_chains(lengths: tuple[int, ...]) -> Tensor:
    """Chains (sum of lengths, 3) that interpenetrate, with some residues on top of each other."""
    parts = [random_chain(n, seed=n + k) for k, n in enumerate(lengths)]
    x = torch.cat([part - part.mean(0) + 6 * k for k, part in enumerate(parts)])
    x[lengths[0]] = x[lengths[0] - 1] + torch.tensor([0.3, -0.2, 0.4])
    return x


@each_platform
@pytest.mark.parametrize("chains", COMPLEXES)
def test_complexes_have_the_energy_and_forces_of_the_network(chains, name):
    lengths = COMPLEXES[chains]
    x, energy = near_chains(lengths), native_energy(sum(lengths), lengths=lengths)
    context = context_of(energy, x, name)
    u, gradient = u_and_gradient(energy, stored(x, name))
    assert energy_of(context) == pytest.approx(KT * u, rel=NATIVE[name])
    error = np.abs(forces_of(context) + 10 * KT * gradient).max()
    assert error <= NATIVE[name] * np.abs(10 * KT * gradient).max()


@each_platform
@pytest.mark.parametrize("term", NATIVE_TERMS)
def test_each_term_of_a_complex_is_that_of_the_network_alone(term, name):
    lengths = 11, 5, 12
    x, energy = near_chains(lengths), native_energy(28, (term,), lengths=lengths)
    context = context_of(energy, x, name)
    u, gradient = u_and_gradient(energy, stored(x, name))
    assert energy_of(context) == pytest.approx(KT * u, rel=NATIVE[name])
    expected = -10 * KT * gradient
    np.testing.assert_allclose(
        forces_of(context), expected, rtol=0, atol=NATIVE[name] * np.abs(expected).max()
    )


@pytest.mark.parametrize("name", ["Reference", "CPU"])
def test_chains_beyond_the_cutoff_have_their_own_energies(name):
    lengths = 30, 17
    x, energy = near_chains(lengths), native_energy(47, lengths=lengths)
    x[30:] += torch.tensor([300.0, 0, 0])
    alone = []
    for first, n in ((0, 30), (30, 17)):
        own = [
            part.value[first : first + n, first : first + n]
            if part.value.dim() == 3
            else part.value[first : first + n]
            for part in energy.coefficients
        ]
        chain = ProteinEnergy(energy.network, own, "A" * n, energy.origin)
        alone.append(energy_of(context_of(chain, x[first : first + n], name)))
    assert energy_of(context_of(energy, x, name)) == pytest.approx(sum(alone), rel=NATIVE[name])


def test_forces_are_the_slope_of_the_energy():
    x, h = domain()[:40], 1e-4
    context = context_of(native_energy(40), x, "Reference")
    force = forces_of(context)
    for particle in (0, 1, 20, 38, 39):
        for axis in range(3):
            energies = []
            for sign in (1, -1):
                moved = x.clone()
                moved[particle, axis] += sign * h
                context.setPositions(moved.numpy() / 10)
                energies.append(energy_of(context))
            slope = (energies[0] - energies[1]) / (2 * h / 10)
            assert force[particle, axis] == pytest.approx(-slope, rel=1e-6, abs=1e-3)


def test_far_pairs_are_left_out_and_do_not_matter():
    """Two globules far from each other, in one chain of nearly straight bonds between them."""
    parts = 5 * normal(24, 3), straight(60) + 10, 5 * normal(24, 3) + 250
    x = torch.cat(parts)
    energy = native_energy(len(x), ("pair-basis",), strength=10.0)
    u, gradient = u_and_gradient(energy, x)
    for name in ("Reference", "CPU"):
        context = context_of(energy, x, name)
        assert energy_of(context) == pytest.approx(KT * u, rel=NATIVE[name])
        expected = -10 * KT * gradient
        np.testing.assert_allclose(
            forces_of(context), expected, rtol=0, atol=NATIVE[name] * np.abs(expected).max()
        )


@each_platform
def test_scale_multiplies_energy_and_forces_and_has_a_derivative(name):
    x = random_chain(12)
    context = context_of(native_energy(12), x, name)
    assert dict(context.getParameters()) == {"nemo_scale": 1.0}
    energy, force = energy_of(context), forces_of(context)
    for scale in (0.25, 0.0, -3.0):
        context.setParameter("nemo_scale", scale)
        assert energy_of(context) == pytest.approx(scale * energy, rel=1e-6)
        np.testing.assert_allclose(
            forces_of(context), scale * force, rtol=0, atol=1e-5 * np.abs(force).max()
        )
        state = context.getState(parameterDerivatives=True)
        derivative = state.getEnergyParameterDerivatives()["nemo_scale"]
        assert derivative == pytest.approx(energy, rel=1e-6)


@each_platform
def test_particles_in_any_order_in_a_larger_system(name):
    n = 20
    energy, x = native_energy(n), random_chain(n)
    order = [int(i) for i in np.random.default_rng(5).permutation(n + 4)[:n]]
    system = mm.System()
    for _ in range(n + 4):
        system.addParticle(1.0)
    force = native_force(energy, order)
    force.setForceGroup(3)
    system.addForce(force)
    positions = np.random.default_rng(6).normal(size=(n + 4, 3))
    positions[order] = x.numpy() / 10
    context = platform_context(system, mm.VerletIntegrator(0.001), positions, name)
    u, gradient = u_and_gradient(energy, stored(x, name))
    assert energy_of(context) == pytest.approx(KT * u, rel=NATIVE[name])
    assert energy_of(context, groups={0}) == 0
    expected = np.zeros_like(positions)
    expected[order] = -10 * KT * gradient
    np.testing.assert_allclose(
        forces_of(context), expected, rtol=0, atol=NATIVE[name] * np.abs(expected).max()
    )


def test_forces_depend_on_the_number_of_threads_only_by_rounding():
    x = domain()
    system = system_of(native_energy(len(x)))
    results = []
    for threads in ("1", "2", "2", "3"):
        context = mm.Context(
            system,
            mm.VerletIntegrator(0.001),
            mm.Platform.getPlatformByName("CPU"),
            {"Threads": threads},
        )
        context.setPositions(x.numpy() / 10)
        results.append((energy_of(context), forces_of(context)))
    assert results[1][0] == results[2][0]
    assert np.array_equal(results[1][1], results[2][1])
    for energy, force in results:
        assert energy == pytest.approx(results[0][0], rel=1e-6)
        assert np.abs(force - results[0][1]).max() < 1e-5 * np.abs(force).max()


@pytest.mark.parametrize("name", ["Reference", "CPU"])
@pytest.mark.parametrize("term", NATIVE_TERMS)
def test_positions_that_are_not_finite_are_not_hidden(term, name):
    x = random_chain(12)
    x[5, 1] = float("inf" if name == "CPU" else "nan")  # OpenMM itself refuses the latter there
    context = context_of(native_energy(12, (term,)), x, name)
    assert not (np.isfinite(energy_of(context)) and np.isfinite(forces_of(context)).all())


# XML and copies


def test_xml_holds_all_numbers_exactly():
    energy = native_energy(20)
    system = system_of(energy)
    text = mm.XmlSerializer.serialize(system)
    again = mm.XmlSerializer.deserialize(text)
    assert mm.XmlSerializer.serialize(again) == text
    x = random_chain(20).numpy() / 10
    first, second = (make_context(s, mm.VerletIntegrator(1), x) for s in (system, again))
    assert energy_of(first) == energy_of(second)
    assert np.array_equal(forces_of(first), forces_of(second))


def test_xml_of_one_chain_is_what_earlier_releases_wrote():
    system = system_of(native_energy(10))
    text = mm.XmlSerializer.serialize(system.getForce(0))
    assert 'version="1"' in text
    assert "Chain" not in text


def test_xml_of_a_complex_holds_its_chains_and_is_refused_by_earlier_releases():
    energy, x = native_energy(33, lengths=(20, 13)), near_chains((20, 13)).numpy() / 10
    system = system_of(energy)
    text = mm.XmlSerializer.serialize(system.getForce(0))
    assert 'version="2"' in text
    assert re.findall(r'<Chain length="(\d+)"/>', text) == ["20", "13"]
    again = mm.XmlSerializer.deserialize(mm.XmlSerializer.serialize(system))
    assert mm.XmlSerializer.serialize(again.getForce(0)) == text
    first, second = (make_context(s, mm.VerletIntegrator(1), x) for s in (system, again))
    assert energy_of(first) == energy_of(second)
    assert np.array_equal(forces_of(first), forces_of(second))


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
}


@pytest.mark.parametrize("name", COPIES)
def test_forces_and_systems_can_be_copied(name):
    energy, x = native_energy(9), random_chain(9).numpy() / 10
    system = system_of(energy)
    by_force = mm.System()
    for _ in range(9):
        by_force.addParticle(1.0)
    by_force.addForce(COPIES[name](system.getForce(0)))
    expected = energy_of(make_context(system, mm.VerletIntegrator(1), x))
    for again in (COPIES[name](system), by_force):
        assert energy_of(make_context(again, mm.VerletIntegrator(1), x)) == expected


def test_a_checkpoint_resumes_exactly(protein_of):
    protein = protein_of(NATIVE_TERMS)
    system = protein.create_system("native")

    def start() -> mm.Context:
        integrator = protein.create_integrator(seed=4)
        return make_context(system, integrator, protein.initial_positions(), "CPU")

    context = start()
    context.getIntegrator().step(5)
    checkpoint = context.createCheckpoint()
    context.getIntegrator().step(5)
    expected = context.getState(positions=True).getPositions(asNumpy=True)._value
    again = start()
    again.loadCheckpoint(checkpoint)
    again.getIntegrator().step(5)
    assert np.array_equal(
        again.getState(positions=True).getPositions(asNumpy=True)._value, expected
    )


WITHOUT_TORCH = """
import sys
import numpy, openmm
import openmm_nemo.plugin
system = openmm.XmlSerializer.deserialize(open("system.xml").read())
platform = openmm.Platform.getPlatformByName("Reference")
context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
context.setPositions(numpy.load("x.npy"))
print(context.getState(energy=True).getPotentialEnergy()._value)
assert "torch" not in sys.modules
"""


@pytest.mark.integration
def test_a_system_needs_no_torch(tmp_path):
    energy, x = native_energy(9), random_chain(9).numpy() / 10
    system = system_of(energy)
    (tmp_path / "system.xml").write_text(mm.XmlSerializer.serialize(system))
    np.save(tmp_path / "x.npy", x)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected = energy_of(make_context(system, mm.VerletIntegrator(1), x))
    assert float(done.stdout) == expected


@pytest.mark.parametrize(
    ("old", "new", "facts"),
    [
        (' version="1"', ' version="3"', ["another version"]),
        (' version="1"', ' version="2"', ["Chains"]),
        (r'chain=".{16}', 'chain="', ["chain", "237", "240"]),
        (r'pairs=".', 'pairs="', ["pairs", "damaged"]),
        (r'pairs="....', 'pairs="!!!!', ["pairs", "damaged"]),
        (r'index="3"', 'index="2"', ["9 different particles", "10 residues"]),
        (r'index="3"', 'index="10"', ["particle 10", "10 particles"]),
        (r'<Particle index="3"/>', "", ["pairs", "4200", "9 residues"]),
    ],
)
def test_damaged_xml_is_refused(old, new, facts):
    system = system_of(native_energy(10))
    text = mm.XmlSerializer.serialize(system.getForce(0))
    changed, count = re.subn(old, new, text, count=1)
    assert count == 1
    system = mm.System()
    for _ in range(10):
        system.addParticle(1.0)
    with raises(mm.OpenMMException, *facts):
        system.addForce(mm.XmlSerializer.deserialize(changed))
        make_context(system, mm.VerletIntegrator(1), np.zeros((10, 3)))


@pytest.mark.parametrize("length", ["5", "0", "-6", "7"])
def test_chains_that_do_not_fit_the_residues_are_refused(length):
    system = system_of(native_energy(10, lengths=(4, 6)))
    text = mm.XmlSerializer.serialize(system)
    text = text.replace('<Chain length="6"/>', f'<Chain length="{length}"/>')
    with raises(mm.OpenMMException, "chains", "10 residues"):
        make_context(mm.XmlSerializer.deserialize(text), mm.VerletIntegrator(1), np.zeros((10, 3)))


# As a backend


@pytest.fixture(scope="module")
def protein_of() -> Callable[..., ConditionedModel]:
    """Small protein of a model with given terms, whose heads have random weights."""

    def make(terms: tuple[str, ...]) -> ConditionedModel:
        torch.manual_seed(3)
        model = NemoModel(replace(NemoConfig.preset("tiny"), terms=terms))
        for name, parameter in model.named_parameters():
            if "head" in name and name.endswith("coefficients.weight"):
                torch.nn.init.normal_(parameter, std=0.3)
        return model.condition("GSAVLKDEFWYPTNQH")

    return make


MIXED = ("learned", "pair-basis", "backbone")


@pytest.mark.parametrize(
    "terms", [NATIVE_TERMS, MIXED, MIXED[::-1]], ids=["native", "mixed", "reversed"]
)
def test_a_system_has_the_energy_of_the_model(protein_of, terms):
    protein = protein_of(terms)
    x = protein.initial_positions()
    contexts = {
        backend: make_context(protein.create_system(backend), mm.VerletIntegrator(1), x)
        for backend in ("native", "python")
    }
    force = forces_of(contexts["python"])
    assert energy_of(contexts["native"]) == pytest.approx(energy_of(contexts["python"]), rel=1e-5)
    np.testing.assert_allclose(
        forces_of(contexts["native"]), force, rtol=0, atol=1e-4 * np.abs(force).max()
    )
    contexts["native"].setParameter("nemo_scale", 0.5)
    assert energy_of(contexts["native"]) == pytest.approx(
        0.5 * energy_of(contexts["python"]), rel=1e-5
    )


def test_a_mixed_model_has_two_forces_in_one_group(protein_of):
    protein = protein_of(MIXED)
    system = mm.System()
    for _ in range(20):
        system.addParticle(1.0)
    index = add_to_system(protein, system, range(2, 18), "native", force_group=5)
    assert index == 0
    assert [force.getForceGroup() for force in system.getForces()] == [5, 5]
    assert [force.getName() for force in system.getForces()] == ["NemoForce"] * 2
    assert [type(force) for force in create_forces(protein, "native")] == [
        mm.Force,
        mm.PythonForce,
    ]
    with raises(ValueError, "native", "create_forces"):
        create_force(protein, "native")
    assert type(create_force(protein)) is mm.PythonForce
    again = mm.XmlSerializer.deserialize(mm.XmlSerializer.serialize(system))
    x = np.random.default_rng(1).normal(size=(20, 3))
    first, second = (make_context(s, mm.VerletIntegrator(1), x) for s in (system, again))
    assert energy_of(first) == pytest.approx(energy_of(second), rel=1e-9)


def test_auto_is_native_where_the_plugin_computes_everything(protein_of, monkeypatch):
    protein = protein_of(NATIVE_TERMS)
    energy = protein.require_energy()
    assert choose_backend("auto", "CPU", energy) == "native"
    assert [type(force) for force in create_system(protein).getForces()] == [mm.Force]
    assert choose_backend("auto", "CPU", protein_of(MIXED).require_energy()) == "python"
    assert choose_backend("native", "CPU", protein_of(MIXED).require_energy()) == "native"
    double = copy.deepcopy(protein).double().require_energy()
    assert choose_backend("auto", "CPU", double) == "python"
    assert choose_backend("native", "CPU", double) == "native"
    monkeypatch.setattr("openmm_nemo.engine.forces.plugin_problem", lambda: "it was not built")
    assert choose_backend("auto", "CPU", energy) == "python"
    with raises(ValueError, "native", "it was not built"):
        choose_backend("native", "CPU", energy)


def test_native_is_refused_for_a_model_without_its_terms(protein32):
    with raises(ValueError, "native", "pair-basis"):
        create_force(protein32, "native")


def test_native_is_refused_on_a_platform_without_kernels(protein_of, monkeypatch):
    monkeypatch.setattr("openmm_nemo.engine.forces.KERNEL", "CalcNothing")
    energy = protein_of(NATIVE_TERMS).require_energy()
    assert choose_backend("auto", "CPU", energy) == "python"
    with raises(ValueError, "native", "CPU"):
        choose_backend("native", "CPU", energy)


@pytest.mark.parametrize("terms", [NATIVE_TERMS, MIXED], ids=["native", "mixed"])
@pytest.mark.parametrize("name", ["Reference", "CPU", "OpenCL mixed"])
def test_replicas_have_a_force_each_and_their_own_energies(protein_of, name, terms):
    protein, replicas = protein_of(terms), 3
    n = len(protein.sequence)
    x = np.vstack([random_chain(n, seed=seed).numpy() / 10 for seed in range(replicas)])
    system = protein.create_system("native", replicas)
    assert system.getNumForces() == replicas + (terms == MIXED)
    assert {force.getName() for force in system.getForces()} == {"NemoForce"}
    again = mm.XmlSerializer.deserialize(mm.XmlSerializer.serialize(system))
    context = platform_context(again, mm.VerletIntegrator(1), x, name)
    energies = []
    for replica in range(replicas):
        rows = slice(replica * n, (replica + 1) * n)
        alone = make_context(create_system(protein, "python"), mm.VerletIntegrator(1), x[rows])
        context.setParameter("nemo_replica", replica)
        assert energy_of(context) == pytest.approx(energy_of(alone), rel=1e-5)
        expected = np.zeros_like(x)
        expected[rows] = forces_of(alone)
        bound = 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(forces_of(context), expected, rtol=0, atol=bound)
        energies.append(energy_of(context))
    context.setParameter("nemo_replica", -1)
    assert energy_of(context) == pytest.approx(sum(energies), rel=NATIVE[name])
    assert len({round(energy, 3) for energy in energies}) == replicas
    with raises(ValueError, "native", "create_forces"):
        create_force(protein, "native", replicas=replicas)

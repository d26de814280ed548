"""TorchForce and PythonForce of a protein against the bare network, one by one and against each other."""

import re
import subprocess
import sys

import numpy as np
import openmm as mm
import pytest
import torch

from openmm_nemo.engine import (
    choose_backend,
    create_force,
    create_system,
    deserialize_system,
    torchscript,
)
from openmm_nemo.engine.forces import NemoPythonEnergy
from openmm_nemo.errors import InputError
from tests.helpers import need_torchforce, raises
from tests.tolerances import assert_close
from tests.unit.engine.toys import KT, energy_of, forces_of, make_context


def bend(protein, seed: int = 0) -> np.ndarray:
    """Positions away from the initial state, nm."""
    x = protein.initial_state().double().numpy() / 10
    return x + np.random.default_rng(seed).normal(scale=0.04, size=x.shape)


def context_of(protein, backend: str, name: str = "Reference", x: np.ndarray | None = None):
    system = mm.System()
    for _ in protein.sequence:
        system.addParticle(1.0)
    system.addForce(create_force(protein, backend))
    return make_context(system, mm.VerletIntegrator(0.001), bend(protein) if x is None else x, name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_energy_and_forces_are_those_of_the_network(request, dtype, backend, platform_name):
    protein = request.getfixturevalue("protein" if dtype == "float64" else "protein32")
    context = context_of(protein, backend, platform_name)
    energy, gradient = protein.energy_and_gradient(torch.tensor(10 * bend(protein)).to(protein.z0))
    assert_close(energy.new_tensor(energy_of(context)), KT * energy, "rounding")
    force = torch.from_numpy(forces_of(context)).to(gradient)
    assert_close(force, -10 * KT * gradient, "rounding_gradient")


def test_forces_are_the_slope_of_the_energy(protein, backend, platform_name):
    x, h = bend(protein), 1e-5
    context = context_of(protein, backend, platform_name, x)
    force = forces_of(context)
    slope = np.zeros((5, 3))
    particles = [0, 1, 7, 14, 15]
    for row, particle in enumerate(particles):
        for axis in range(3):
            shift = np.zeros_like(x)
            shift[particle, axis] = h
            energies = []
            for moved in (x + shift, x - shift):
                context.setPositions(moved)
                energies.append(energy_of(context))
            slope[row, axis] = (energies[0] - energies[1]) / (2 * h)
    assert np.abs(force).max() > 10
    assert_close(torch.from_numpy(-slope), torch.from_numpy(force[particles]), "finite_difference")


def test_scale_is_1_until_it_is_set(protein, backend, platform_name):
    context = context_of(protein, backend, platform_name)
    energy, force = energy_of(context), forces_of(context)
    assert dict(context.getParameters()) == {"nemo_scale": 1.0}
    for scale in (0.25, 0.0, -3.0, 1.0):
        context.setParameter("nemo_scale", scale)
        assert energy_of(context) == pytest.approx(scale * energy, rel=1e-12)
        np.testing.assert_allclose(forces_of(context), scale * force, rtol=1e-12, atol=1e-12)


def test_force_has_a_name_a_group_and_no_period(protein, backend):
    force = create_force(protein, backend, force_group=7)
    assert force.getForceGroup() == 7
    assert force.getName() == "NemoForce"
    assert not force.usesPeriodicBoundaryConditions()
    assert create_force(protein, backend).getForceGroup() == 0


def test_force_ignores_the_periodic_box(protein, backend):
    x = bend(protein)
    energies = []
    for edge in (0.5, 50.0):
        system = mm.System()
        system.setDefaultPeriodicBoxVectors(*(edge * np.eye(3)))
        for _ in protein.sequence:
            system.addParticle(1.0)
        system.addForce(create_force(protein, backend))
        assert not system.usesPeriodicBoundaryConditions()
        energies.append(energy_of(make_context(system, mm.VerletIntegrator(0.001), x)))
    assert energies[0] == energies[1]


def test_particles_choose_and_order_the_residues(protein, backend, platform_name):
    n = len(protein.sequence)
    order = [int(i) for i in np.random.default_rng(5).permutation(n + 4)[:n]]
    assert order != sorted(order)
    system = mm.System()
    for _ in range(n + 4):
        system.addParticle(1.0)
    system.addForce(create_force(protein, backend, order, force_group=3))
    x = np.random.default_rng(6).normal(size=(n + 4, 3))
    x[order] = bend(protein)
    context = make_context(system, mm.VerletIntegrator(0.001), x, platform_name)
    alone = context_of(protein, backend, platform_name)
    assert energy_of(context) == pytest.approx(energy_of(alone), rel=1e-12)
    assert energy_of(context, groups={0}) == 0
    expected = np.zeros_like(x)
    expected[order] = forces_of(alone)
    np.testing.assert_allclose(forces_of(context), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "particles",
    [range(15), range(17), [0, *range(15)], [-1, *range(15)], []],
    ids=["too few", "too many", "twice", "negative", "none"],
)
def test_wrong_particles_are_refused(protein, backend, particles):
    with raises(ValueError, "particles", "16 residues"):
        create_force(protein, backend, particles)


def test_unknown_backend_is_refused(protein):
    with raises(ValueError, "jax", "auto", "torchforce", "python"):
        create_force(protein, "jax")


def test_auto_is_python_even_where_torchforce_works(monkeypatch):
    monkeypatch.setattr(torchscript, "torchforce_problem", lambda: None)
    assert choose_backend() == choose_backend("python") == "python"


def test_torchforce_is_refused_on_a_platform_that_it_would_crash(monkeypatch):
    monkeypatch.setattr(torchscript, "torchforce_problem", lambda: None)
    problems = {"OpenCL": "it crashes"}
    monkeypatch.setattr(torchscript, "torchforce_platform_problems", lambda: problems)
    assert choose_backend("torchforce") == choose_backend("torchforce", "CPU") == "torchforce"
    with raises(ValueError, "it crashes"):
        choose_backend("torchforce", "OpenCL")


# A process of its own, because it ends there where it is not refused.
@pytest.mark.integration
def test_torchforce_works_or_is_refused_on_every_platform():
    need_torchforce()
    script = (
        "import numpy, openmm, openmm_nemo, torch, openmmtorch\n"
        "from openmm_nemo.engine import torchforce_problem\n"
        "from openmm_nemo.engine.torchscript import _Parabola, torchforce_platform_problems\n"
        "from openmm_nemo.plugin import platform_names\n"
        "assert torchforce_problem() is None\n"
        "system = openmm.System()\n"
        "system.addParticle(1.0)\n"
        "system.addForce(openmmtorch.TorchForce(torch.jit.script(_Parabola())))\n"
        "for name in set(platform_names()) - set(torchforce_platform_problems()):\n"
        "    platform = openmm.Platform.getPlatformByName(name)\n"
        "    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)\n"
        "    context.setPositions(numpy.zeros((1, 3)))\n"
        "    context.getState(forces=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_each_backend_makes_its_force(protein):
    need_torchforce()
    assert type(create_force(protein, "torchforce")).__name__ == "TorchForce"
    assert type(create_force(protein)) is mm.PythonForce


def test_torchforce_that_does_not_work_is_refused(monkeypatch):
    monkeypatch.setattr(torchscript, "torchforce_problem", lambda: "it is broken")
    with raises(ValueError, "torchforce", "it is broken"):
        choose_backend("torchforce")


def test_energies_are_compressed_without_loss_and_older_ones_can_be_read(protein):
    energy = NemoPythonEnergy(protein.require_energy())
    content = protein.require_energy().to_bytes()
    state = energy.__getstate__()
    assert len(state) < 0.9 * len(content)
    for kept in (state, content):
        again = NemoPythonEnergy.__new__(NemoPythonEnergy)
        again.__setstate__(kept)
        assert again.__getstate__() == state


@pytest.mark.parametrize("damage", [slice(0, -20), slice(0, 40)])
def test_damaged_energies_are_refused(protein, damage):
    state = NemoPythonEnergy(protein.require_energy()).__getstate__()
    with raises(InputError, "damaged", "create_system"):
        NemoPythonEnergy.__new__(NemoPythonEnergy).__setstate__(state[damage])


# A process of its own, as for whoever gets the file; and a mismatch of two libraries would crash it.
FROM_XML = """
import openmm_nemo, openmm, numpy, torch
torch.set_num_threads(1)
for name in ("Reference", "CPU"):
    system = READ(open("system.xml").read())
    force = system.getForce(0)
    assert force.getForceGroup() == 2
    assert not force.usesPeriodicBoundaryConditions()
    platform = openmm.Platform.getPlatformByName(name)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(numpy.load("x.npy"))
    context.setParameter("nemo_scale", 0.5)
    state = context.getState(energy=True, forces=True)
    forces = state.getForces(asNumpy=True)._value
    numpy.savez(name, energy=state.getPotentialEnergy()._value, forces=forces)
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("backend", "reader"),
    [
        ("python", "openmm.XmlSerializer.deserialize"),
        ("python", "openmm_nemo.engine.deserialize_system"),
        ("torchforce", "openmm_nemo.engine.deserialize_system"),
    ],
    indirect=["backend"],
)
def test_system_is_the_same_after_xml(protein, backend, reader, tmp_path):
    n = len(protein.sequence)
    order = list(range(1, n + 1))[::-1]
    system = mm.System()
    for _ in range(n + 1):
        system.addParticle(1.0)
    system.addForce(create_force(protein, backend, order, force_group=2))
    x = np.zeros((n + 1, 3))
    x[order] = bend(protein)
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "system.xml").write_text(mm.XmlSerializer.serialize(system))
    result = subprocess.run(
        [sys.executable, "-c", FROM_XML.replace("READ", reader)], cwd=tmp_path, timeout=120
    )
    assert result.returncode == 0
    for name in ("Reference", "CPU"):
        context = make_context(system, mm.VerletIntegrator(0.001), x, name)
        again = np.load(tmp_path / f"{name}.npz")
        assert again["energy"] == pytest.approx(0.5 * energy_of(context), rel=1e-12)
        np.testing.assert_allclose(again["forces"], 0.5 * forces_of(context), rtol=0, atol=1e-9)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_grad_mode_of_the_caller_does_not_matter(protein, mode):
    context = context_of(protein, "python")
    expected = forces_of(context_of(protein, "python"))
    with mode():
        np.testing.assert_allclose(forces_of(context), expected, rtol=1e-12)


def test_forces_come_without_warnings(protein, backend, recwarn):
    torch.set_warn_always(True)
    try:
        forces_of(context_of(protein, backend))
    finally:
        torch.set_warn_always(False)
    assert [str(warning.message) for warning in recwarn] == []


def test_minimizer_of_openmm_lowers_the_energy(protein, backend, platform_name):
    context = context_of(protein, backend, platform_name)
    before, steep = energy_of(context), np.abs(forces_of(context)).max()
    mm.LocalEnergyMinimizer.minimize(context, 1.0, 100)
    assert energy_of(context) < before - 1
    assert np.abs(forces_of(context)).max() < 0.1 * steep


def test_torchforce_keeps_its_settings_in_xml(protein):
    need_torchforce()
    system = create_system(protein, "torchforce")
    system.getForce(0).setForceGroup(3)
    text = mm.XmlSerializer.serialize(system)
    again = mm.XmlSerializer.serialize(deserialize_system(text))
    # The archive names its parts anew; what it computes is compared above.
    archive = re.compile('encodedFileContents="[^"]*"')
    assert archive.sub("", again) == archive.sub("", text)


def test_xml_with_a_torchforce_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torchscript, "torchforce_problem", lambda: "it is broken")
    text = mm.XmlSerializer.serialize(mm.System())
    text = text.replace("<Forces/>", '<Forces><Force type="TorchForce"/></Forces>')
    with raises(mm.OpenMMException, "TorchForce", "it is broken"):
        deserialize_system(text)

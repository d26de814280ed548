"""XML, copies, pickles, states and checkpoints of `NemoLangevinIntegrator`: what is kept and that the run goes on."""

import copy
import math
import pickle
import subprocess
import sys

import numpy as np
import openmm as mm
import pytest
from openmm import app

from openmm_nemo import NemoLangevinIntegrator
from openmm_nemo.dynamics import Schedule
from openmm_nemo.engine.integrator import CompiledIntegrator, LangevinInterface
from tests.helpers import platform
from tests.unit.engine.toys import make_context, positions_of, random_walk, run, toy_system

pytestmark = pytest.mark.usefixtures("implementation")

N = 9
CHAINS = [[0, 2, 4, 6], [1, 3, 5]]
RANDOM = np.random.default_rng(4)
OPTIONS = {
    "temperature": 321.5,
    "cartesian_step": 2e-5 / 3,
    "internal_step": 4e-4 / 7,
    "cartesian_preconditioner": RANDOM.uniform(0, 2, size=N),
    "internal_preconditioner": RANDOM.uniform(0, 2, size=(N, 3)),
    "max_displacement": math.inf,
    "detrend": False,
    "measure_correction": True,
    "seed": 2**31 - 5,
    "chains": CHAINS,
    "schedule": Schedule(7, 2.0, 0.3, block=2),
}

COPIES = {
    "XML": lambda i: NemoLangevinIntegrator.from_xml(mm.XmlSerializer.serialize(i)),
    "XML of XML": lambda i: COPIES["XML"](COPIES["XML"](i)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda i: pickle.loads(pickle.dumps(i)),
}


def everything(i: NemoLangevinIntegrator) -> dict:
    names = [*vars(LangevinInterface), *vars(NemoLangevinIntegrator)]
    own = [name for name in names if name.startswith("get")]
    assert {
        "getTemperature",
        "getSchedule",
        "getChains",
        "getRandomNumberSeed",
        "getNumSteps",
    } <= set(own)
    return {name: getattr(i, name)() for name in own} | {"groups": i.getIntegrationForceGroups()}


def toy_context(integrator: mm.Integrator, name: str = "Reference") -> mm.Context:
    return make_context(toy_system(N, CHAINS, (0, 8)), integrator, random_walk(N), name)


@pytest.mark.parametrize("name", COPIES)
def test_copies_keep_everything_and_move_the_same(name):
    integrator = NemoLangevinIntegrator(**OPTIONS)
    integrator.setIntegrationForceGroups({0, 2})
    again = COPIES[name](integrator)
    assert type(again) is NemoLangevinIntegrator
    assert everything(again) == everything(integrator)
    np.testing.assert_array_equal(run(toy_context(again), 5), run(toy_context(integrator), 5))


@pytest.mark.parametrize("name", COPIES)
def test_copies_of_a_running_integrator_go_on_where_it_is(name):
    integrator = NemoLangevinIntegrator(**OPTIONS)
    context = toy_context(integrator)
    integrator.step(5)
    again = COPIES[name](integrator)
    assert everything(again) == everything(integrator)
    assert again.getNumSteps() == 5
    second = toy_context(again)
    second.setPositions(positions_of(context))
    np.testing.assert_array_equal(run(second, 3), run(context, 3))


@pytest.mark.parametrize("name", COPIES)
def test_copies_outlive_the_original_and_are_independent(name):
    integrator = NemoLangevinIntegrator(**OPTIONS)
    again = COPIES[name](integrator)
    again.setTemperature(77)
    again.setSchedule(None)
    assert integrator.getTemperature()._value == 321.5
    assert integrator.getSchedule() == OPTIONS["schedule"]
    del integrator
    toy_context(again)
    assert again.getTemperature()._value == 77


def test_xml_is_read_in_a_fresh_process_as_a_plain_integrator_or_a_nemo_one(
    implementation, tmp_path
):
    plain = "Integrator" if implementation is CompiledIntegrator else "CustomIntegrator"
    (tmp_path / "integrator.xml").write_text(
        mm.XmlSerializer.serialize(NemoLangevinIntegrator(**OPTIONS))
    )
    script = (
        "import openmm_nemo.engine.integrator, openmm\n"
        "xml = open('integrator.xml').read()\n"
        f"assert type(openmm.XmlSerializer.deserialize(xml)) is openmm.{plain}\n"
        f"kind = openmm_nemo.engine.integrator.{implementation.__name__}\n"
        "integrator = kind.from_xml(xml)\n"
        f"assert integrator.getChains() == {CHAINS}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def new_simulation(protein, backend: str, name: str, seed: int | None) -> app.Simulation:
    simulation = app.Simulation(
        protein.topology,
        protein.create_system(backend),
        protein.create_integrator(seed=seed),
        platform(name),
    )
    simulation.context.setPositions(protein.initial_positions())
    return simulation


@pytest.mark.parametrize("kind", ["Checkpoint", "State"])
def test_run_goes_on_from_a_file_bit_by_bit(protein, backend, platform_name, kind, tmp_path):
    path = str(tmp_path / "saved")
    whole = new_simulation(protein, backend, platform_name, seed=4)
    whole.step(20)

    first = new_simulation(protein, backend, platform_name, seed=4)
    first.context.setParameter("nemo_scale", 1.0)
    first.step(10)
    getattr(first, f"save{kind}")(path)
    # The counters come from the file, and the seed from a checkpoint.
    second = new_simulation(protein, backend, platform_name, None if kind == "Checkpoint" else 4)
    second.step(3)
    getattr(second, f"load{kind}")(path)
    assert second.currentStep == 10
    second.step(10)

    np.testing.assert_array_equal(positions_of(second.context), positions_of(whole.context))
    assert second.currentStep == second.integrator.getNumSteps() == 20
    assert everything(second.integrator) == everything(whole.integrator)
    assert second.context.getTime() == whole.context.getTime()


def test_model_in_float32_goes_on_bit_by_bit(protein32, backend, platform_name, tmp_path):
    path = str(tmp_path / "saved")
    whole = new_simulation(protein32, backend, platform_name, seed=4)
    whole.step(20)
    first = new_simulation(protein32, backend, platform_name, seed=4)
    first.step(10)
    first.saveCheckpoint(path)
    second = new_simulation(protein32, backend, platform_name, seed=4)
    second.loadCheckpoint(path)
    second.step(10)
    np.testing.assert_array_equal(positions_of(second.context), positions_of(whole.context))


@pytest.mark.parametrize("state", [False, True])
def test_checkpoint_reporter_writes_what_a_run_goes_on_from(protein, state, tmp_path):
    path = str(tmp_path / "saved")
    whole = new_simulation(protein, "python", "Reference", seed=4)
    whole.step(30)
    first = new_simulation(protein, "python", "Reference", seed=4)
    first.reporters.append(app.CheckpointReporter(path, 7, writeState=state))
    first.step(25)
    second = new_simulation(protein, "python", "Reference", seed=4 if state else None)
    (second.loadState if state else second.loadCheckpoint)(path)
    assert second.currentStep == 21
    second.step(9)
    np.testing.assert_array_equal(positions_of(second.context), positions_of(whole.context))


def test_going_back_to_a_checkpoint_repeats_the_steps(platform_name):
    integrator = NemoLangevinIntegrator(**OPTIONS)
    context = toy_context(integrator, platform_name)
    integrator.step(60)
    checkpoint = context.createCheckpoint()
    integrator.step(10)
    end = positions_of(context)
    context.loadCheckpoint(checkpoint)
    assert integrator.getNumSteps() == 60
    integrator.step(10)
    np.testing.assert_array_equal(positions_of(context), end)


def test_state_keeps_parameters_set_during_the_run():
    integrator = NemoLangevinIntegrator(**OPTIONS)
    context = toy_context(integrator)
    integrator.setTemperature(123)
    integrator.setMaxDisplacement(0.3)
    integrator.step(2)
    state = context.getState(positions=True, integratorParameters=True)
    state = mm.XmlSerializer.deserialize(mm.XmlSerializer.serialize(state))
    again = NemoLangevinIntegrator(**OPTIONS)
    toy_context(again).setState(state)
    assert everything(again) == everything(integrator)


@pytest.mark.parametrize("preserve", [False, True])
def test_reinitialized_context_goes_on(platform_name, preserve):
    integrator = NemoLangevinIntegrator(**OPTIONS)
    context = toy_context(integrator, platform_name)
    integrator.step(5)
    x = positions_of(context)
    context.reinitialize(preserveState=preserve)
    if not preserve:
        context.setPositions(x)
    integrator.step(5)
    expected = run(toy_context(NemoLangevinIntegrator(**OPTIONS), platform_name), 10)[-1]
    np.testing.assert_array_equal(positions_of(context), expected)
    assert integrator.getNumSteps() == 10


def test_reinitialized_context_sees_a_changed_system():
    system = toy_system(N, CHAINS, (0, 8))
    integrator = NemoLangevinIntegrator(300, 2e-5, 4e-4, chains=CHAINS, seed=5)
    context = make_context(system, integrator, random_walk(N))
    integrator.step(2)
    system.addParticle(0.0)
    system.addParticle(5.0)
    system.setParticleMass(8, 0.0)
    context.reinitialize()
    x0 = random_walk(N + 2)
    context.setPositions(x0)
    integrator.step(2)
    moved = np.abs(positions_of(context) - x0).max(1) > 0
    assert moved.tolist() == [True] * 8 + [False, False, True]

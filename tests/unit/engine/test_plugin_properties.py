"""The numbers of the compiled integrator by name: what Python, XML, states and checkpoints may read and set."""

import json
import re
from pathlib import Path

import openmm as mm
import pytest

from openmm_nemo.engine.integrator import CompiledIntegrator
from tests.unit.engine.test_compiled_integrator import FIXED, N, nemo_system
from tests.unit.engine.toys import make_context, random_walk

pytestmark = pytest.mark.usefixtures("plugin")

WRITTEN = Path(__file__).parent / "written"
"""Integrators, a state and a checkpoint that version 0.1.0 wrote after five steps, and what the getters said then."""

PARAMETERS = "temperature", "cartesian_step", "internal_step", "max_displacement", "seed"
SCHEDULE = "schedule_steps", "schedule_hottest", "schedule_coldest", "schedule_block"
SETTINGS = "detrend", "measure_correction", "metropolis"
COUNTERS = (
    "steps",
    "clipped_steps",
    "proposed_cartesian",
    "accepted_cartesian",
    "proposed_internal",
    "accepted_internal",
    "largest_displacement",
)


def integrator() -> CompiledIntegrator:
    chains = [[0, 1, 2], [4, 3]]
    cartesian, internal = [1.0, 2.0, 0.5, 1.0, 1.0], [[1.0, 2.0, 3.0]] * 5
    return CompiledIntegrator(300, 1e-5, 1e-4, cartesian, internal, chains=chains, seed=3)


# By name


def test_every_property_can_be_read():
    values = {
        name: integrator()._get(name) for name in (*PARAMETERS, *SCHEDULE, *SETTINGS, *COUNTERS)
    }
    assert values["temperature"] == 300
    assert values["seed"] == integrator()._get("noise_seed") == 3
    assert values["detrend"] == 1
    assert [values[name] for name in SCHEDULE] == [1, 1, 1, 10]
    assert {values[name] for name in COUNTERS} == {0}


@pytest.mark.parametrize("name", ["temprature", "", "Temperature", "version"])
def test_an_unknown_name_is_an_error(name):
    message = f"NemoLangevinIntegrator has no property '{name}'"
    with pytest.raises(mm.OpenMMException, match=message):
        integrator()._get(name)
    with pytest.raises(mm.OpenMMException, match=message):
        integrator()._set(name, 1.0)


@pytest.mark.parametrize("name", [*PARAMETERS, *SCHEDULE])
def test_parameters_can_be_set(name):
    changed = integrator()
    changed._set(name, 7.0)
    assert changed._get(name) == 7


@pytest.mark.parametrize("name", [*SETTINGS, *COUNTERS, "noise_seed"])
def test_what_is_fixed_or_counted_cannot_be_set(name):
    changed = integrator()
    with pytest.raises(mm.OpenMMException, match=f"{name} cannot be set"):
        changed._set(name, 0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("cartesian_step", -1e-9),
        ("internal_step", float("inf")),
        ("max_displacement", 0),
        ("max_displacement", float("nan")),
        ("schedule_steps", 0),
        ("schedule_hottest", 0),
        ("schedule_coldest", float("inf")),
        ("schedule_block", 0.5),
        ("seed", -1),
        ("seed", 2.0**31),
        ("seed", 1.5),
    ],
)
def test_a_value_out_of_range_is_refused_and_changes_nothing(name, value):
    changed = integrator()
    before = changed._get(name)
    with pytest.raises(mm.OpenMMException, match=rf"^{name} is .*: it must be "):
        changed._set(name, value)
    assert changed._get(name) == before


# XML

XML = {
    "Integrator": 'type="NemoLangevinIntegrator"',
    "Bead": 'particle="0"',
    "Particle": 'c="2"',
}


@pytest.mark.parametrize("element", XML)
def test_an_unknown_property_in_xml_is_an_error_that_names_it(element):
    xml = mm.XmlSerializer.serialize(integrator())
    assert xml.count(XML[element]) == 1
    xml = xml.replace(XML[element], f'{XML[element]} frobnicate="1"')
    name = "A NemoLan.*" if element == "Integrator" else f"The element {element} of a NemoLan.*"
    with pytest.raises(mm.OpenMMException, match=f"{name} the property 'frobnicate', which"):
        CompiledIntegrator.from_xml(xml)


@pytest.mark.parametrize("place", ["Integrator", "Chains", "Chain", "InternalPreconditioner"])
def test_an_unknown_element_in_xml_is_an_error_that_names_it(place):
    xml = mm.XmlSerializer.serialize(integrator())
    xml, count = re.subn(f"(<{place}(?: [^>]*)?>)", r"\1<Frobnicator/>", xml, count=1)
    assert count == 1
    with pytest.raises(mm.OpenMMException, match="has the element 'Frobnicator', which"):
        CompiledIntegrator.from_xml(xml)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('temperature="300"', 'temperature="-3"', "temperature is -3: it must be positive"),
        ('temperature="300"', 'temperature="warm"', "temperature='warm', which is not a number"),
        ('temperature="300"', "", "lacks the property 'temperature'"),
        ('randomSeed="3"', 'randomSeed="-1"', "randomSeed is -1: it must be from 0 to 2147483647"),
        ('steps="0"', 'steps="0.5"', "steps is 0.5: it must be not negative and a whole number"),
        ('detrend="1"', 'detrend="3"', "detrend is 3: it must be 0, 1 or 2"),
        ('metropolis="0"', 'metropolis="2"', "metropolis is 2: it must be 0 or 1"),
        ('stepSize="1"', 'stepSize="1ps"', "stepSize='1ps', which is not a number"),
        ('stepSize="1"', 'stepSize="1" scheduleSteps="9"', "lacks the property 'scheduleHottest'"),
        ('particle="2"', 'particle="2.5"', "particle='2.5', which is not a whole number"),
        ('particle="2"', 'particle="3e9"', "particle='3e9', which is not a whole number"),
        ('c="2"', 'c="-2"', "c='-2': it must be finite and not negative"),
        ('c="2"', 'c="nan"', "c='nan': it must be finite and not negative"),
    ],
)
def test_a_wrong_value_in_xml_is_an_error_that_names_it(old, new, message):
    xml = mm.XmlSerializer.serialize(integrator())
    assert len(re.findall(rf" {old}", xml)) == 1
    with pytest.raises(mm.OpenMMException, match=re.escape(message)):
        CompiledIntegrator.from_xml(xml.replace(f" {old}", f" {new}"))


def test_an_unknown_property_of_a_state_is_an_error_and_changes_nothing():
    first = integrator()
    system = mm.System()
    for _ in range(5):
        system.addParticle(1.0)
    context = make_context(system, first, random_walk(5))
    first.setTemperature(400)
    xml = mm.XmlSerializer.serialize(context.getState(integratorParameters=True))
    first.setTemperature(300)
    broken = xml.replace("clippedSteps", 'frobnicate="1" clippedSteps')
    with pytest.raises(mm.OpenMMException, match="property 'frobnicate'"):
        context.setState(mm.XmlSerializer.deserialize(broken))
    assert first.getTemperature()._value == 300
    context.setState(mm.XmlSerializer.deserialize(xml))
    assert first.getTemperature()._value == 400


# What was written before


def told(written: CompiledIntegrator) -> dict:
    """What the getters say, as JSON has it."""
    names = [name for name in dir(written) if name.startswith("get")]
    values = {name: getattr(written, name)() for name in names}
    plain = {name: getattr(value, "_value", value) for name, value in values.items()}
    assert plain.pop("getSchedule") is None  # version 0.1.0 had none, nor replicas
    assert plain.pop("getNumReplicas") == 1
    assert plain.pop("getTemperatures") == [plain["getTemperature"]]
    return json.loads(json.dumps(plain))


STEMS = "all", "one_chain_clipped", "not_detrended", "metropolis"


@pytest.mark.parametrize("stem", STEMS)
def test_xml_of_version_0_1_0_is_read(stem):
    xml = (WRITTEN / f"{stem}.xml").read_text()
    read = CompiledIntegrator.from_xml(xml)
    assert told(read) == json.loads((WRITTEN / f"{stem}.json").read_text())
    # Preconditioners have no getter. What was read is written as it was, number by number.
    assert mm.XmlSerializer.serialize(read) == xml


@pytest.mark.parametrize("kind", ["state", "checkpoint"])
def test_states_and_checkpoints_of_version_0_1_0_are_read(kind):
    expected = json.loads((WRITTEN / "metropolis.json").read_text())
    system = nemo_system()
    system.setParticleMass(FIXED, 5)
    read = CompiledIntegrator(
        400, 1e-6, 1e-6, chains=[[0, 2, 4, 6, 8], [7, 5, 3, 1]], metropolis=True
    )
    context = make_context(system, read, random_walk(N))
    if kind == "state":
        state = mm.XmlSerializer.deserialize((WRITTEN / "metropolis_state.xml").read_text())
        context.setState(state)
    else:
        context.loadCheckpoint((WRITTEN / "metropolis.checkpoint").read_bytes())
    values = told(read)
    # These are kept in XML alone; the seed also in checkpoints.
    if kind == "state":
        del expected["getRandomNumberSeed"], values["getRandomNumberSeed"]
    for name in ("getIntegrationForceGroups", "getStepSize", "getConstraintTolerance"):
        del expected[name], values[name]
    assert values == expected

"""What ``openmm-nemo doctor`` tells about installations that lack something."""

import openmm as mm
import pytest

from openmm_nemo import doctor
from openmm_nemo.engine.integrator import PythonIntegrator
from openmm_nemo.plugin import platform_names
from tests.helpers import command_line, names


@pytest.fixture(scope="module")
def lines():
    outcome = command_line("doctor")
    assert outcome.code == 0
    return outcome.out.splitlines()


def line_of(subject, lines):
    (line,) = [line for line in lines if line[2:].startswith(subject + " ")]
    return line


def findings():
    return {finding.subject: finding for finding in doctor.examine()}


def test_every_platform_takes_a_step(lines):
    for name in platform_names():
        assert line_of(f"platform {name}", lines).startswith("+")
        assert "compiled" in line_of(f"platform {name}", lines)


def test_versions_are_those_of_the_packages(lines):
    assert line_of("openmm", lines).split()[-1] == mm.version.short_version


def test_libraries_of_platforms_that_openmm_lacks_are_not_needed(lines):
    assert line_of("libOpenMMNemo.so", lines) == f"+ {'libOpenMMNemo.so':24} loaded"
    for name in {"OpenCL", "CUDA", "HIP"} - set(platform_names()):
        assert "not needed" in line_of(f"libOpenMMNemo{name}.so", lines)


def test_missing_plugin_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setattr(doctor, "plugin_problem", lambda: "it was not built: install g++")
    monkeypatch.setattr(doctor, "PROBLEMS", {"libOpenMMNemo.so": "it was not built: install g++"})
    monkeypatch.setattr(doctor, "NemoLangevinIntegrator", PythonIntegrator)
    found = findings()
    assert found["integrator"].good is False
    names(found["integrator"].text, "driven from Python")
    names(found["libOpenMMNemo.so"].text, "install g++")
    assert found["platform Reference"].text == "works with the Python integrator"


def test_platform_that_fails_is_told_with_its_error(monkeypatch):
    def fail(*arguments):
        raise mm.OpenMMException("No compatible\ndevice")

    monkeypatch.setattr(doctor.mm, "Context", fail)
    finding = findings()["platform Reference"]
    assert finding.good is False
    names(finding.text, "No compatible device")


@pytest.mark.parametrize(
    ("reason", "good", "remedy"),
    [
        ("libcuda.so.1: cannot open shared object file", None, "no NVIDIA driver"),
        ("libOpenCL.so.1: cannot open shared object file", None, "pocl-opencl-icd"),
        ("undefined symbol: x", False, "undefined symbol"),
    ],
)
def test_library_that_openmm_could_not_load_is_explained(monkeypatch, reason, good, remedy):
    message = f"Error loading library /somewhere/libOpenMMX.so: {reason}"
    monkeypatch.setattr(doctor.mm.Platform, "getPluginLoadFailures", lambda: (message,))
    finding = findings()["libOpenMMX.so"]
    assert finding.good is good
    assert remedy in finding.text


def test_torchforce_that_does_not_work_leaves_pythonforce(monkeypatch):
    monkeypatch.setattr(doctor, "torchforce_problem", lambda: "openmmtorch cannot be imported")
    assert findings()["TorchForce"].text == (
        "openmmtorch cannot be imported; energies run through PythonForce"
    )

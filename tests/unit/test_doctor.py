"""What ``openmm-nemo doctor`` tells about installations that lack something."""

import getpass
import re
import socket
import sys
from pathlib import Path

import openmm as mm
import pytest

from openmm_nemo import doctor
from openmm_nemo.engine.integrator import PythonIntegrator
from openmm_nemo.models import ConditionedModel
from openmm_nemo.plugin import platform_names
from tests.helpers import command_line, names

HOST = "wandas-laptop"


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


def test_boltzmann_generators_need_an_extra(lines, monkeypatch):
    assert line_of("Boltzmann generators", lines).startswith("+")
    monkeypatch.setitem(sys.modules, "zuko", None)
    finding = findings()["Boltzmann generators"]
    assert finding.good is None
    names(finding.text, "openmm-nemo[flow]")


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


@pytest.fixture
def wanda(monkeypatch, tmp_path):
    """A user whose name, home and machine are known; returns the home."""
    home = tmp_path / "Wanda Doe"
    for name in ("USER", "LOGNAME"):
        monkeypatch.setenv(name, "wdoe")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(socket, "gethostname", lambda: f"{HOST}.example.org")
    return home


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("{home}/env/lib/libX.so: undefined symbol: f", ".../libX.so: undefined symbol: f"),
        ("it is in {home}", "it is in ..."),
        ("see '/data/of Wanda Doe/my project/x.py', line 3", "see '.../x.py', line 3"),
        ("see ~wdoe/project/x.py and ../up/x.py", "see .../x.py"),
        ("(file:///scratch/wdoe/models)", "(file:...)"),
        ("WDOE@wandas-laptop.example.org", "USER@HOST"),
        ("wdoe on wandas-laptop", "USER on HOST"),
        ("cannot open libcuda.so.1: 2 and/or 3 of 4", "cannot open libcuda.so.1: 2 and/or 3 of 4"),
    ],
)
def test_reports_name_files_and_neither_folders_nor_the_user_nor_the_machine(wanda, text, kept):
    finding = doctor.Finding(False, "part", text.format(home=wanda))
    line = doctor.report([finding]).splitlines()[1]
    assert line == f"- {'part':24} {kept}"


def test_a_user_without_a_name_has_a_report(monkeypatch):
    def fail():
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", fail)
    monkeypatch.setattr(Path, "home", fail)
    assert "part" in doctor.report([doctor.Finding(True, "part", "good")])


def test_a_whole_report_is_a_block_of_markdown_without_names(wanda, monkeypatch):
    monkeypatch.setattr(
        doctor, "PROBLEMS", {"libOpenMMNemo.so": f"cannot be loaded ({wanda}/lib/libOpenMMNemo.so)"}
    )
    failure = f"Error loading library {wanda}/lib/libOpenMMX.so: {wanda}/lib/libY.so: not found"
    monkeypatch.setattr(doctor.mm.Platform, "getPluginLoadFailures", lambda: (failure,))
    monkeypatch.setattr(doctor, "torchforce_problem", lambda: f"{wanda}/torch.py fails on {HOST}")
    outcome = command_line("doctor", "--report")
    assert outcome.code == 0
    first, *lines, last = outcome.out.splitlines()
    assert (first, last) == ("```", "```")
    for text in (str(wanda), "Wanda", "wdoe", HOST, str(Path.cwd()), "/tmp"):
        assert text.lower() not in outcome.out.lower()
    assert not re.search(r"(?<!\w|\.)/\w", outcome.out)
    for subject in (
        "openmm-nemo",
        "openmm",
        "numpy",
        "machine",
        "platform CPU",
        "self-test native",
    ):
        line_of(subject, lines)
    names(line_of("libOpenMMNemo.so", lines), "libOpenMMNemo.so")
    names(line_of("libOpenMMX.so", lines), "libY.so")


def test_the_self_test_has_every_backend_and_is_good(lines):
    for backend in ("native", "python"):
        assert line_of(f"self-test {backend}", lines).startswith("+")


def test_a_self_test_with_other_numbers_is_bad(monkeypatch):
    rollout = ConditionedModel.rollout
    monkeypatch.setattr(
        ConditionedModel,
        "rollout",
        lambda self, steps, *, seed, anneal: rollout(self, steps, seed=seed + 1, anneal=anneal),
    )
    monkeypatch.setattr(doctor, "SELF_TESTS", {"python": "nemo-tiny"})
    (finding,) = doctor.self_test()
    assert finding.good is False
    names(finding.text, "nemo-tiny", "differ")


def test_a_self_test_that_fails_says_why(monkeypatch):
    monkeypatch.setattr(doctor, "SELF_TESTS", {"python": "nemo-lost"})
    (finding,) = doctor.self_test()
    assert finding.good is False
    names(finding.text, "nemo-lost")

"""What works in this installation, what does not, and what to do about it."""

import getpass
import os
import platform
import re
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openmm as mm
import torch

from openmm_nemo.engine import NemoLangevinIntegrator, torchforce_problem
from openmm_nemo.engine.integrator import CompiledIntegrator
from openmm_nemo.engine.torchscript import torchforce_platform_problems
from openmm_nemo.engine.units import ANGSTROM_PER_NM
from openmm_nemo.errors import InputError
from openmm_nemo.models import NemoModel, list_models
from openmm_nemo.optional import load_zuko
from openmm_nemo.plugin import (
    LIBRARIES,
    PROBLEMS,
    built_for,
    platform_names,
    plugin_problem,
)
from openmm_nemo.version import __version__

PACKAGES = (
    "openmm",
    "OpenMM-CUDA-12",
    "OpenMM-HIP-6",
    "torch",
    "openmmtorch",
    "openmmml",
    "numpy",
    "mdtraj",
    "parmed",
    "lightning",
    "pymbar",
    "deeptime",
    "zuko",
)

REMEDIES = {
    "libcuda.so": "no NVIDIA driver was found: without an NVIDIA GPU this is expected",
    "libamdhip64": "no ROCm was found: without an AMD GPU this is expected",
    "libOpenCL.so": "no OpenCL was found: install the driver of your GPU, or pocl-opencl-icd for the processor",
    "libOpenMMCUDA.so": "it needs OpenMM's CUDA library, see its own line",
    "libOpenMMHIP.so": "it needs OpenMM's HIP library, see its own line",
    "libOpenMMOpenCL.so": "it needs OpenMM's OpenCL library, see its own line",
}
"""What to do about a library that OpenMM could not load, by the name in OpenMM's message."""


MARKS = {True: "+", False: "-", None: " "}


class Finding(NamedTuple):
    """One line of the report.

    Attributes
    ----------
    good : bool, optional
        None: neither good nor bad.
    subject, text : str
    """

    good: bool | None
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{MARKS[self.good]} {self.subject:24} {self.text}"


def examine() -> Iterator[Finding]:
    """Check the installation, part by part."""
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding(None, "machine", f"{machine}, {' '.join(platform.libc_ver())}".rstrip(", "))
    yield Finding(None, "openmm-nemo", __version__)
    for package in PACKAGES:
        yield Finding(None, package, _version(package))
    yield _integrator()
    for library, needed_by in LIBRARIES.items():
        yield _library(library, needed_by)
    for name in platform_names():
        yield _platform(name)
    for message in mm.Platform.getPluginLoadFailures():
        yield _load_failure(message)
    problem = torchforce_problem()
    if problem is None:
        yield Finding(True, "TorchForce", "works on Reference and CPU")
        for name, trouble in torchforce_platform_problems().items():
            yield Finding(False, f"TorchForce on {name}", trouble)
    else:
        yield Finding(None, "TorchForce", f"{problem}; energies run through PythonForce")
    gpu = torch.cuda.is_available()
    threads = f"{torch.get_num_threads()} threads"
    yield Finding(True, "torch device", torch.cuda.get_device_name() if gpu else f"CPU, {threads}")
    yield Finding(True, "models", ", ".join(list_models()))
    yield _boltzmann_generators()


def _boltzmann_generators() -> Finding:
    try:
        load_zuko()
    except InputError as problem:
        return Finding(None, "Boltzmann generators", str(problem))
    return Finding(True, "Boltzmann generators", "work: zuko is installed")


SELF_TESTS = {"native": "nemo-fold", "python": "nemo-tiny", "torchforce": "nemo-tiny"}
"""Installed model with which each backend of the energy is tested."""
SELF_TEST_STEPS = 5
SELF_TEST_ERROR = 1e-3
"""Angstrom; the steps move residues by several, and rounding to single precision by less than 1e-4."""


def self_test() -> Iterator[Finding]:
    """Simulate a peptide with every backend that works here, which must repeat the simulation in PyTorch."""
    for backend, model in SELF_TESTS.items():
        if (backend == "native" and plugin_problem()) or (
            backend == "torchforce" and torchforce_problem()
        ):
            continue
        subject = f"self-test {backend}"
        try:
            error = _deviation(model, backend)
        except Exception as failure:
            yield Finding(False, subject, f"fails: {' '.join(str(failure).split())}")
            continue
        good = error < SELF_TEST_ERROR  # not if it is not a number
        text = f"{SELF_TEST_STEPS} steps of {model} are those in PyTorch, to {error:.1g} Angstrom"
        if not good:
            text = f"{SELF_TEST_STEPS} steps of {model} differ from those in PyTorch by {error:.1g} Angstrom"
        yield Finding(good, subject, text)


def _deviation(model: str, backend: str) -> float:
    """Largest difference of a coordinate after the steps in OpenMM and in PyTorch, Angstrom."""
    protein = NemoModel.from_pretrained(model).condition("NLYIQWLKDGGPSSGRPPPS")
    integrator = protein.create_integrator(300, seed=1)
    reference = mm.Platform.getPlatformByName("Reference")
    context = mm.Context(protein.create_system(backend), integrator, reference)
    context.setPositions(protein.initial_positions(seed=1))
    integrator.step(SELF_TEST_STEPS)
    x = context.getState(positions=True).getPositions(asNumpy=True)
    expected = protein.rollout(SELF_TEST_STEPS, seed=1, anneal=False).x[-1, 0].numpy()
    return float(np.abs(ANGSTROM_PER_NM * x.value_in_unit(mm.unit.nanometer) - expected).max())


def report(findings: Iterable[Finding]) -> str:
    """Findings as Markdown for an issue: without paths, and without the names of the user and the machine."""
    lines = [_without_names(str(finding)).rstrip() for finding in findings]
    return "\n".join(["```", *lines, "```"])


def _without_names(text: str) -> str:
    for folder in _folders():
        text = text.replace(folder, "...")
    text = _PATH.sub(_file_of, text)
    for name, word in _names().items():
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", word, text, flags=re.IGNORECASE)
    return text


_PATH = re.compile(r"(?<![\w.])(?:[.~][\w.-]*)?/(?:[^\n:;,'\"()/]*/)*([^\s:;,'\"()/]*)")
"""A path, with spaces in the names of its folders, but not in that of its file."""


def _file_of(path: re.Match[str]) -> str:
    """What is left of a path: the name of a file, which says which library it is."""
    return f".../{path[1]}" if "." in path[1] else "..."


def _folders() -> list[str]:
    """Folders that may have spaces in their names, the longest first."""
    folders = {Path.cwd(), Path(sys.prefix), Path(__file__).parents[1], *_home()}
    folders |= {folder.resolve() for folder in folders}
    return sorted((str(f) for f in folders if f.parent != f), key=len, reverse=True)


def _names() -> dict[str, str]:
    """Names of the user and the machine, the longest first, and what to write instead."""
    users = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER", "USERNAME")}
    users |= {folder.name for folder in _home()}
    with suppress(KeyError, OSError):  # the user has no name
        users.add(getpass.getuser())
    hosts = {platform.node(), socket.gethostname(), os.environ.get("HOSTNAME", "")}
    hosts |= {host.partition(".")[0] for host in hosts}
    words = dict.fromkeys(hosts, "HOST") | dict.fromkeys(users, "USER")
    return {name: words[name] for name in sorted(words, key=len, reverse=True) if name}


def _home() -> list[Path]:
    """The home of the user, if there is one."""
    try:
        return [Path.home()]
    except (KeyError, RuntimeError):
        return []


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _integrator() -> Finding:
    problem = plugin_problem()
    if problem is None:
        return Finding(True, "integrator", f"compiled for OpenMM {built_for()}")
    return Finding(False, "integrator", f"driven from Python, many times slower, because {problem}")


def _library(library: str, needed_by: str | None) -> Finding:
    """Whether a library of the plugin was loaded."""
    if library in PROBLEMS:
        return Finding(False, library, f"not loaded: {PROBLEMS[library]}")
    if needed_by is not None and needed_by not in platform_names():
        return Finding(None, library, f"not needed: OpenMM has no platform {needed_by} here")
    return Finding(True, library, "loaded")


def _platform(name: str) -> Finding:
    """Try one step of a chain on a platform."""
    system, integrator = mm.System(), NemoLangevinIntegrator(300, 1e-5, 1e-4, seed=1)
    bonds = mm.HarmonicBondForce()
    for i in range(4):
        system.addParticle(110.0)
        if i > 0:
            bonds.addBond(i - 1, i, 0.38, 2000.0)
    system.addForce(bonds)
    try:
        context = mm.Context(system, integrator, mm.Platform.getPlatformByName(name))
        context.setPositions(0.38 * np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]]))
        integrator.step(1)
    except Exception as error:
        reason = " ".join(str(error).split())
        return Finding(
            False, f"platform {name}", f"does not work ({reason}): choose another --platform"
        )
    kind = "compiled" if isinstance(integrator, CompiledIntegrator) else "Python"
    return Finding(True, f"platform {name}", f"works with the {kind} integrator")


def _load_failure(message: str) -> Finding:
    """Failure that OpenMM reports as 'Error loading library PATH: reason'."""
    library, _, reason = message.removeprefix("Error loading library ").partition(": ")
    remedy = next((text for name, text in REMEDIES.items() if name in reason), None)
    text = f"{reason}: {remedy}" if remedy else reason
    return Finding(None if remedy else False, Path(library).name, f"not loaded, {text}")

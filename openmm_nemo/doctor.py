"""What works in this installation, what does not, and what to do about it."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import openmm as mm
import torch

from openmm_nemo.engine import NemoLangevinIntegrator, torchforce_problem
from openmm_nemo.engine.integrator import CompiledIntegrator
from openmm_nemo.engine.torchscript import torchforce_platform_problems
from openmm_nemo.models import list_models
from openmm_nemo.plugin import LIBRARIES, PROBLEMS, platform_names, plugin_problem

PACKAGES = ("openmm", "torch", "openmmtorch", "mdtraj", "parmed", "pymbar", "deeptime")

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
    yield Finding(None, "machine", machine)
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


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _integrator() -> Finding:
    problem = plugin_problem()
    if problem is None:
        return Finding(True, "integrator", "compiled")
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

"""A library of the plugin that does not fit is refused before it touches memory whose layout it does not know."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openmm_nemo.plugin import CORE, FOLDER, platform_names
from tests.helpers import names
from tests.unit.engine.builds import RELEASE, SOURCES, change, compile_gpu_library, compile_library

pytestmark = pytest.mark.usefixtures("plugin")

PROGRAM = """
import sys
import openmm as mm
from openmm_nemo.engine.integrator import CompiledIntegrator

library, platform = sys.argv[1:]
mm.Platform.loadPluginLibrary(library)  # takes the place of the one that fits
system = mm.System()
for _ in range(4):
    system.addParticle(1.0)
integrator = CompiledIntegrator(300, 1e-5, 1e-4)
try:
    mm.Context(system, integrator, mm.Platform.getPlatformByName(platform))
except mm.OpenMMException as error:
    print("refused:", error)
"""


def refusal(library: Path, platform: str) -> str:
    """What a context on a platform says after a library was loaded."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(library), platform], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("refused: ")[2].strip()


def need_opencl() -> None:
    if "OpenCL" not in platform_names():
        pytest.skip("OpenMM has no platform OpenCL")


def opencl_library(sources: Path, folder: Path, built_for: str = RELEASE) -> Path:
    (folder / CORE).symlink_to(FOLDER / CORE)
    compile_gpu_library("OpenCL", sources, folder, "-O0", built_for=built_for)
    return folder / "libOpenMMNemoOpenCL.so"


WRONG_RELEASE = "openmm_nemo was built for OpenMM 8.5.0, but this is OpenMM 8.6"


def test_kernels_built_for_another_release_of_openmm_are_refused_on_the_host(tmp_path):
    names = ("ReferenceNemoKernel", "ChainMath", "VectorMath", "HostBasisKernels")
    files = [SOURCES / f"{name}.cpp" for name in (*names, "BasisGeometry", "BasisPairs")]
    library = tmp_path / "libOld.so"
    compile_library(files, library, "-O0", built_for="8.5.0")
    assert refusal(library, "Reference").startswith(WRONG_RELEASE)


def test_kernels_built_for_another_release_of_openmm_are_refused_on_gpu_platforms(tmp_path):
    need_opencl()
    library = opencl_library(SOURCES, tmp_path, built_for="8.5.0")
    assert refusal(library, "OpenCL").startswith(WRONG_RELEASE)


def test_kernels_of_another_platform_are_refused(tmp_path):
    need_opencl()
    sources = shutil.copytree(SOURCES, tmp_path / "csrc")
    registered = "dynamic_cast<PlatformClass*>(&platform) != nullptr"
    change(sources / "NemoKernelFactory.h", registered, 'platform.getName() == "CPU"')
    library = opencl_library(sources, tmp_path)
    message = "The platform CPU was given the NemoLangevinIntegrator of another platform."
    assert refusal(library, "CPU") == message


def test_the_same_library_is_taken_where_it_fits(tmp_path):
    """The refusals above are not for how the libraries are built."""
    need_opencl()
    assert refusal(opencl_library(SOURCES, tmp_path), "OpenCL") == ""


ANOTHER_OPENMM = """
import openmm.version
openmm.version.short_version = "8.7.0"

import openmm as mm
from openmm_nemo import NemoLangevinIntegrator, NemoModel
from openmm_nemo.plugin import PROBLEMS, plugin_problem

protein = NemoModel.from_pretrained("nemo-tiny").condition("GSAVLKEF")
integrator = protein.create_integrator(300, seed=1)
reference = mm.Platform.getPlatformByName("Reference")
context = mm.Context(protein.create_system(), integrator, reference)
context.setPositions(protein.initial_positions(seed=1))
integrator.step(2)
positions = context.getState(positions=True).getPositions(asNumpy=True)._value * 10
expected = protein.rollout(2, seed=1, anneal=False).x[-1, 0].numpy()
print(type(integrator).__name__, abs(positions - expected).max() < 1e-3)
print(plugin_problem())
print(*PROBLEMS)
"""


def test_with_another_release_of_openmm_the_package_works_without_the_plugin_and_says_why():
    done = subprocess.run([sys.executable, "-c", ANOTHER_OPENMM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    integrator, problem, libraries = done.stdout.splitlines()[-3:]
    assert integrator == "PythonIntegrator True"
    names(problem, f"OpenMM {RELEASE}", "8.7.0", f"openmm=={RELEASE}", "pip install")
    assert CORE in libraries.split()

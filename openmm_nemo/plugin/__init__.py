"""The compiled integrator and force: C++ sources in ``csrc/``, and loading of the compiled libraries into OpenMM.

``lib/`` holds libOpenMMNemo.so, with both and their kernels for the Reference and CPU platforms, and one
library each with the kernels for OpenCL, CUDA and HIP.
"""

import ctypes
from functools import cache
from pathlib import Path

import openmm as mm

FOLDER = Path(__file__).parent / "lib"
CORE = "libOpenMMNemo.so"
LIBRARIES: dict[str, str | None] = {
    CORE: None,
    "libOpenMMNemoOpenCL.so": "OpenCL",
    "libOpenMMNemoCUDA.so": "CUDA",
    "libOpenMMNemoHIP.so": "HIP",
}
"""Libraries, and the platform that needs each; None: all."""


def _load(library: str) -> str | None:
    """Reason why a library could not be loaded, or None."""
    path = FOLDER / library
    if not path.exists():
        return "it was not built when openmm_nemo was installed: install a C++ compiler (g++), then openmm_nemo again"
    try:
        release = built_for()
        if release != mm.version.short_version:
            return (
                f"it was built for OpenMM {release}, not {mm.version.short_version}: install openmm=={release}, or "
                "build it again with pip install --force-reinstall --no-deps --no-build-isolation --no-cache-dir "
                "--no-binary openmm-nemo openmm-nemo"
            )
        mm.Platform.loadPluginLibrary(str(path))
    except Exception as error:
        return f"it cannot be loaded ({error}): install openmm_nemo again"
    return None


@cache
def core_functions() -> ctypes.CDLL:
    """Functions of the library of the integrator and the force, with their types."""
    core = ctypes.CDLL(str(FOLDER / CORE))
    core.openmm_nemo_built_for.restype = ctypes.c_char_p
    core.openmm_nemo_owns.argtypes = [ctypes.c_void_p]
    core.openmm_nemo_default_xml.restype = ctypes.c_char_p
    number = ctypes.POINTER(ctypes.c_double)
    core.openmm_nemo_get.argtypes = [ctypes.c_void_p, ctypes.c_char_p, number]
    core.openmm_nemo_get.restype = ctypes.c_char_p
    core.openmm_nemo_set.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_double]
    core.openmm_nemo_set.restype = ctypes.c_char_p
    core.openmm_nemo_chains.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)]
    core.openmm_nemo_set_coefficients.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_float),
        ctypes.c_longlong,
    ]
    core.openmm_nemo_set_coefficients.restype = None
    for function in (core.openmm_nemo_temperatures, core.openmm_nemo_set_temperatures):
        function.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_double)]
    core.openmm_nemo_set_temperatures.restype = None
    return core


def built_for() -> str:
    """Release of OpenMM that the library was built for."""
    release: bytes = core_functions().openmm_nemo_built_for()
    return release.decode()


def platform_names() -> list[str]:
    """Names of the platforms that OpenMM has."""
    return [mm.Platform.getPlatform(i).getName() for i in range(mm.Platform.getNumPlatforms())]


PROBLEMS: dict[str, str] = {}
"""Reasons why required libraries could not be loaded."""

for _library, _platform in LIBRARIES.items():
    _needed = _platform is None or _platform in platform_names()
    if _needed and (_problem := _load(_library)) is not None:
        PROBLEMS[_library] = _problem


def plugin_problem() -> str | None:
    """Reason why the compiled integrator and force are not in use, or None."""
    return PROBLEMS.get(CORE)

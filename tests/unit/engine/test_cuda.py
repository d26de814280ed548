"""The CUDA plugin without a GPU: it links to OpenMM's CUDA library, and NVIDIA's compiler takes its kernels."""

import ctypes
import itertools
import os
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from openmm_nemo.plugin import CORE, FOLDER
from tests.unit.engine.builds import OPENMM, SOURCES, compile_gpu_library

OPENMM_CUDA = OPENMM / "plugins" / "libOpenMMCUDA.so"

REAL_AND_MIXED = {
    "single": ("float", "float"),
    "mixed": ("float", "double"),
    "double": ("double", "double"),
}

KERNEL_CPP = (SOURCES / "CommonNemoKernel.cpp").read_text()

# What CommonNemoKernel.cpp defines always, and how a step can differ.
DEFINES = {
    "GROUP_SIZE": 128,
    "SUMMARY_SIZE": 18,
    "NUM_CHAINS": 2,
    "NUM_SEGMENTS": 3,
    "NUM_BEADS": 50,
    "NUM_MOVING": 60,
    "PADDED_NUM_ATOMS": 64,
    "CARTESIAN_STREAM": 0,
    "INTERNAL_STREAM": 1,
}
CONSTANTS = ["PI", "ANGSTROM_PER_NM", "SHORTEST", "SMALLEST_ROTATION", "RIDGE", "RIDGE_FLOOR"]
CONSTANTS += ["LARGEST_FORCE"]
VALUES = dict(re.findall(r"const double (\w+) = (\S+);", (SOURCES / "Constants.h").read_text()))
DETREND = ["", "DETREND_CHAINS", "DETREND_SYSTEM"]
CORRECTION = ["", "MEASURE_CORRECTION"]


def need(there: bool, what: str) -> None:
    if not there and os.environ.get("OPENMM_NEMO_REQUIRE_PLUGIN") == "1":
        pytest.fail(f"OPENMM_NEMO_REQUIRE_PLUGIN is 1, but {what} is not here")
    if not there:
        pytest.skip(f"{what} is not here")


def need_openmm_cuda() -> None:
    need(OPENMM_CUDA.exists(), "the CUDA library of OpenMM (pip install OpenMM-CUDA-12)")


def test_the_library_links_to_that_of_openmm(tmp_path):
    need_openmm_cuda()
    core = FOLDER / CORE
    need(core.exists(), CORE)
    # OpenMM's own library needs those of CUDA and the driver, which are not linked here.
    (tmp_path / CORE).symlink_to(core)
    options = ["-Wl,--no-undefined", "-Wl,--allow-shlib-undefined"]
    compile_gpu_library("CUDA", SOURCES, tmp_path, *options)
    assert (tmp_path / "libOpenMMNemoCUDA.so").exists()


def common_definitions() -> str:
    """OpenMM's common.cu, which comes before every kernel; a string in its library."""
    library = OPENMM_CUDA.read_bytes()
    inside = library.index(b"#define KERNEL extern")
    start, end = library.rindex(b"\0", 0, inside) + 1, library.index(b"\0", inside)
    return library[start:end].decode()


def kernel_source() -> str:
    """The string that CommonNemoKernel.cpp puts together."""
    files = re.findall(r'#include "(kernels/\w+\.cc)"', KERNEL_CPP)
    sources = [(SOURCES / name).read_text() for name in files]
    return "".join(re.fullmatch(r'R"KERNEL\((.*)\)KERNEL"\n', s, re.DOTALL)[1] for s in sources)


def program(precision: str, *flags: str) -> str:
    """What CudaContext::createModule gives to the compiler."""
    real, mixed = REAL_AND_MIXED[precision]
    lines = ["#define USE_MIXED_PRECISION 1"] if precision == "mixed" else []
    lines += ["#define USE_DOUBLE_PRECISION 1"] if precision == "double" else []
    for name, kind in (("real", real), ("mixed", mixed)):
        lines += [f"typedef {kind} {name};", f"typedef {kind}4 {name}4;"]
        lines += [f"#define make_{name}4 make_{kind}4"]
    lines.append(common_definitions())
    lines += [f"#define {name} {value}" for name, value in DEFINES.items()]
    lines.append(f"#define KEEP_SHAPE {int('MEASURE_CORRECTION' in flags)}")
    for name in CONSTANTS:
        value = float(VALUES[name])
        if precision == "single":
            value = float(VALUES.get(f"{name}_SINGLE", value))
        lines.append(f"#define {name} {value!r}{'f' * (precision == 'single')}")
    lines += [f"#define {flag} 1" for flag in flags if flag]
    return "\n".join([*lines, kernel_source()])


def nvrtc() -> ctypes.CDLL:
    """NVIDIA's run-time compiler, which torch brings."""
    package = find_spec("nvidia.cuda_nvrtc") if find_spec("nvidia") else None
    folders = package.submodule_search_locations if package else []
    libraries = [path for folder in folders for path in Path(folder).glob("lib/libnvrtc.so.*")]
    need(bool(libraries), "NVRTC (it comes with torch for CUDA)")
    return ctypes.CDLL(str(libraries[0]))


def errors_of(source: str) -> str:
    """What the compiler says if it does not compile the program for a GPU, or nothing."""
    compiler, handle, size = nvrtc(), ctypes.c_void_p(), ctypes.c_size_t()
    assert not compiler.nvrtcCreateProgram(
        ctypes.byref(handle), source.encode(), b"nemo.cu", 0, None, None
    )
    options = (ctypes.c_char_p * 2)(b"--gpu-architecture=compute_70", b"--use_fast_math")
    failed = compiler.nvrtcCompileProgram(handle, 2, options)
    compiler.nvrtcGetProgramLogSize(handle, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    compiler.nvrtcGetProgramLog(handle, log)
    compiler.nvrtcDestroyProgram(ctypes.byref(handle))
    return (log.value.decode() or "it failed") if failed else ""


@pytest.mark.parametrize(("detrend", "correction"), [*itertools.product(DETREND, CORRECTION)])
@pytest.mark.parametrize("precision", REAL_AND_MIXED)
def test_kernels_compile(precision, detrend, correction):
    need_openmm_cuda()
    assert errors_of(program(precision, detrend, correction)) == ""


def test_a_kernel_with_an_error_does_not_compile():
    need_openmm_cuda()
    assert "NUM_BEADS" in errors_of(program("mixed").replace("#define NUM_BEADS 50", ""))


def test_all_definitions_of_the_kernels_are_compiled_here():
    used = set(re.findall(r'defines\["(\w+)"\]', KERNEL_CPP))
    assert used == {*DEFINES, *CONSTANTS, *DETREND[1:], *CORRECTION[1:], "KEEP_SHAPE"}

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
    "CHAINS_PER_REPLICA": 1,
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

# What CommonBasisKernel.cpp defines always, and the terms that an energy can have.
BASIS_CPP = (SOURCES / "CommonBasisKernel.cpp").read_text()
BASIS_COUNTS = {
    "GROUP_SIZE": 64,
    "PADDED_NUM_ATOMS": 64,
    "NUM_RESIDUES": 50,
    "NUM_RADIAL": 24,
    "NUM_SHELLS": 6,
    "NUM_PAIR_FUNCTIONS": 42,
    "NUM_ANGLES": 6,
    "NUM_CHAIN_FUNCTIONS": 24,
    "MIN_SEPARATION": 3,
    "NUM_DERIVATIVES": 1,
    "DERIVATIVE": 0,
}
BASIS_NUMBERS = ["ANGSTROM_PER_NM", "SHORTEST", "KT", "NEAREST", "RADIAL_WIDTH", "STRAIGHT"]
BASIS_NUMBERS += ["CUTOFF", "ANGLE_WIDTH", "SMOOTHING", "BOND_LENGTH", "BOND_WIDTH"]
BASIS_NUMBERS += ["BOND_STRENGTH", "CORE_DIAMETER", "CORE_STIFFNESS"]
BASIS_LISTS = ["SHELL_CENTRES", "SHELL_WIDTHS", "ANGLE_CENTRES"]
BASIS_TERMS = ["HAS_PAIRS", "HAS_CHAIN", "HAS_BACKBONE"]


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


def kernel_source(cpp: str) -> str:
    """The string that CommonNemoKernel.cpp or CommonBasisKernel.cpp puts together."""
    files = re.findall(r'#include "(kernels/\w+\.cc)"', cpp)
    sources = [(SOURCES / name).read_text() for name in files]
    return "".join(re.fullmatch(r'R"KERNEL\((.*)\)KERNEL"\n', s, re.DOTALL)[1] for s in sources)


def beginning(precision: str) -> list[str]:
    """What CudaContext::createModule puts before definitions and kernels."""
    real, mixed = REAL_AND_MIXED[precision]
    lines = ["#define USE_MIXED_PRECISION 1"] if precision == "mixed" else []
    lines += ["#define USE_DOUBLE_PRECISION 1"] if precision == "double" else []
    for name, kind in (("real", real), ("mixed", mixed)):
        lines += [f"typedef {kind} {name};", f"typedef {kind}4 {name}4;"]
        lines += [f"#define make_{name}4 make_{kind}4"]
    suffix = "f" * (real == "float")
    lines += [f"#define EXP exp{suffix}", f"#define SQRT sqrt{suffix}", common_definitions()]
    return lines


def program(precision: str, *flags: str) -> str:
    """What CudaContext::createModule gives to the compiler for the integrator."""
    lines = beginning(precision)
    lines += [f"#define {name} {value}" for name, value in DEFINES.items()]
    lines.append(f"#define KEEP_SHAPE {int('MEASURE_CORRECTION' in flags)}")
    for name in CONSTANTS:
        value = float(VALUES[name])
        if precision == "single":
            value = float(VALUES.get(f"{name}_SINGLE", value))
        lines.append(f"#define {name} {value!r}{'f' * (precision == 'single')}")
    lines += [f"#define {flag} 1" for flag in flags if flag]
    return "\n".join([*lines, kernel_source(KERNEL_CPP)])


def basis_program(precision: str, *terms: str) -> str:
    """The same for the native force; the values of its constants do not matter."""
    suffix = "f" * (precision == "single")
    lines = beginning(precision)
    lines += [f"#define {name} {value}" for name, value in BASIS_COUNTS.items()]
    lines += [f"#define {name} 1.5{suffix}" for name in BASIS_NUMBERS]
    lines += [f"#define {name} {', '.join([f'1.5{suffix}'] * 6)}" for name in BASIS_LISTS]
    lines += [f"#define {term} 1" for term in terms]
    return "\n".join([*lines, kernel_source(BASIS_CPP)])


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


@pytest.mark.parametrize("terms", [BASIS_TERMS, *([term] for term in BASIS_TERMS)], ids=",".join)
@pytest.mark.parametrize("precision", REAL_AND_MIXED)
def test_the_kernel_of_the_native_force_compiles(precision, terms):
    need_openmm_cuda()
    assert errors_of(basis_program(precision, *terms)) == ""


def test_a_kernel_with_an_error_does_not_compile():
    need_openmm_cuda()
    assert "NUM_BEADS" in errors_of(program("mixed").replace("#define NUM_BEADS 50", ""))


def test_all_definitions_of_the_kernels_are_compiled_here():
    used = set(re.findall(r'defines\["(\w+)"\]', KERNEL_CPP))
    assert used == {*DEFINES, *CONSTANTS, *DETREND[1:], *CORRECTION[1:], "KEEP_SHAPE"}
    used = set(re.findall(r'defines\["(\w+)"\]|\{"([A-Z_]+)", ', BASIS_CPP))
    names = {name or other for name, other in used}
    assert names == {*BASIS_COUNTS, *BASIS_NUMBERS, *BASIS_LISTS, *BASIS_TERMS}

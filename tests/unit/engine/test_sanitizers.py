"""The tests of the compiled integrator again, on a build with GCC's sanitizers of addresses and undefined behaviour."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.engine.builds import change, compile_gpu_library, compile_library, private_copy

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("plugin")]

SANITIZE = [
    "-g",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
]

TESTS = [
    f"tests/unit/engine/test_{name}.py"
    for name in ("compiled_integrator", "compiled_errors", "metropolis", "plugin_properties")
]


def build(plugin: Path) -> None:
    """Put sanitized libraries in the place of a plugin's own."""
    library, sources = plugin / "lib", plugin / "csrc"
    for built in library.glob("*.so"):
        built.unlink()
    core = [path for path in sources.glob("*.cpp") if not path.name.startswith("Common")]
    compile_library(core, library / "libOpenMMNemo.so", *SANITIZE)
    compile_gpu_library("OpenCL", sources, library, *SANITIZE)


def runtime_library(name: str) -> str:
    """Path of a library of the compiler's."""
    command = ["g++", f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def run(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess, str]:
    """Run tests in a folder; returns what they printed and what the sanitizers reported."""
    # That of C++ as well, whose exceptions the sanitizer has to find when it starts.
    runtimes = [runtime_library(name) for name in ("libasan.so", "libstdc++.so")]
    reports = folder / "reports"
    reports.mkdir()
    options = f"log_path={reports}/report"
    environment = {
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": f"detect_leaks=0:{options}",  # Python never frees all of its memory
        "UBSAN_OPTIONS": f"print_stacktrace=1:{options}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    return done, "".join(path.read_text() for path in sorted(reports.iterdir()))


def test_sanitizers_report_nothing(tmp_path):
    build(private_copy(tmp_path))
    # Freed memory is kept for a while, to see whether it is used.
    done, reports = run(tmp_path, *TESTS, "-k", "not leave_nothing_behind")
    assert reports == ""
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_sanitizers_report_an_index_that_is_out_of_range(tmp_path):
    plugin = private_copy(tmp_path)
    change(plugin / "csrc" / "ChainMath.cpp", "force += f[j];", "force += f[j + 1];")
    build(plugin)
    done, reports = run(tmp_path, TESTS[0], "-k", "clipped and copy")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in reports

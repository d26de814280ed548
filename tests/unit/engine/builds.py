"""Builds of the plugin's sources with the compiler alone."""

import subprocess
from pathlib import Path

import openmm.version

import openmm_nemo.plugin

SOURCES = Path(openmm_nemo.plugin.__file__).parent / "csrc"
OPENMM = Path(openmm.version.openmm_library_path)


def compile_gpu_library(name: str, sources: Path, target: Path, *options: str) -> None:
    """Compile and link the library of a GPU platform to OpenMM's own and to libOpenMMNemo.so in the target folder."""
    folders = [OPENMM, OPENMM / "plugins", target]
    command = ["g++", "-O1", "-std=c++17", "-shared", "-fPIC", f'-DOPENMM_NEMO_PLATFORM="{name}"']
    command += ["-isystem", str(OPENMM.parent / "include")]
    command += [str(sources / f"CommonNemo{part}.cpp") for part in ("Kernel", "Source")]
    command += [f"-L{folder}" for folder in folders]
    command += [f"-Wl,-rpath,{folder}" for folder in folders]
    command += ["-lOpenMM", f"-lOpenMM{name}", "-lOpenMMNemo", *options]
    command += ["-o", str(target / f"libOpenMMNemo{name}.so")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""Builds of the plugin's sources with the compiler alone."""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import openmm.version

import openmm_nemo.plugin

SOURCES = Path(openmm_nemo.plugin.__file__).parent / "csrc"
OPENMM = Path(openmm.version.openmm_library_path)
RELEASE = openmm.version.short_version


def compile_gpu_library(
    name: str, sources: Path, target: Path, *options: str, built_for: str = RELEASE
) -> None:
    """Compile and link the library of a GPU platform to OpenMM's own and to libOpenMMNemo.so in the target folder."""
    library = target / f"libOpenMMNemo{name}.so"
    options = (f"-DOPENMM_NEMO_{name.upper()}", f"-lOpenMM{name}", "-lOpenMMNemo", *options)
    compile_library(sources.glob("Common*.cpp"), library, *options, built_for=built_for)


def compile_library(
    sources: Iterable[Path], target: Path, *options: str, built_for: str = RELEASE
) -> None:
    """Compile sources into a library that OpenMM can load, as if for one of its releases."""
    folders = [OPENMM, OPENMM / "plugins", target.parent]
    command = ["g++", "-O1", "-std=c++17", "-shared", "-fPIC"]
    command += [
        f'-DOPENMM_NEMO_BUILT_FOR="{built_for}"',
        "-isystem",
        str(OPENMM.parent / "include"),
    ]
    command += map(str, sources)
    command += [f"-L{folder}" for folder in folders]
    command += [f"-Wl,-rpath,{folder}" for folder in folders]
    command += ["-lOpenMM", *options, "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def private_copy(folder: Path) -> Path:
    """Copy what tests need into a folder from which they can be run; returns the folder of the plugin."""
    for name in ("openmm_nemo", "tests", "torchscript_models"):
        shutil.copytree(name, folder / name)
    shutil.copy("pyproject.toml", folder)
    return folder / "openmm_nemo" / "plugin"


def change(path: Path, old: str, new: str) -> None:
    """Replace a piece of a file that is there exactly once."""
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))

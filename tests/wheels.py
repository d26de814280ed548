"""Test a wheel as users install it, without a compiler: ``make wheels``.

The wheel goes into a new environment, from which nothing else of this repository can be imported, and runs the commands
and some unit tests there, with no other program on the path. Its dependencies are installed, too, or taken from an
environment that has them: ``--reuse .venv-test``.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).parents[1]
TESTS = ("unit/engine/test_plugin_properties.py", "unit/models/test_pretrained.py")
LIBRARIES = {f"libOpenMMNemo{platform}.so" for platform in ("", "OpenCL", "CUDA", "HIP")}
SYSTEM = re.compile(r"(libOpenMM\w*|libstdc\+\+|libm|libmvec|libgcc_s|libc|ld-linux-x86-64)\.so.*")
"""Libraries that ours may need: OpenMM's, and those that every manylinux system has."""


def check(wheel: Path) -> None:
    """Fail unless the wheel is for any Python and holds the plugin and no library of others."""
    assert re.search(r"-py3-none-manylinux_2_\d+_\w+\.whl$", wheel.name), wheel.name
    with zipfile.ZipFile(wheel) as content:
        libraries = [name for name in content.namelist() if ".so" in name]
        assert {Path(name).name for name in libraries} == LIBRARIES, libraries
        for name in libraries:
            with content.open(name) as file:
                elf = ELFFile(file)
                tags = elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")
                for needed in (tag.needed for tag in tags):
                    assert SYSTEM.fullmatch(needed), f"{name} needs {needed}"
                for symbol in elf.get_section_by_name(".dynsym").iter_symbols():
                    assert not symbol.name.startswith(("Py", "_Py")), f"{name} calls {symbol.name}"


def install(wheel: Path, folder: Path, reused: Path | None) -> Path:
    """Install a wheel in a new environment; returns its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if reused is None:
        run([*pip, wheel, "pytest", "openmmml"])
        return python
    (packages,) = reused.glob("lib/python3.*/site-packages")
    (own,) = folder.glob("lib/python3.*/site-packages")
    assert packages.parent.name == own.parent.name, f"{reused} is of another Python"
    # As no .pth file in that folder is read, what is installed there as editable cannot be imported.
    (own / "reused.pth").write_text(f"{packages.resolve()}\n")
    run([*pip, "--no-deps", wheel])
    return python


def run(command: list[str | Path], cwd: Path = ROOT, **environment: str) -> str:
    """Run a command, with only the programs of its environment on the path, and print what it prints."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    kept |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**kept, "PATH": str(Path(command[0]).parent), "OMP_NUM_THREADS": "1", **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    print(done.stdout, flush=True)
    assert done.returncode == 0, f"{command} failed"
    return done.stdout


def test(python: Path, folder: Path) -> None:
    """Run commands and unit tests in a folder without sources."""
    shown = "import shutil, openmm_nemo; print(openmm_nemo.__file__, shutil.which('g++'))"
    place, compiler = run([python, "-c", shown], folder).split()
    assert Path(place).is_relative_to(python.parents[1]), place
    assert compiler == "None"
    command = python.parent / "openmm-nemo"
    lines = run([command, "doctor", "--report"], folder).splitlines()
    assert any(line.startswith("+ integrator ") and "compiled" in line for line in lines)
    assert any(line.startswith("+ self-test native ") for line in lines)
    assert not any(line.startswith("- self-test") for line in lines)
    options = ["--sequence", "NLYIQWLKDGGPSSGRPPPS", "--steps", "5", "--out", "run"]
    run([command, "simulate", *options], folder)
    shutil.copytree(ROOT / "tests", folder / "tests")
    shutil.copy(ROOT / "pyproject.toml", folder)
    files = [f"tests/{name}" for name in TESTS]
    pytest = [python, "-m", "pytest", "-p", "no:cacheprovider", *files]
    run(pytest, folder, OPENMM_NEMO_REQUIRE_PLUGIN="1")


def main() -> None:
    """Test the wheel in a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", type=Path)
    parser.add_argument("--reuse", type=Path, help="environment that has the dependencies")
    options = parser.parse_args()
    (wheel,) = options.dist.resolve().glob("*.whl")
    check(wheel)
    with tempfile.TemporaryDirectory() as folder:
        python = install(wheel, Path(folder) / "venv", options.reuse)
        test(python, Path(folder))
    print(f"{wheel.name} works without a compiler.")


if __name__ == "__main__":
    sys.exit(main())

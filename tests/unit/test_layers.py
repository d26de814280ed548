"""What each room of the package may import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "openmm_nemo"

# From the bottom up: a room imports those before it, never those behind it.
ROOMS = [
    "version",
    "errors",
    "files",
    "hdf5",
    "optional",
    "progress",
    "processes",
    "cluster",
    "residues",
    "config",
    "geometry",
    "dynamics",
    "simulator",
    "networks",
    "encoders",
    "energies",
    "conditioning",
    "data",
    "plugin",
    "engine",
    "boltzmann",
    "parmed",
    "models",
    "runs",
    "sampling",
    "training",
    "pages",
    "evaluation",
    "comparison",
    "analysis",
    "doctor",
    "cli",
    "__main__",
]

# Rooms that do not need what lies between.
APART = {
    "geometry": {"errors", "residues"},
    "dynamics": {"geometry"},
    "networks": {"config", "geometry"},
    "encoders": {"config", "errors", "residues"},
    "energies": {"config", "encoders", "errors", "geometry", "networks", "residues"},
    "conditioning": {"config", "encoders", "energies", "geometry", "networks"},
    "data": {
        "encoders",
        "errors",
        "files",
        "geometry",
        "hdf5",
        "optional",
        "processes",
        "progress",
        "residues",
    },
    "pages": {"files", "version"},
}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Lines and names of the package's rooms that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports by a relative name"
            if node.module == "openmm_nemo":
                names = [f"openmm_nemo.{alias.name}" for alias in node.names]
            else:
                names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            head, _, rest = name.partition(".")
            if head == "openmm_nemo":
                yield node.lineno, rest.partition(".")[0]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def violations(files: Iterator[Path]) -> Iterator[str]:
    for path in files:
        room = room_of(path)
        for line, other in imports(path):
            if other == room:
                continue
            place = f"{path.relative_to(PACKAGE.parent)}:{line}"
            if other not in ROOMS:
                yield f"{place} imports {other or 'the package itself'}, which is no room"
            elif ROOMS.index(other) > ROOMS.index(room):
                yield f"{place} imports {other}, which lies above {room}"
            elif room in APART and other not in APART[room]:
                yield f"{place} imports {other}, which {room} is kept apart from"


def package_files() -> Iterator[Path]:
    # The package itself imports the names that it gives to users.
    return (path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py")


def test_no_import_runs_upwards():
    assert list(violations(package_files())) == []


def test_every_room_has_its_place():
    assert {room_of(path) for path in package_files()} == set(ROOMS)


def test_the_table_of_contributors_is_this_one():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rooms = [room for room in ROOMS if (PACKAGE / room).is_dir()]
    places = [text.index(f"`openmm_nemo/{room}/`") for room in rooms]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("import openmm_nemo.engine.units", "engine, which lies above"),
        ("def f():\n    from openmm_nemo.models import NemoModel", "models, which lies above"),
        (
            "if TYPE_CHECKING:\n    from openmm_nemo.training import losses",
            "training, which lies above",
        ),
        ("from openmm_nemo import NemoModel", "NemoModel, which is no room"),
        ("from openmm_nemo.files import completing", "files, which geometry is kept apart from"),
    ],
)
def test_an_offending_line_is_named(tmp_path, monkeypatch, line, named):
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "openmm_nemo")
    path = tmp_path / "openmm_nemo" / "geometry" / "new.py"
    path.parent.mkdir(parents=True)
    path.write_text(f"\n{line}\n")
    (found,) = violations(iter([path]))
    number = 2 + line.count("\n")
    assert found == f"openmm_nemo/geometry/new.py:{number} imports {named}" + (
        " geometry" if named.endswith("above") else ""
    )


@pytest.mark.integration
@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import openmm_nemo", ("torch", "openmm", "mdtraj", "click", "rich", "numpy")),
        ("import openmm_nemo.geometry", ("openmm", "mdtraj", "click", "rich")),
        ("import openmm_nemo.dynamics", ("openmm", "mdtraj", "click", "rich")),
        ("import openmm_nemo.models", ("openmm", "mdtraj", "click", "rich")),
    ],
)
def test_rooms_load_what_they_need_alone(statement, forbidden):
    script = f"{statement}\nimport sys\nprint(*[n for n in {forbidden!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []

"""What SECURITY.md says about files: nothing in the package reads one in a way that could run code."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "openmm_nemo"

FORBIDDEN = {
    "eval",
    "exec",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "os.system",
    "joblib.load",
    "pandas.read_pickle",
    "yaml.load",
    "torch.jit.load",
    "mm.XmlSerializer.deserialize",
}
"""Calls that can run code in what they are given."""

NEEDED = {
    "torch.load": ("weights_only", True),
    "trainer.fit": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "np.lib.format.read_array": ("allow_pickle", False),
    "EsmModel.from_pretrained": ("use_safetensors", True),
    "subprocess.run": ("shell", False),
}
"""Options without which a call could; absence of the last is as good."""

ALLOWED = {
    # Models that this process or its parent has pickled, in memory.
    ("comparison/comparison.py", "pickle.loads"),
    ("sampling/sampling.py", "pickle.loads"),
    # Only at the request of users, as documented.
    ("engine/torchscript.py", "torch.jit.load"),
    ("engine/torchscript.py", "mm.XmlSerializer.deserialize"),
    ("engine/integrator/compiled.py", "mm.XmlSerializer.deserialize"),
    ("engine/integrator/python.py", "mm.XmlSerializer.deserialize"),
    # Only without the forces that contain code.
    ("boltzmann/generator.py", "mm.XmlSerializer.deserialize"),
    # XML made in the line before.
    ("engine/native.py", "mm.XmlSerializer.deserialize"),
}

HDF5_READERS = {"md.load", "md.load_frame", "md.load_topology", "md.load_hdf5", "md.open"}
"""Functions of MDTraj that may read HDF5."""


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def risks(path: Path) -> Iterator[str]:
    place = path.relative_to(PACKAGE).as_posix()
    for call in calls(ast.parse(path.read_text())):
        name = ast.unparse(call.func)
        given = {option.arg: ast.unparse(option.value) for option in call.keywords}
        if name in FORBIDDEN and (place, name) not in ALLOWED:
            yield f"{place}:{call.lineno} calls {name}"
        if name in NEEDED:
            option, value = NEEDED[name]
            if given.get(option, "False" if option == "shell" else None) != str(value):
                yield f"{place}:{call.lineno} calls {name} without {option}={value}"


def package_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_nothing_is_read_in_a_way_that_could_run_code():
    assert [risk for path in package_files() for risk in risks(path)] == []


def test_no_exception_is_left_over():
    found = {
        (path.relative_to(PACKAGE).as_posix(), ast.unparse(call.func))
        for path in package_files()
        for call in calls(ast.parse(path.read_text()))
    }
    assert found >= ALLOWED


@pytest.mark.parametrize(
    ("line", "risk"),
    [
        ("pickle.load(file)", "pickle.load"),
        ("np.load(path)", "allow_pickle=False"),
        ("torch.load(path, weights_only=False)", "weights_only=True"),
        ("subprocess.run(line, shell=True)", "shell=False"),
    ],
)
def test_a_risk_is_named(tmp_path, monkeypatch, line, risk):
    monkeypatch.setattr(f"{__name__}.PACKAGE", tmp_path)
    path = tmp_path / "new.py"
    path.write_text(line)
    (found,) = risks(path)
    assert found.startswith("new.py:1 calls")
    assert risk in found


def test_whoever_reads_hdf5_keeps_it_from_being_unpickled():
    readers = [
        path
        for path in package_files()
        if HDF5_READERS & {ast.unparse(call.func) for call in calls(ast.parse(path.read_text()))}
    ]
    assert readers
    assert [path for path in readers if "no_unpickling()" not in path.read_text()] == []

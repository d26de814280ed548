"""Every module has a test: at the mirrored place, or in the files that a row of the table names.

A file tests a module if it imports the module, or one of its names through a package, or runs a command of it; or if
it does so with a module that imports this one: of the same room, or of the command line. What the helpers in ``tests``
do for it counts, too.
"""

import ast
from functools import cache
from pathlib import Path

import openmmml  # noqa: F401 (which loads our entry point, and cannot be loaded by it)
import pytest

import openmm_nemo
from openmm_nemo.cli import VERBS

ROOT = Path(__file__).parents[2]
PACKAGE = Path(openmm_nemo.__file__).parent
UNIT = Path(__file__).parent

COVERED = {
    "analysis/analyze": ["integration/test_analyze.py"],
    "analysis/check": ["integration/test_analyze.py"],
    "analysis/figures": ["integration/test_analyze.py"],
    "analysis/trajectories": ["integration/test_analyze.py"],
    "__main__": ["unit/runs/test_interruption.py"],
    "cli/analysis": ["integration/test_analyze.py"],
    "cli/comparison": ["integration/test_compare.py"],
    "cli/domains": ["unit/data/sets/test_building.py"],
    "cli/evaluation": ["integration/test_evaluate.py"],
    "cli/exchange": ["integration/test_exchange.py"],
    "cli/inputs": ["unit/test_cli.py"],
    "cli/installation": ["unit/test_cli.py", "unit/test_doctor.py"],
    "cli/profiles": ["unit/data/families/test_profiles.py"],
    "cli/runs": ["unit/test_cli.py", "integration/test_exchange.py"],
    "cli/sampling": ["integration/test_sample.py"],
    "cli/series": ["integration/test_series.py"],
    "cli/simulation": ["unit/test_cli.py", "integration/test_simulate.py"],
    "cli/splits": ["unit/data/test_splits.py"],
    "cli/training": ["integration/test_train.py"],
    "comparison/differences": ["unit/comparison/test_comparison.py"],
    "comparison/measures": ["unit/comparison/test_comparison.py"],
    "comparison/plots": ["unit/comparison/test_comparison.py"],
    "comparison/tables": ["unit/comparison/test_comparison.py"],
    "comparison/windows": ["unit/comparison/test_comparison.py"],
    "conditioning/initial_state": [
        "unit/conditioning/test_baseline.py",
        "unit/conditioning/test_sequence.py",
    ],
    "data/failures": ["unit/data/sets/test_domains.py"],
    "data/sets/description": ["unit/data/sets/test_building.py"],
    "data/sets/json_lines": ["unit/data/sets/test_domains.py"],
    "data/sets/storage": ["unit/data/sets/test_domains.py"],
    "data/splitting": ["unit/data/test_splits.py"],
    "data/structures/gro": ["unit/data/structures/test_frames.py"],
    "data/structures/molecules": ["unit/data/structures/test_chains.py"],
    "data/structures/pdb_columns": ["unit/data/structures/test_chains.py"],
    "data/structures/parsing": ["unit/data/structures/test_chains.py"],
    "data/structures/polymer": ["unit/data/structures/test_chains.py"],
    "data/structures/selection": ["unit/data/structures/test_chains.py"],
    "encoders": ["unit/encoders/test_contract.py"],
    "encoders/base": ["unit/encoders/test_contract.py"],
    "encoders/one_hot": ["unit/encoders/test_contract.py"],
    "encoders/profile": ["unit/encoders/test_contract.py"],
    "dynamics/metropolis": ["unit/dynamics/test_metropolis_moves.py"],
    "energies/backbone": ["unit/energies/test_basis_terms.py"],
    "energies/basis": ["unit/energies/test_basis_terms.py"],
    "energies/chain_basis": ["unit/energies/test_basis_terms.py"],
    "energies/pair_basis": ["unit/energies/test_basis_terms.py"],
    "energies/registry": ["unit/energies/test_contract.py"],
    "energies/scales": ["unit/energies/test_basis_terms.py"],
    "energies/term": ["unit/energies/test_contract.py"],
    "engine/force_frames": ["unit/engine/test_record_forces.py"],
    "engine/integrator/compiled": [
        "unit/engine/test_compiled_integrator.py",
        "unit/engine/test_compiled_errors.py",
    ],
    "engine/integrator/interface": [
        "unit/engine/test_integrator.py",
        "unit/engine/test_integrator_state.py",
    ],
    "engine/integrator/layout": ["unit/engine/test_integrator_errors.py"],
    "engine/integrator/python": ["unit/engine/test_python_integrator.py"],
    "engine/potential": ["unit/engine/test_export.py"],
    "engine/protein": ["unit/engine/test_system.py"],
    "engine/proteins": ["unit/engine/test_parmed.py"],
    "errors": ["unit/test_cli.py"],
    "evaluation/evaluate": ["integration/test_evaluate.py"],
    "models/conditioned": ["unit/models/test_model.py"],
    "models/migration": ["unit/models/test_recorded.py"],
    "models/precision": ["unit/training/test_precision.py"],
    "networks/message_passing": ["unit/networks/test_blocks.py"],
    "parmed": ["unit/engine/test_parmed.py"],
    "plugin": ["unit/engine/test_import_order.py", "unit/test_doctor.py"],
    "runs/chain_moves": ["integration/test_complexes.py"],
    "runs/exchange": ["integration/test_exchange.py"],
    "runs/ladder": ["integration/test_exchange.py"],
    "runs/outputs": ["integration/test_simulate.py"],
    "runs/plots": ["integration/test_plots.py"],
    "runs/series": ["integration/test_series.py"],
    "runs/settings": ["unit/test_cli.py"],
    "runs/simulation": ["integration/test_simulate.py"],
    "sampling/batches": ["unit/sampling/test_sampling.py"],
    "sampling/engines": ["unit/sampling/test_sampling.py"],
    "simulator": ["unit/dynamics/test_former_name.py"],
    "training/export": ["integration/test_train.py"],
    "training/module": [
        "unit/training/test_gradient_norms.py",
        "unit/training/test_reference_states.py",
        "integration/test_train.py",
    ],
    "training/train": ["integration/test_train.py"],
}
"""Modules without a test file at the mirrored place, and the files that test them."""


@cache
def modules() -> list[str]:
    """Modules with code of their own, by their path in the package."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        defines = any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree.body)
        if path.name != "__init__.py":
            found.append(path.relative_to(PACKAGE).with_suffix("").as_posix())
        elif defines and path.parent != PACKAGE:
            found.append(path.parent.relative_to(PACKAGE).as_posix())
    return found


def mirrored(module: str) -> Path:
    """Where the test of a module is, if it has one of its own."""
    path = UNIT / module
    return path.with_name(f"test_{path.name}.py")


@cache
def parsed(path: Path) -> list[ast.AST]:
    """All nodes of a file."""
    return list(ast.walk(ast.parse(path.read_text())))


@cache
def used_by(path: Path) -> frozenset[str]:
    """Names of the modules that a file of ours imports, or of which it runs commands."""
    rooms: dict[str, str] = {}
    found: set[str] = set()
    for node in parsed(path):
        match node:
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("tests."):
                found |= used_by(ROOT / (module.replace(".", "/") + ".py"))
            case ast.ImportFrom(module=str(module), names=names) if _file(module):
                homes = {name.asname or name.name: _home(module, name.name) for name in names}
                found |= {module, *homes.values()}
                rooms |= {name: home for name, home in homes.items() if _file(home)}
            case ast.Constant(value=str(text)) if "import openmm_nemo" in text:  # a program
                found |= {word for word in text.replace(",", " ").split() if _file(word)}
    for node in parsed(path):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in rooms:
                found.add(_home(rooms[name], attribute))
    names = {node.id for node in parsed(path) if isinstance(node, ast.Name)}
    if names & {"command_line", "refused", "subprocess", "main"}:
        words = {node.value for node in parsed(path) if isinstance(node, ast.Constant)}
        found |= {f"openmm_nemo.cli.{VERBS[verb][0]}" for verb in words & set(VERBS)}
    return frozenset(found)


def _file(module: str) -> Path | None:
    """File of a module of ours."""
    path = PACKAGE.parent / module.replace(".", "/")
    files = (path.with_suffix(".py"), path / "__init__.py")
    ours = module.split(".")[0] == PACKAGE.name
    return next((file for file in files if ours and file.exists()), None)


@cache
def _home(module: str, name: str) -> str:
    """Module from which a module has a name: itself, the one that it imports it from, or the name's own."""
    if _file(f"{module}.{name}"):
        return f"{module}.{name}"
    for node in parsed(_file(module)):
        match node:
            case ast.ImportFrom(module=str(other), names=names) if _file(other):
                if name in {alias.name for alias in names}:
                    return _home(other, name)
    return module


def uses(test: Path, module: str) -> bool:
    name = "openmm_nemo." + module.replace("/", ".")
    room = name.rpartition(".")[0]
    found = used_by(test)
    near = {
        other
        for other in found
        if _file(other)
        and (room in (other, other.rpartition(".")[0]) or other.startswith("openmm_nemo.cli."))
    }
    return name in found or any(name in used_by(_file(other)) for other in near)


@pytest.mark.parametrize("module", modules())
def test_every_module_has_a_test(module):
    own = mirrored(module)
    if own.exists():
        assert module not in COVERED, f"{module} has a test of its own: take its row away"
        assert uses(own, module), f"{own} does not use {module}"
    else:
        assert COVERED.get(module), f"{module} has no test: write {own}, or give it a row"


@pytest.mark.filterwarnings("ignore:openmm_nemo.simulator:FutureWarning")
@pytest.mark.parametrize("module", COVERED)
def test_every_row_is_true(module):
    assert module in modules(), f"there is no module {module}"
    for name in COVERED[module]:
        assert uses(ROOT / "tests" / name, module), f"{name} does not use {module}"


@pytest.mark.parametrize("folder", sorted(p for p in UNIT.rglob("*") if p.is_dir()), ids=str)
def test_folders_mirror_the_package(folder):
    """But for the tests of the bench and of what builds the documentation."""
    place = folder.relative_to(UNIT).as_posix()
    apart = place in ("bench", "docs")
    assert list(folder.glob("test_*.py")) == [] or apart or (PACKAGE / place).is_dir()

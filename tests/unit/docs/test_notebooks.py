"""The notebooks of the site, which ``make docs`` runs: how they are kept, and what they use."""

import ast
import json
import re
from importlib import import_module
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def notebook(request):
    return json.loads(request.param.read_text())


def code(notebook):
    """Python code of the cells."""
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [cell.removeprefix("%%python\n") for cell in cells if not re.match("%%(?!python)", cell)]


def imports(notebook):
    """Names of this package that are imported, with their modules."""
    found = []
    for node in ast.walk(ast.parse("\n".join(code(notebook)))):
        if isinstance(node, ast.ImportFrom):
            found += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
    return [(module, name) for module, name in found if module.split(".")[0] == "openmm_nemo"]


def test_outputs_are_not_kept(notebook):
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def test_kernel_is_any_python(notebook):
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert "version" not in notebook["metadata"]["language_info"]


def test_imports_are_public(notebook):
    found = imports(notebook)
    assert found
    for module, name in found:
        assert name in import_module(module).__all__, f"{module}.{name}"


def test_figures_have_texts_for_those_who_cannot_see_them(notebook):
    for cell in notebook["cells"]:
        if "plt.show()" in "".join(cell["source"]):
            assert cell["metadata"]["mystnb"]["image"]["alt"]


def test_ends_with_links_to_pages_that_exist(notebook):
    links = re.findall(r"\]\(\.\./([^)]+)\)", "".join(notebook["cells"][-1]["source"]))
    assert links
    assert all((DOCS / link).exists() for link in links)


def test_each_is_on_the_index_and_in_the_readme():
    assert NOTEBOOKS
    index, readme = (DOCS / "index.md").read_text(), (DOCS.parent / "README.md").read_text()
    for path in NOTEBOOKS:
        assert f"\nnotebooks/{path.stem}\n" in index
        assert f"(docs/notebooks/{path.name})" in readme

"""What the documentation is built with: the check of links, links of included files, and tables of benchmarks."""

import re
import runpy
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture
def load(monkeypatch):
    """Names of a file of ``docs``."""
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))

    def load(name):
        return runpy.run_path(str(DOCS / name))

    yield load
    sys.modules.pop("benchmark_parts", None)


PAGE = '<html><head><link rel="icon" href="data:,"></head><body id="top">{}</body></html>'


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            '<a href="other.html#there">x</a><a href="#top">x</a><a href="https://openmm.org">x</a>',
            None,
        ),
        ('<a href="missing.html">x</a>', "missing.html"),
        ('<a href="other.html#nowhere">x</a>', "other.html#nowhere"),
        ('<a href="#nowhere">x</a>', "#nowhere"),
        ('<img src="missing.png">', "missing.png"),
        ('<script src="https://example.org/a.js"></script>', "https://example.org/a.js"),
        ('<img src="//example.org/a.png">', "//example.org/a.png"),
    ],
)
def test_links_that_lead_nowhere_or_elsewhere_are_found(load, tmp_path, body, problem):
    (tmp_path / "index.html").write_text(PAGE.format(body))
    (tmp_path / "other.html").write_text(PAGE.format('<p id="there">x</p>'))
    found = load("check_site.py")["problems"](tmp_path)
    assert len(found) == (problem is not None)
    assert all("index.html" in line and problem in line for line in found)


def test_styles_that_load_fonts_from_elsewhere_are_found(load, tmp_path):
    (tmp_path / "site.css").write_text(
        "a { src: url('https://example.org/a.woff') } b { src: url(b.woff) }"
    )
    (found,) = load("check_site.py")["problems"](tmp_path)
    assert "site.css" in found


def test_links_of_included_files(load):
    pages = load("_ext/generated_pages.py")
    text = "![a](curves.png) [b](split.json) [c](../nemo-mini/README.md) [d](https://x.org) [e](#f)"
    folder = DOCS.parent / "torchscript_models" / "nemo-fold"
    assert pages["relinked"](text, folder) == (
        "![a](../../torchscript_models/nemo-fold/curves.png) `torchscript_models/nemo-fold/split.json` "
        "[c](nemo-mini.md) [d](https://x.org) [e](#f)"
    )


@pytest.mark.parametrize("index", ["i", "{i+1}"])
def test_indices_of_letters_with_accents_are_beside_them(load, index):
    written = load("_ext/mathml.py")["mathml"](rf"\hat{{u}}_{index}", as_block=False)
    math = ElementTree.fromstring(written)
    (sub,) = math
    shapes = [re.sub("{.*}", "", node.tag) for node in sub.iter()]
    assert shapes[:4] == ["msub", "mover", "mi", "mo"]
    assert "".join("".join(math.itertext()).split()) == "uˆ" + index.strip("{}")


def test_each_installed_model_has_a_page():
    cards = {path.parent.name for path in (DOCS.parent / "torchscript_models").glob("*/README.md")}
    assert {path.stem for path in (DOCS / "models").glob("*.md")} == {*cards, "index"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "0.123"), (12.34, "12.3"), (1477.0, "1,477"), (5, "5"), (None, ""), (0.0, "0")],
)
def test_numbers_have_three_digits(load, value, text):
    assert load("_ext/benchmark_parts.py")["number"](value) == text


def test_tables_of_benchmarks_have_all_rows_and_their_source(load):
    parts = load("_ext/benchmark_parts.py")
    for benchmark, name in parts["TABLES"]:
        written = parts["table"](benchmark, name)
        assert f"python -m tests.bench {benchmark}" in written
        assert "2 cores" in written
        assert written.count("\n|") == 1 + len(parts["_rows"](benchmark, name))


def test_plots_of_benchmarks_are_written_for_both_themes(load, tmp_path):
    parts = load("_ext/benchmark_parts.py")
    parts["draw_all"](tmp_path)
    names = {f"{name}-{theme}.svg" for name in parts["PLOTS"] for theme in ("light", "dark")}
    assert {path.name for path in tmp_path.iterdir()} == names


VIEW = "<div id='3dmolviewer_1'></div><script>if(typeof $3Dmolpromise === 'undefined') {}</script>"


def with_library(load, body):
    """What is added to the head of a page with a body."""
    context = {"body": body, "metatags": "", "pathto": lambda path, resource: f"../{path}"}
    load("_ext/structures_in_3d.py")["add_library"](None, "a/b", "page.html", context, None)
    return context["metatags"]


def test_views_in_3d_take_their_library_from_the_site(load):
    assert 'src="../_static/3Dmol-min.js"' in with_library(load, VIEW)
    assert with_library(load, "<p>Nothing in 3D.</p>") == ""


def test_views_in_3d_that_would_load_their_library_from_elsewhere_are_refused(load):
    with pytest.raises(Exception, match="another host"):
        with_library(load, VIEW.replace("$3Dmolpromise", "$other"))

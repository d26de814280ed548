"""What every page has: scripts that do not end early, data as it was given, and a file that is complete."""

import json
import re
from pathlib import Path

import pytest

from openmm_nemo.pages import page
from openmm_nemo.pages.page import write_page

ODD = """</script><script>document.title = "gone"</script><b id="x">&amp; "'"""


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "own.html"
    path.write_text('{% extends "base.html" %}{% block main %}<p>{{ own }}</p>{% endblock %}')
    path.with_suffix(".js").write_text("own();")
    return path


def write(path: Path, template: Path) -> str:
    values = {"title": ODD, "summary": "", "about": "", "tiles": [], "notes": [], "own": ODD}
    write_page(path, template, data=[ODD, None, 0.5], **values)
    return path.read_text()


def test_data_and_text_arrive_as_they_were_given(tmp_path, template):
    text = write(tmp_path / "page.html", template)
    (data,) = re.findall('<script type="application/json" id="data">(.*?)</script>', text)
    assert json.loads(data) == [ODD, None, 0.5]
    assert ODD not in text
    assert "own();" in text


def test_scripts_do_not_end_early(tmp_path, template, monkeypatch):
    odd = 'x = "</script><!--"'
    monkeypatch.setattr(page, "_read", lambda path: odd if path.suffix == ".js" else "")
    text = write(tmp_path / "page.html", template)
    assert text.count("<script") == text.count("</script>") == 3
    assert "<!--" not in text


def test_no_half_written_page(tmp_path, template, monkeypatch):
    path = tmp_path / "page.html"
    path.write_text("before")
    monkeypatch.setattr(
        Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full"))
    )
    with pytest.raises(OSError, match="full"):
        write(path, template)
    assert path.read_text() == "before"

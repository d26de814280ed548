"""A page: one HTML file, which loads nothing and works offline."""

import base64
from pathlib import Path
from typing import Any

from openmm_nemo.files import completing
from openmm_nemo.version import __version__

_STATIC = Path(__file__).with_name("static")


def write_page(path: Path, template: Path, **values: Any) -> None:
    """Write a page; it appears when it is complete.

    Parameters
    ----------
    path : Path
        HTML file to write.
    template : Path
        Jinja template that extends ``base.html``. The script of the same name, next to it, runs after
        ``viewer.js``, which draws chains.
    **values
        Values for the template and for ``base.html``: ``title``, ``summary``, ``about``, ``tiles``, ``notes``, and
        ``data``, which the script finds as JSON in the element ``data``.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FileSystemLoader([template.parent, _STATIC]),
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["data_uri"] = _data_uri
    scripts = (_STATIC / "viewer.js", template.with_suffix(".js"))
    text = environment.get_template(template.name).render(
        version=__version__,
        css=Markup(_read(_STATIC / "page.css")),
        js=Markup("\n".join(map(_script, scripts))),
        viewer=Markup(_script(_STATIC / "3dmol" / "3Dmol-min.js")),
        licence=_read(_STATIC / "3dmol" / "LICENSE"),
        **values,
    )
    with completing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _script(path: Path) -> str:
    """Script to be written into a page: anything that would end it, or hide it, is escaped."""
    return _read(path).replace("</script", r"<\/script").replace("<!--", r"<\!--")

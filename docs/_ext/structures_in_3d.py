"""Structures in 3D in notebooks: pages with views of py3Dmol take 3Dmol.js from the site, not from another host."""

from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError


def add_library(app: Sphinx, page: str, template: str, context: dict[str, Any], _: Any) -> None:
    """Load 3Dmol.js before the views, which wait for a promise, and fetch the library if there is none."""
    body = context.get("body", "")
    if "3dmolviewer_" not in body:
        return
    if "typeof $3Dmolpromise === 'undefined'" not in body:
        raise ExtensionError(f"{page}: views of this py3Dmol would load 3Dmol.js from another host")
    path = context["pathto"]("_static/3Dmol-min.js", resource=True)
    context["metatags"] += (
        f'<script src="{path}"></script><script>var $3Dmolpromise = Promise.resolve();</script>'
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Look at each page before it is written."""
    app.connect("html-page-context", add_library)
    return {"parallel_read_safe": True}

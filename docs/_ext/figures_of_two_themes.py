"""The directive ``nemo-figure``: a picture that follows the theme of the page.

``docs/figures.py`` and the pages' generator write each picture twice, as NAME-light.svg and NAME-dark.svg.
"""

from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class NemoFigure(SphinxDirective):
    """A figure whose argument is the path of the picture without the theme and the extension."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        """Two pictures, of which the page's style shows one, and the caption."""
        figure = nodes.figure(classes=["align-default"])
        for theme in ("light", "dark"):
            path = f"{self.arguments[0]}-{theme}.svg"
            figure += nodes.image(uri=path, alt=self.options["alt"], classes=[f"only-{theme}"])
        caption = nodes.caption()
        self.state.nested_parse(self.content, self.content_offset, caption)
        figure += nodes.caption("", "", *(child for node in caption for child in node.children))
        return [figure]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("nemo-figure", NemoFigure)
    return {"parallel_read_safe": True}

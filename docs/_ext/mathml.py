"""Formulas as MathML, which browsers draw themselves: pages need neither scripts nor fonts for them."""

import re

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

ACCENTED = re.compile(
    r"<munderover>\s*(<mi>[^<]*</mi>)\s*(<mi>[^<]*</mi>|<mrow>.*?</mrow>)\s*"
    r'(<mo stretchy="false">[ˆ~]</mo>)\s*</munderover>',
    re.DOTALL,
)


def mathml(formula: str, as_block: bool) -> str:
    """Formula as MathML.

    Docutils would write the index of a letter with an accent below the letter.
    """
    written = tex2mathml(formula, as_block=as_block)
    return ACCENTED.sub(r'<msub><mover accent="true">\1\3</mover>\2</msub>', written)


def inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula inside a line."""
    translator.body.append(mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula of its own line."""
    translator.body.append(f'<div class="math">{mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True}

"""Sphinx configuration; `make docs` builds the site."""

import os
import sys
from pathlib import Path

from pygments.lexers.special import TextLexer

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from openmm_nemo.version import __version__  # noqa: E402

project = "openmm-nemo"
author = "the authors of openmm-nemo"
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.doctest",
    "sphinx_copybutton",
    "sphinx_design",
    "figures_of_two_themes",
    "generated_pages",
    "mathml",
    "structures_in_3d",
]
exclude_patterns = ["_ext", "generated"]

# Markdown
myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Notebooks are kept without outputs, and run when the site is built. Whatever they write to stderr is a warning.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 600
nb_merge_streams = True
nb_output_stderr = "warn"

# Docstrings are numpydoc; names in `backticks` are links where they are public, and code elsewhere.
default_role = "py:obj"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_typehints = "none"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
python_use_unqualified_type_names = True
suppress_warnings = [
    "ref.python",  # a type such as sequence, which is also the name of attributes
    "mystnb.unknown_mime_type",  # views of py3Dmol are written twice, once as HTML
]
doctest_test_doctest_blocks = "default"
doctest_global_setup = """
import torch
from openmm_nemo import NemoConfig, NemoModel, list_models
from openmm_nemo.data import read_structure
from openmm_nemo.geometry import cartesian_to_internal, internal_to_cartesian, rigid_frame, rmsd
"""


def keep_absolute_values(app, what, name, obj, options, lines):
    """In docstrings, |x| is an absolute value, not the substitution that it is in reStructuredText."""
    lines[:] = [line if "``" in line else line.replace("|", r"\|") for line in lines]


def setup(app):
    """Connect what is defined here."""
    app.connect("autodoc-process-docstring", keep_absolute_values)
    app.add_lexer("fasta", TextLexer)


# Pages need nothing from other hosts.
html_theme = "furo"
html_math_renderer = "mathml"
html_title = "NEMO for OpenMM"
html_static_path = ["_static", "../openmm_nemo/pages/static/3dmol"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#1f5a99",
        "color-brand-content": "#1f5a99",
    },
    "dark_css_variables": {
        "color-brand-primary": "#8ab8e6",
        "color-brand-content": "#8ab8e6",
    },
}
copybutton_exclude = ".linenos, .gp, .go"

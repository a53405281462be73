"""How Sphinx builds these pages: `scripts/docs`. No network is needed, so there is no intersphinx."""

from __future__ import annotations

from typing import Any

import bentosync

project = "bentosync"
author = "the authors of bentosync"
copyright = "2026, the authors of bentosync"
release = version = bentosync.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_design"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
highlight_language = "text"

html_theme = "furo"
html_title = f"bentosync {release}"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False

# Signatures as they are written, each parameter on a line of its own where they are long.
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("Observer", "Ref", "RowPlan", "Selector", "Strength", "Verify")}
default_role = "literal"  # docstrings write `code` as Markdown does
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = False

# Without intersphinx nothing outside this site can be linked.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:(class|obj|data|exc)", r"(?!bentosync\.).*"),
]


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", keep_colons, priority=100)


def keep_colons(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Napoleon would take what stands before the first colon of an attribute's text for its type."""
    if what in ("attribute", "property") and lines and ":" in lines[0]:
        lines[:0] = ["..", ""]  # a comment

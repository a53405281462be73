"""How Sphinx builds these pages: `scripts/docs`. No network is needed, so there is no intersphinx."""

from __future__ import annotations

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
maximum_signature_line_length = 80
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = False

# Without intersphinx nothing outside this site can be linked; nor are types of bentosync that have no page of their own.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:(class|obj|data|exc)", r"(?!bentosync\.).*"),
]

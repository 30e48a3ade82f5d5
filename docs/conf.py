"""How the site is built from these pages: Sphinx, furo and MyST.

``python -m sphinx -nW docs docs/_build/html`` builds it, and fails at the first warning: a link,
an anchor or a name that leads nowhere. ``-b linkcheck`` asks other sites for the links to them.
No page lives here, and nothing that a page shows is made here.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pygments.lexers.special import TextLexer

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = PROJECT["name"]
author = "the weakreduce developers"
copyright = "2026, the weakreduce developers"  # noqa: A001 (the name that Sphinx reads)
release = version = PROJECT["version"]
html_title = f"{project} {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
exclude_patterns = ["_build"]

default_role = "code"  # as docstrings use single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]  # a list of them, under that word
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# A public name of weakreduce has to lead somewhere. Those of others would need their sites' lists
# of names, and a build needs no network.
nitpick_ignore_regex = [("py:.*", r"(?!weakreduce\.\w+$).*")]

smartquotes_action = "D"  # dashes; an error message keeps its quotes as Python wrote them
pygments_style = "default"
pygments_dark_style = "monokai"

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(Path(__file__).parent / "search_scorer.js")
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"sidebar_hide_name": False}

linkcheck_timeout = 20
linkcheck_retries = 2
# Our own pages are built, not asked for.
linkcheck_ignore = [rf"{PROJECT['urls']['Documentation']}.*"]


def setup(app: Any) -> None:
    """Show Mermaid's language as the text that it is: drawing it takes a script from elsewhere."""
    app.add_lexer("mermaid", TextLexer)

"""How Sphinx builds the site from these pages: ``nox -s docs``."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent

project = "llmbench"
author = "The llmbench developers"
copyright = author
release = re.findall(r'__version__ = "(.+)"', (ROOT / "llmbench/__init__.py").read_text("utf-8"))[0]

extensions = ["myst_parser"]
myst_heading_anchors = 3  # `page.md#a-heading`, as on GitHub
nitpicky = True
highlight_language = "none"  # most blocks are commands and what they print

html_theme = "furo"
html_title = f"llmbench {release}"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["tables.css"]

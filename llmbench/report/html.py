"""Self-contained HTML: templates whose texts are escaped, and what a page carries inside."""

from __future__ import annotations

import base64
import gzip
import json
import re
import secrets
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import plotly
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from llmbench import __version__
from llmbench.errors import InputError
from llmbench.report import palette
from llmbench.runs.files import atomic_write

HOME = "/"


def write_text(path: Path, text: str) -> None:
    """Write a page whole or not at all; raises InputError when the file cannot be written."""
    try:
        atomic_write(path, text)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror}; choose another file with --out"
        ) from error


def render_template(name: str, home: str, **content: Any) -> str:
    """Make the text of a page from a template, with all that it carries."""
    return _templates().get_template(name).render(**_embedded(), home=home, **content)


def render_macro(name: str, *arguments: Any) -> str:
    """Make a part of a page by itself, as a macro of macros.html.j2 writes it."""
    macros = _templates().get_template("macros.html.j2").module
    return str(getattr(macros, name)(*arguments))


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("llmbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _embedded() -> dict[str, Any]:
    """Gather what the page carries: the nonce lets no script run but the page's own."""
    return {
        "nonce": secrets.token_urlsafe(16),
        "plotly_bundle": plotly_bundle,
        "plotly_version": plotly_version,
        "swap": inert_json(json.dumps(palette.SWAP)),
        "json_of": lambda chart: inert_json(chart.figure.to_json()),
        "case_color": palette.case_color,
        "case_dash": palette.case_dash,
        "dark_of": palette.SWAP.__getitem__,
        "version": __version__,
    }


def moment(stored: str) -> str:
    """Write a stored time as people read it; raises ValueError where it is none."""
    return datetime.fromisoformat(stored).strftime("%Y-%m-%d %H:%M %Z").strip()


# -- what a page carries inside, none of which can end a script ------------------------------------


def inert_json(text: str) -> Markup:
    """Make JSON safe inside a script element: no ``<`` is left that could end it."""
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704 (nothing in it can be read as markup any more)


def packed(text: str) -> Markup:
    """Compress a text and write it in letters that have no meaning in HTML."""
    squeezed = gzip.compress(text.encode(), compresslevel=9, mtime=0)
    return Markup(base64.b64encode(squeezed).decode())  # noqa: S704 (base64 has no markup)


@cache
def plotly_bundle() -> Markup:
    """Give plotly.js as the installed package ships it, gzipped and in base64: 2 MB, not 4.8."""
    return packed(get_plotlyjs())


def plotly_version() -> str:
    """Give the version of the plotly package, and of the plotly.js in it where that is told."""
    found = re.search(r"plotly\.js v([\d.]+)", get_plotlyjs()[:500])
    return f"plotly {plotly.__version__}" + (f" (plotly.js {found[1]})" if found else "")

"""Self-contained HTML: autoescaping templates and embedded data."""

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

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from llmbench import __version__
from llmbench.report import palette
from llmbench.report.table import split_shared

HOME = "/"
PLOTLY = Path(__file__).parent / "assets" / "plotly-cartesian.min.js.gz"
MANY = 30  # rows or cases; more scroll or are folded
LARGE_CELLS, LARGE_HEIGHT = 1000, 2400  # of a table, and of a chart in pixels; larger ones fold


def render_template(name: str, home: str, **content: Any) -> str:
    """Return a page's HTML from its template; ``home`` is the target of its back link."""
    return _templates().get_template(name).render(**_embedded(), home=home, **content)


def render_macro(name: str, *arguments: Any) -> str:
    """Return the HTML of a macro of macros.html.j2 with these arguments."""
    macros = _templates().get_template("macros.html.j2").module
    return str(getattr(macros, name)(*arguments))


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("llmbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sizes = {"many": MANY, "large_cells": LARGE_CELLS, "large_height": LARGE_HEIGHT}
    templates.globals.update(sizes, split_shared=split_shared)
    return templates


def _embedded() -> dict[str, Any]:
    """Return the variables of all templates; the nonce allows only the page's scripts to run."""
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
    """Format a stored ISO timestamp to the minute; raise ValueError if it is invalid."""
    return datetime.fromisoformat(stored).strftime("%Y-%m-%d %H:%M %Z").strip()


# -- embedded data, inert inside a script ---------------------------------------------------------


def inert_json(text: str) -> Markup:
    """Escape JSON for a script element, which a ``<`` could end."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 (no markup is left in it)


def packed(text: str) -> Markup:
    """Return a text gzipped and base64-encoded."""
    return _encoded(gzip.compress(text.encode(), compresslevel=9, mtime=0))


def _encoded(compressed: bytes) -> Markup:
    return Markup(base64.b64encode(compressed).decode())  # noqa: S704 (base64 has no markup)


@cache
def plotly_bundle() -> Markup:
    """Return plotly.js, gzipped and base64-encoded.

    It is the official partial bundle for Cartesian charts: 0.7 MB, where the whole takes 2 MB.
    """
    return _encoded(PLOTLY.read_bytes())


@cache
def plotly_version() -> str:
    """Return the name and version of the plotly.js bundle."""
    head = gzip.decompress(PLOTLY.read_bytes())[:200].decode()
    name, version = re.findall(r"(plotly\.js) .*v([\d.]+)", head)[0]
    return f"{name} {version}"

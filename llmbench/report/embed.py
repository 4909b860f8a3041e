"""What a page carries inside: plotly.js, figures and raw data, none of which can end a script."""

from __future__ import annotations

import base64
import gzip
import re
from dataclasses import dataclass
from functools import cache

import plotly
import pyarrow.compute as pc
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from llmbench.frames import RunSet as Frames
from llmbench.report.plain import as_csv
from llmbench.store import RunSet

__all__ = ["RawData", "inert_json", "plotly_bundle", "plotly_version", "raw_data"]

LIMIT_BYTES = 4 * 2**20
BYTES_PER_TOKEN = 4  # what a token's time takes at the least once it is packed


def inert_json(text: str) -> Markup:
    """Make JSON safe inside a script element: no ``<`` is left that could end it."""
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704 (nothing in it can be read as markup any more)


def _packed(text: str) -> Markup:
    """Compress a text and write it in letters that have no meaning in HTML."""
    squeezed = gzip.compress(text.encode(), compresslevel=9, mtime=0)
    return Markup(base64.b64encode(squeezed).decode())  # noqa: S704 (base64 has no markup)


@cache
def plotly_bundle() -> Markup:
    """Give plotly.js as the installed package ships it, gzipped and in base64: 2 MB, not 4.8."""
    return _packed(get_plotlyjs())


def plotly_version() -> str:
    """Give the version of the plotly package, and of the plotly.js in it where that is told."""
    found = re.search(r"plotly\.js v([\d.]+)", get_plotlyjs()[:500])
    return f"plotly {plotly.__version__}" + (f" (plotly.js {found[1]})" if found else "")


@dataclass(frozen=True, slots=True)
class RawData:
    """The records as packed CSV; ``packed`` is empty where they are too large for a page."""

    packed: Markup
    requests: int


def raw_data(run_set: RunSet) -> RawData:
    """Pack the record of every request, without the ids of answers, for download from the page."""
    measured = [run for run in run_set.runs if not run.failure]
    requests = sum(run.records.num_rows for run in measured)
    tokens = sum(pc.sum(run.records["output_tokens"]).as_py() or 0 for run in measured)
    if not requests or tokens * BYTES_PER_TOKEN > LIMIT_BYTES:
        return RawData(Markup(), requests)
    packed = _packed(as_csv(Frames(run_set).records.drop(columns="output_ids")))
    return RawData(packed if len(packed) <= LIMIT_BYTES else Markup(), requests)

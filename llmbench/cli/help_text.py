"""Help texts whose lines are kept as written where the terminal is wide enough."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator

HANGING = "    "  # before what continues an indented line
REMARK = re.compile(r"(?<=\S)\s{2,}")  # the gap before the remark about a command
SIDES = 2  # columns that argparse leaves free


class HelpFormatter(argparse.HelpFormatter):
    """Keeps the lines of descriptions and examples; wraps those that are too wide."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return textwrap.indent(fitted(text, width + SIDES), indent)


def fitted(text: str, width: int) -> str:
    """Return a text with its lines that are too wide wrapped, a remark on lines of its own."""
    return "\n".join(part for line in text.splitlines() for part in _wrapped(line, width))


def _wrapped(line: str, width: int) -> Iterator[str]:
    if len(line) <= width:
        yield line
        return
    indent = line[: len(line) - len(line.lstrip())]
    hanging = f"{indent}{HANGING}" if indent else ""
    first, *remarks = REMARK.split(line.strip(), maxsplit=1)
    wrapper = textwrap.TextWrapper(
        width, indent, hanging, break_long_words=False, break_on_hyphens=False
    )
    yield from wrapper.wrap(first)
    wrapper.initial_indent = hanging
    yield from (part for remark in remarks for part in wrapper.wrap(remark))

"""The console on stdout."""

from __future__ import annotations

import os
import sys

from rich.console import Console

AMPLE_WIDTH = 1000  # characters; no table is wider


def on_stdout(*, highlight: bool = True) -> Console:
    """Return the console on stdout, which wraps lines only on a terminal or to $COLUMNS."""
    is_wrapped = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=highlight, width=None if is_wrapped else AMPLE_WIDTH)

"""Logs on stderr, for ``--verbose`` and ``LLMBENCH_LOG``."""

from __future__ import annotations

import logging
import os
import sys

from llmbench.errors import InputError, shown
from llmbench.runs.redaction import redact

VARIABLE = "LLMBENCH_LOG"
LEVELS = ("debug", "info", "warning", "error", "critical")
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Stderr(logging.Handler):
    """Writes to the current stderr, which a live display replaces, without secrets."""

    def emit(self, record: logging.LogRecord) -> None:
        from llmbench.runs.remote import with_addresses

        print(redact(with_addresses(self.format(record))), file=sys.stderr, flush=True)


def set_up(*, verbose: bool) -> None:
    """Log from the level of $LLMBENCH_LOG, with ``verbose`` at least from info; else nothing.

    Raises InputError for an unknown level.
    """
    name = os.environ.get(VARIABLE, "").lower()
    if name and name not in LEVELS:
        raise InputError(f"{VARIABLE}: expected {', '.join(LEVELS)}, found {shown(name)}")
    levels = [logging.getLevelNamesMapping()[name.upper()]] if name else []
    levels += [logging.INFO] if verbose else []
    handler = _Stderr() if levels else logging.NullHandler()
    handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger("llmbench")
    logger.handlers[:] = [handler]
    logger.setLevel(min(levels, default=logging.CRITICAL))

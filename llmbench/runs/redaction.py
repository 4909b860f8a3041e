"""Redaction of secrets in everything that is stored or shown."""

from __future__ import annotations

import os
import re

_NAMES = re.compile(r"TOKEN|KEY|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 6  # shorter values would match common words


def is_secret(name: str) -> bool:
    """Return whether an environment variable is a secret, judging by its name."""
    return _NAMES.search(name) is not None


def redact(text: str) -> str:
    """Replace the values of secret environment variables in a text with ``***``."""
    for name, value in os.environ.items():
        if is_secret(name) and len(value) >= _SHORTEST:
            text = text.replace(value, "***")
    return text

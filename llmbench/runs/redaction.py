"""Keep secrets out of everything that is stored or shown."""

from __future__ import annotations

import os
import re

_NAMES = re.compile(r"TOKEN|KEY|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 6  # a shorter value would blot out common words


def is_secret(name: str) -> bool:
    """Tell from the name of a variable whether its value is redacted."""
    return _NAMES.search(name) is not None


def redact(text: str) -> str:
    """Replace the value of every secret-looking environment variable in a text by ``***``."""
    for name, value in os.environ.items():
        if is_secret(name) and len(value) >= _SHORTEST:
            text = text.replace(value, "***")
    return text

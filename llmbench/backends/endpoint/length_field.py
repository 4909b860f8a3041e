"""The request field with the number of tokens to generate, if a server wants another than was sent.

OpenAI's reasoning models: "Unsupported parameter: 'max_tokens' is not supported with this model.
Use 'max_completion_tokens' instead."
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from llmbench.backends.endpoint.answer import Answer

REJECTED = ("http-400", "http-422")
_IDENTIFIER = re.compile(r"[a-z]+(?:_[a-z]+|[A-Z][a-z]+)+")
_LENGTH = re.compile(r"token|length|predict", re.IGNORECASE)
_INSTEAD = re.compile(
    r"\b(?:use|instead|mean|replaced?|renamed?|deprecated|favou?r|expect(?:s|ed)?)\b", re.IGNORECASE
)


def other_length_field(answers: Iterable[Answer], sent: str | None) -> str | None:
    """Return the field that a rejection of ``sent`` names instead of it, or None."""
    if sent is None:
        return None
    names = (_named_instead(message, sent) for message in _rejections(answers))
    return next(filter(None, names), None)


def _named_instead(message: str, sent: str) -> str | None:
    if not _mentions(message, sent) or not _INSTEAD.search(message):
        return None
    names = (name for name in _IDENTIFIER.findall(message) if _LENGTH.search(name))
    return next((name for name in names if name != sent), None)


def rejects(answers: Iterable[Answer], field: str) -> bool:
    """Return whether the server rejects a field by its name."""
    return any(_mentions(message, field) for message in _rejections(answers))


def _rejections(answers: Iterable[Answer]) -> Iterator[str]:
    faults = (answer.fault for answer in answers)
    return (fault.message for fault in faults if fault and fault.kind in REJECTED)


def _mentions(message: str, field: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(field)}(?!\w)", message) is not None

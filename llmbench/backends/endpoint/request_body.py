"""The bytes of a request: everything that can be is made before the clock starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import msgspec

from llmbench.runs.request import Request

ROLES = ("user", "assistant")


@dataclass(frozen=True, slots=True)
class Payload:
    """Writes requests: ``head`` up to the content's length, and the ``body`` that all share."""

    head: bytes
    body: Mapping[str, Any]
    chat: bool

    def __call__(self, request: Request) -> bytes:
        """Write a request, head and body."""
        body = msgspec.json.encode({**self.body, **self._prompt(request)})
        return b"%bContent-Length: %d\r\n\r\n%b" % (self.head, len(body), body)

    def _prompt(self, request: Request) -> dict[str, Any]:
        told, said = {"max_tokens": request.max_new_tokens}, (*request.history, request.text or "")
        if self.chat:
            return {"messages": [*map(_message, cycle(ROLES), said)], **told}
        return {"prompt": "".join(said), **told}


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def head(path: str, headers: Mapping[str, str]) -> bytes:
    """Write the request line and the headers."""
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1")

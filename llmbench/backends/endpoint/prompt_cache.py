"""The prompt cache of a server: its state before a load, and hits that nobody asked for."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from llmbench import plugins
from llmbench.backends.endpoint.addresses import Address
from llmbench.backends.endpoint.fetch import fetch
from llmbench.backends.endpoint.reported_tokens import whole_count
from llmbench.errors import MeasurementError
from llmbench.runs.request import Request

SLOT = "{slot}"
TIMEOUT_SECONDS = 60.0
MAX_SLOTS = 4096
SALT_LETTERS, SALT_TOKENS = 8, 8  # the letters, and the most tokens that they can be


@dataclass(frozen=True, slots=True)
class Reset:
    """How a known server empties its prompt cache: a POST to a path.

    ``{slot}`` in the path is the number of each slot. ``arguments`` and ``environment`` are what
    the server has to be started with.
    """

    path: str
    arguments: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


RESETS = {
    "vllm": Reset("/reset_prefix_cache", environment={"VLLM_SERVER_DEV_MODE": "1"}),
    "sglang": Reset("/flush_cache"),
    "llama.cpp": Reset(f"/slots/{SLOT}?action=erase", arguments="--slot-save-path ."),
}


def _known_reset(reset: str) -> str:
    if reset not in RESETS and not reset.startswith("/"):
        raise ValueError(f"expected {', '.join(RESETS)}, or a URL path such as /reset_prefix_cache")
    return reset


class CacheOptions(plugins.Options):
    """``{prompts: unique, before: reset, prime: 0.5}``."""

    prompts: Literal["unique", "same"] = Field(
        default="unique",
        description="unique: no other run has sent these prompts; same: every case sends the same",
    )
    before: Literal["none", "reset"] = Field(
        default="none", description="reset: empty the server's prompt cache before each run"
    )
    reset: Annotated[str, AfterValidator(_known_reset)] | None = Field(
        default=None,
        description="vllm, sglang, llama.cpp, or a URL path to post to; default: as `preset`",
    )
    prime: float = Field(
        default=0.0, ge=0, le=1, description="share of the prompts sent once before the load"
    )

    @property
    def mode(self) -> str:
        """The mode of the cache as text; runs of different modes are not comparable."""
        reset = ["emptied before"] if self.before == "reset" else []
        primed = [f"{100 * self.prime:g} % primed"] if self.prime else []
        return ", ".join([f"{self.prompts} prompts", *reset, *primed])


# -- before the load -------------------------------------------------------------------------------


def empty(
    root: str, address: Address, path: str, headers: Mapping[str, str], tls: ssl.SSLContext | None
) -> None:
    """Empty the prompt cache of a server by a POST to a path below its root URL.

    Raises MeasurementError if the server refuses.
    """
    server = _Control(root, address, headers, tls)
    slots = server.slots() if SLOT in path else 1
    for slot in range(slots):
        server.ask("POST", path.replace(SLOT, str(slot)))


@dataclass(frozen=True, slots=True)
class _Control:
    """The paths of a server that are not OpenAI's."""

    root: str
    address: Address
    headers: Mapping[str, str]
    tls: ssl.SSLContext | None

    def slots(self) -> int:
        """Return llama.cpp's number of slots."""
        try:
            slots = whole_count(json.loads(self.ask("GET", "/props"))["total_slots"])
        except (ValueError, KeyError, TypeError, RecursionError):
            slots = None
        if slots is None or slots > MAX_SLOTS:
            raise MeasurementError(
                f"endpoint: cache: {self.root}/props has no `total_slots` up to {MAX_SLOTS}; set "
                "`cache.reset` to the path that empties the prompt cache of this server"
            )
        return slots

    def ask(self, method: str, path: str) -> bytes:
        """Return the body of a response; raise MeasurementError unless the status is 2xx."""
        url = f"{self.root}{path}"
        reply = fetch(
            url,
            self.address,
            method=method,
            headers=self.headers,
            tls=self.tls,
            seconds=TIMEOUT_SECONDS,
        )
        if reply.fault:
            reason = reply.fault
        elif reply.status is not None and 200 <= reply.status < 300:  # noqa: PLR2004 (RFC 9110)
            return reply.content
        else:
            reason = f"HTTP {reply.status}{': ' * bool(reply.words)}{reply.words}"
        raise MeasurementError(
            f"endpoint: cache: {method} {url}: {reason}; the prompt cache was not emptied: set "
            "`cache.reset` to the path of this server, start it with what the path needs "
            "(docs/endpoints.md), or remove `before: reset`"
        )


# -- after the load --------------------------------------------------------------------------------


def unasked_tokens(request: Request, prompt_tokens: int, cached: int, template: int) -> int:
    """Return how many cached tokens of a prompt nobody asked for.

    max(0, c − t − s − p · shared / n)

    where c is the number of ``cached`` tokens, t those of the chat ``template``, s the most tokens
    of a salt, whose first letters may be those of another, p the server's count of the prompt's
    tokens and n the requested one.
    """
    shared = prompt_tokens * request.shared // max(1, len(request.prompt))
    return max(0, cached - template - SALT_TOKENS - shared)

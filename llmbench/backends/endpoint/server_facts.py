"""What a server says about one response besides its token counts, read from whatever it sends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from llmbench.backends.endpoint.openai_types import Chunk
from llmbench.backends.endpoint.reported_tokens import member, whole_count

MAX_ID = 128  # characters
MAX_SECONDS = 1e6


@dataclass(slots=True)
class ServerFacts:
    """The server's own id, times and token details of one response; None if not reported.

    Times are in seconds. Sources: OpenAI's ``usage.completion_tokens_details``, SGLang's
    ``usage.reasoning_tokens``, vLLM's ``metrics`` (its server needs
    ``--enable-per-request-metrics``, the request ``include_metrics``) and llama.cpp's ``timings``.
    """

    response_id: str | None = None
    reasoning_tokens: int | None = None
    drafted_tokens: int | None = None
    accepted_tokens: int | None = None
    server_queue_seconds: float | None = None
    server_ttft_seconds: float | None = None
    server_prefill_seconds: float | None = None
    server_decode_seconds: float | None = None

    def add(self, chunk: Chunk) -> None:
        """Read one chunk; what it reports replaces what earlier ones did."""
        if self.response_id is None and isinstance(chunk.id, str):
            self.response_id = chunk.id[:MAX_ID]
        if chunk.usage or chunk.timings or chunk.metrics:
            for name, value in _reported(chunk).items():
                if value is not None:
                    setattr(self, name, value)

    def possible(self, output_tokens: int) -> dict[str, Any]:
        """Return the facts by name, without impossible counts for an output of that many tokens.

        Impossible are more reasoning tokens than output tokens, and more accepted tokens than
        drafted ones.
        """
        facts = {name: getattr(self, name) for name in self.__slots__}
        if (self.reasoning_tokens or 0) > output_tokens:
            facts["reasoning_tokens"] = None
        if (self.accepted_tokens or 0) > (self.drafted_tokens or 0):
            facts["drafted_tokens"] = facts["accepted_tokens"] = None
        return facts


def _reported(chunk: Chunk) -> dict[str, Any]:
    details = member(chunk.usage, "completion_tokens_details")
    reasoning = _first(member(details, "reasoning_tokens"), member(chunk.usage, "reasoning_tokens"))
    accepted = whole_count(member(details, "accepted_prediction_tokens"))
    rejected = whole_count(member(details, "rejected_prediction_tokens"))
    drafted = None if accepted is None or rejected is None else accepted + rejected
    timings, metrics = chunk.timings, chunk.metrics
    return {
        "reasoning_tokens": reasoning,
        "drafted_tokens": _first(member(timings, "draft_n"), drafted),
        "accepted_tokens": _first(member(timings, "draft_n_accepted"), accepted),
        "server_queue_seconds": _seconds(member(metrics, "queue_time_ms")),
        "server_ttft_seconds": _seconds(member(metrics, "time_to_first_token_ms")),
        "server_prefill_seconds": _seconds(member(timings, "prompt_ms")),
        "server_decode_seconds": _seconds(member(timings, "predicted_ms")),
    }


def _first(*counts: Any) -> int | None:
    """Return the first of several reported counts that is one."""
    return next((count for count in map(whole_count, counts) if count is not None), None)


def _seconds(milliseconds: Any) -> float | None:
    """Return a time that a server reports in milliseconds, in seconds; None if it is none."""
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return None
    seconds = milliseconds / 1e3
    return seconds if math.isfinite(seconds) and 0 <= seconds <= MAX_SECONDS else None

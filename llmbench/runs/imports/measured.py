"""Records of a load measured by another tool."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record

SENDING = "sending and not from the due time, so they exclude any wait before sending"
NO_TOKENS = "too-few-tokens"

Stamps = tuple[tuple[float, ...], tuple[int, ...]]
NOTHING: Stamps = ((), ())


@dataclass(frozen=True, slots=True)
class Measured:
    """One load of another tool: its records and metadata.

    ``kind`` is the tool in one word, ``tool`` its full name with the version if known, and
    ``since`` the moment from which latencies count. ``load`` describes the load, with scenario keys
    where they exist; ``point`` distinguishes several loads in one file.
    """

    kind: str
    tool: str
    began_at: str
    records: tuple[Record, ...]
    since: str = SENDING
    model: str | None = None
    load: dict[str, Any] = field(default_factory=dict)
    point: dict[str, Any] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()


def with_version(tool: str, version: str | None) -> str:
    """Return the name of a tool with its version, if known."""
    return f"{tool} {version}" if version else tool


def as_moment(seconds: float) -> str:
    """Return a Unix time in seconds as ISO 8601 text (UTC)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


# -- stamps and the tokens that came with them -----------------------------------------------------


def chunks(times: Sequence[float], tokens: int) -> Stamps:
    """Return the times and token counts of chunks, dividing ``tokens`` evenly among them."""
    bounds = [tokens * index // len(times) for index in range(len(times) + 1)]
    return tuple(times), tuple(after - before for before, after in pairwise(bounds))


def first_and_last(first: float, last: float, count: int, tokens: int) -> Stamps:
    """Return times and token counts of ``count`` chunks; only the first and last time are known.

    The chunks between them become one entry with time NaN, because an unmeasured gap is not an
    inter-token latency.
    """
    if count <= 1:
        return (first,), (tokens,)
    at_first = min(1, tokens)
    if count == 2:  # noqa: PLR2004 (none between them)
        return (first, last), (at_first, tokens - at_first)
    at_last = min(1, tokens - at_first)
    return (first, math.nan, last), (at_first, tokens - at_first - at_last, at_last)


def uneven(records: Sequence[Record]) -> tuple[Caveat, ...]:
    """Return a caveat if a successful response has chunks that are not single tokens."""
    answered = [record.token_counts for record in records if record.succeeded]
    count = sum(set(counts) != {1} for counts in answered)
    return (Caveat("uneven-chunks", answers=count, total=len(answered)),) if count else ()

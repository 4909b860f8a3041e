"""A load measured by another tool, and helpers to construct its records."""

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
NO_TOKENS = "too-few-tokens"  # the error kind of a response without tokens

Chunks = tuple[tuple[float, ...], tuple[int, ...]]  # times and token counts
NO_CHUNKS: Chunks = ((), ())


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


def after(moment: float | None, origin: float) -> float | None:
    """Return the seconds from ``origin`` to a moment, or None if the moment is unknown."""
    return None if moment is None else moment - origin


def as_moment(seconds: float) -> str:
    """Return a Unix time in seconds as ISO 8601 text (UTC)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


# -- chunks: their times and token counts ----------------------------------------------------------


def even_chunks(times: Sequence[float], tokens: int) -> Chunks:
    """Return chunks at the given times, with ``tokens`` divided evenly among them."""
    bounds = [tokens * index // len(times) for index in range(len(times) + 1)]
    return tuple(times), tuple(after - before for before, after in pairwise(bounds))


def first_and_last(first: float, last: float, count: int, tokens: int) -> Chunks:
    """Return ``count`` chunks of which only the first and the last time are known.

    Those between them become one chunk with time NaN, so that no inter-token latency is made up.
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

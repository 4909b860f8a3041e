"""A load that another tool measured, as records."""

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

    ``kind`` is the tool in one word, ``tool`` its full name with the version where it is known;
    ``since`` is from when latencies count. ``load`` describes the load with the keys of a scenario
    where they exist, ``point`` which of several loads in one file it is.
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
    """Return the name of a tool with its version, where it is known."""
    return f"{tool} {version}" if version else tool


def as_moment(seconds: float) -> str:
    """Return a Unix time in ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


# -- stamps and the tokens that came with them -----------------------------------------------------


def chunks(times: Sequence[float], tokens: int) -> Stamps:
    """Return the stamps of chunks whose times are all known, with tokens divided evenly."""
    bounds = [tokens * index // len(times) for index in range(len(times) + 1)]
    return tuple(times), tuple(after - before for before, after in pairwise(bounds))


def first_and_last(first: float, last: float, count: int, tokens: int) -> Stamps:
    """Return the stamps of ``count`` chunks with only the first and the last time known.

    The chunks between them are one entry at NaN: an unmeasured gap is not an inter-token latency.
    """
    if count <= 1:
        return (first,), (tokens,)
    at_first = min(1, tokens)
    if count == 2:  # noqa: PLR2004 (none between them)
        return (first, last), (at_first, tokens - at_first)
    at_last = min(1, tokens - at_first)
    return (first, math.nan, last), (at_first, tokens - at_first - at_last, at_last)


def uneven(records: Sequence[Record]) -> tuple[Caveat, ...]:
    """Return the caveat on answers whose chunks are not one token each, if there are any."""
    answered = [record.token_counts for record in records if record.succeeded]
    count = sum(set(counts) != {1} for counts in answered)
    return (Caveat("uneven-chunks", answers=count, total=len(answered)),) if count else ()

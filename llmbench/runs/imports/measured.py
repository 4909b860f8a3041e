"""A load measured by another tool, and helpers to construct its records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np

from llmbench.runs.caveats import Caveat
from llmbench.runs.record import Record

SENDING = "sending and not from the due time, so they exclude any wait before sending"
FROM_SENDING = ("ttft", "service_ttft")  # equal if latencies count from sending
PERCENTILES = (50, 90, 95, 99)
MILLISECOND = 1e-3
NO_TOKENS = "too-few-tokens"  # the error kind of a response without tokens

Chunks = tuple[tuple[float, ...], tuple[int, ...]]  # times and token counts
NO_CHUNKS: Chunks = ((), ())


Values = dict[str, tuple[float, int]]  # by metric: the value and its sample size (0: unknown)


@dataclass(frozen=True, slots=True)
class Summary:
    """The metrics of a load whose requests the tool did not store, and how to store them."""

    values: Values
    requests: int | None
    remedy: str


@dataclass(frozen=True, slots=True)
class Measured:
    """One load of another tool: its records, or a summary without requests, and metadata.

    ``kind`` is the tool in one word, ``tool`` its full name with the version if known, and
    ``since`` the moment from which latencies count. ``load`` describes the load, with scenario keys
    where they exist; ``parts`` has further parts of a scenario, such as the workload, and
    ``environment`` what is known of the machine. ``point`` distinguishes several loads in one file.
    """

    kind: str
    tool: str
    began_at: str
    records: tuple[Record, ...] = ()
    summary: Summary | None = None
    since: str = SENDING
    model: str | None = None
    load: dict[str, Any] = field(default_factory=dict)
    point: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()


def after(moment: float | None, origin: float) -> float | None:
    """Return the seconds from ``origin`` to a moment, or None if the moment is unknown."""
    return None if moment is None else moment - origin


def as_moment(seconds: float) -> str:
    """Return a Unix time in seconds as ISO 8601 text (UTC)."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def point_of(load: dict[str, Any]) -> dict[str, Any]:
    """Return a load's rate (to four digits), concurrency or kind as a sweep point."""
    key = next(key for key in ("rate", "concurrency", "kind") if key in load)
    return {f"load.{key}": float(f"{load[key]:.4g}") if key == "rate" else load[key]}


def varying(settings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return of each load the settings in which the loads of a file differ, as its sweep point."""
    keys = list(dict.fromkeys(key for each in settings for key in each))
    differing = [key for key in keys if len({str(each.get(key)) for each in settings}) > 1]
    return [{key: each[key] for key in differing if key in each} for each in settings]


# -- summaries -------------------------------------------------------------------------------------


def latency(
    names: Sequence[str], statistics: Mapping[str, float | None], n: int, unit: float = 1.0
) -> Values:
    """Return the known statistics (p50, mean) of a latency under each of its names, in seconds.

    ``unit`` is that of the statistics in seconds. Tools report 0 where they measured nothing.
    """
    return {
        f"{name}_{statistic}": (value * unit, n)
        for name in names
        for statistic, value in statistics.items()
        if value
    }


def statistics(values: Sequence[float]) -> dict[str, float | None]:
    """Return the statistics of values, with percentiles by linear interpolation; none of none."""
    if not values:
        return {}
    percentiles = {f"p{p}": float(np.percentile(values, p)) for p in PERCENTILES}
    return {"mean": float(np.mean(values)), **percentiles}


def known(values: Mapping[str, tuple[float | None, int | None]]) -> Values:
    """Return the values that are known, with unknown sample sizes as 0."""
    return {key: (float(value), n or 0) for key, (value, n) in values.items() if value is not None}


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

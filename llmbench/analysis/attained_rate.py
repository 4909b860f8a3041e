"""Whether requests are answered at the rate that an open loop asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc

from llmbench.analysis.metrics.record_arrays import RecordArrays, flat_times, floats, rows, within

BEHIND = 0.1  # of the requests that are due
FEWEST = 10  # requests, since those in flight vary


@dataclass(frozen=True, slots=True)
class AttainedRate:
    """The requests per second that the load asked for and that were answered."""

    asked: float
    answered: float
    keeps_up: bool


def asked_rate(load: Mapping[str, Any]) -> float | None:
    """Return the rate of a load with a constant mean rate; None for every other load."""
    rate = load.get("rate")
    return float(rate) if isinstance(rate, int | float) else None


def keeps_up(processes: Sequence[RecordArrays]) -> bool:
    """Return whether requests finish as fast as they are due, in the second half of the windows.

    g = d − f, where d requests are due and f finish there, in all processes: the requests in flight
    grow by g. It keeps up if g is at most BEHIND of d or less than FEWEST.
    """
    counts = [_in_second_half(arrays) for arrays in processes if arrays.window]
    due, finished = (sum(part) for part in zip(*counts, strict=True)) if counts else (0, 0)
    return due - finished < max(BEHIND * due, FEWEST)


def _in_second_half(arrays: RecordArrays) -> tuple[int, int]:
    """Return the requests that are due and that end in the second half of the steady window.

    One that its user abandons ends then, since it is no longer in flight.
    """
    assert arrays.window  # noqa: S101 (asked by the caller)
    begin, end = arrays.window
    half = (begin + end) / 2, end
    answered = rows(arrays.all, pc.greater(pc.list_value_length(arrays.all["token_times"]), 0))
    times, ends = flat_times(answered)
    given_up = floats(answered["abandoned_at"])
    last = np.where(np.isnan(given_up), times[ends - 1], given_up)
    unanswered = rows(arrays.all, pc.equal(pc.list_value_length(arrays.all["token_times"]), 0))
    ended = np.r_[last, floats(unanswered["abandoned_at"])]
    due = within(floats(arrays.measured["due"]), *half)
    return int(due.sum()), int(within(ended, *half).sum())

"""The records of a run as arrays: when what happened to its requests."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmbench.runs.record import SUCCEEDED

Floats = NDArray[np.float64]


class RecordArrays:
    """The records of a run as arrays; latencies cover the measured requests that succeeded.

    All times in seconds. ``itl`` pools every gap between chunks; each other latency has one
    entry a request.
    """

    def __init__(self, records: pa.Table) -> None:
        self.all = records.combine_chunks()
        self.measured = rows(self.all, pc.equal(self.all["phase"], "measured"))
        self.good = rows(self.measured, succeeded(self.measured))

    @cached_property
    def _first(self) -> Floats:
        return floats(pc.list_element(self.good["token_times"], 0))

    @cached_property
    def _last(self) -> Floats:
        flat, ends = flat_times(self.good)
        return flat[ends - 1] if len(ends) else flat

    @cached_property
    def ttft(self) -> Floats:
        """First token less due time."""
        return self._first - floats(self.good["due"])

    @cached_property
    def service_ttft(self) -> Floats:
        """First token less the time it was sent."""
        return self._first - floats(self.good["sent"])

    @cached_property
    def content_ttft(self) -> Floats:
        """First token that is not reasoning less due time; NaN where nothing tells them apart."""
        return floats(self.good["first_content"]) - floats(self.good["due"])

    @cached_property
    def queue_time(self) -> Floats:
        """Start of work less due time; NaN where the backend does not tell."""
        return floats(self.good["started"]) - floats(self.good["due"])

    @cached_property
    def e2e(self) -> Floats:
        """Last token less due time."""
        return self._last - floats(self.good["due"])

    @cached_property
    def send_lag(self) -> Floats:
        """Time sent less due time, of every measured request."""
        return floats(self.measured["sent"]) - floats(self.measured["due"])

    @cached_property
    def idle_lag(self) -> Floats:
        """The part of the send lag of each measured request in which no step was under way.

        A local engine takes requests in between two steps, each of which ends with a stamp; only
        what passes after that, or after the due time where this is later, is the harness's own.
        """
        flat, _ = flat_times(self.all)
        stamps = np.append(-np.inf, np.sort(flat[~np.isnan(flat)]))
        sent, due = floats(self.measured["sent"]), floats(self.measured["due"])
        last = stamps[np.searchsorted(stamps, sent, side="right") - 1]
        lag: Floats = sent - np.maximum(due, last)
        return lag

    @cached_property
    def tpot(self) -> Floats:
        """Mean time per output token after the first; NaN where all tokens came at one moment."""
        tokens = floats(self.good["output_tokens"])
        several = (tokens > 1) & (floats(pc.list_value_length(self.good["token_times"])) > 1)
        tpot = np.full(len(tokens), np.nan)
        tpot[several] = (self._last - self._first)[several] / (tokens[several] - 1)
        return tpot

    @cached_property
    def itl(self) -> Floats:
        """Every gap between a chunk and the one before it, requests pooled."""
        flat, ends = flat_times(self.good)
        gaps = np.diff(flat)
        return np.delete(gaps, ends[:-1] - 1)

    @cached_property
    def window(self) -> tuple[float, float] | None:
        """The steady window: from the first to the last due time of the measured requests.

        None where they were all due at one moment.
        """
        due = floats(self.measured["due"])
        if not len(due) or due.min() == due.max():
            return None
        return float(due.min()), float(due.max())

    @cached_property
    def makespan(self) -> tuple[float, float] | None:
        """From the first due time to the last token of the measured requests."""
        flat, _ = flat_times(self.measured)
        return (
            (float(floats(self.measured["due"]).min()), float(np.nanmax(flat)))
            if len(flat)
            else None
        )

    @cached_property
    def longest_gap(self) -> Floats:
        """Longest gap between two chunks; NaN where a request has one chunk only."""
        flat, ends = flat_times(self.good)
        if not len(ends):
            return flat
        starts = np.r_[0, ends[:-1]]
        gaps = np.diff(flat, prepend=np.nan)
        gaps[starts] = -np.inf
        longest = np.maximum.reduceat(gaps, starts)
        return np.where(np.isinf(longest), np.nan, longest)


def succeeded(table: pa.Table) -> pa.ChunkedArray:
    """Tell which requests were answered as they should be."""
    return pc.is_in(table["finish"], pa.array(SUCCEEDED))


def rows(table: pa.Table, mask: pa.ChunkedArray) -> pa.Table:
    """Keep some rows of a table, without a copy where they stand together."""
    places = np.flatnonzero(mask.to_numpy())
    if len(places) and places[-1] - places[0] == len(places) - 1:
        return table.slice(int(places[0]), len(places))
    return table.filter(mask)


def floats(column: pa.ChunkedArray) -> Floats:
    """Give a column as numbers, NaN where there is none."""
    return np.asarray(column.to_numpy(), dtype=np.float64)


def flat_times(table: pa.Table) -> tuple[Floats, NDArray[np.int64]]:
    """Give all token times in one array, and where each request's part ends."""
    times = table["token_times"]
    ends = np.cumsum(floats(pc.list_value_length(times))).astype(np.int64)
    return floats(pc.list_flatten(times)), ends


def filled(times: Floats) -> Floats:
    """Put stamps that are not known evenly between those beside them."""
    unknown = np.isnan(times)
    if not unknown.any() or unknown.all():
        return times
    known = np.flatnonzero(~unknown)
    return np.interp(np.arange(len(times)), known, times[known])


def within(times: Floats, begin: float, end: float) -> NDArray[np.bool_]:
    """Tell which times lie in a window; its end does not."""
    return (times >= begin) & (times < end)

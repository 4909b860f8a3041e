"""A server's own metrics in the steady window, from the readings of the collector `server`.

docs/servers.md explains what they mean and when they are unavailable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmbench.analysis.stats import Floats
from llmbench.analysis.values import NO_WINDOW, Value, series_mean, unavailable
from llmbench.errors import Unavailable
from llmbench.runs.run import Run

NOT_COLLECTED = "the scenario does not collect `server`"
LEAST_COVERED = 0.8  # of the window, between its first and last reading
LONGEST_GAP = 2.5  # intervals between two readings

LATENCIES = {
    "server_ttft": ("server TTFT", "ttft"),
    "server_queue_time": ("server queue time", "queue_time"),
    "server_prefill_time": ("server prefill time", "prefill_time"),
    "server_decode_time": ("server decode time", "decode_time"),
}
PERCENTILES = (50, 90, 99)
SHARES = {
    "server_prefix_cache_hit_share": ("prefix_cache_hits", "prefix_cache_queries"),
    "server_draft_acceptance": ("accepted_tokens", "draft_tokens"),
}
MEANS = {
    "server_running_mean": ("server_running", 1.0),
    "server_waiting_mean": ("server_waiting", 1.0),
    "server_kv_cache_mean": ("server_kv_cache_percent", 0.01),
}
PREEMPTIONS = "server_preemptions"
KEYS = (
    *(f"{key}_p{percent}" for key in LATENCIES for percent in PERCENTILES),
    *SHARES,
    *MEANS,
    PREEMPTIONS,
)

Window = tuple[float, float]


def server_metrics(run: Run, window: Window | None) -> dict[str, Value]:
    """Return the metrics of KEYS within a window; the server may have had other clients too."""
    if "server" not in run.facts:
        return unavailable(KEYS, NOT_COLLECTED)
    if window is None:
        return unavailable(KEYS, NO_WINDOW)
    means = {key: _mean(run, window, *source) for key, source in MEANS.items()}
    try:
        rises = _Rises(run, window)
    except Unavailable as reason:
        return unavailable(KEYS, str(reason)) | means
    shares = {key: rises.share(*counters) for key, counters in SHARES.items()}
    percentiles = {
        f"{key}_p{percent}": rises.percentile(name, percent)
        for key, (_, name) in LATENCIES.items()
        for percent in PERCENTILES
    }
    return {**percentiles, **shares, **means, PREEMPTIONS: rises.count("preemptions")}


def _mean(run: Run, window: Window, name: str, scale: float) -> Value:
    series = next((series for series in run.series if series.name == name), None)
    if series is None:
        return Value.unavailable("the server's preset has no such metric")
    mean = series_mean(series, window)
    return mean if mean.value is None else Value(mean.value * scale, mean.n)


class _Rises:
    """The increases of counters and histograms between the first and last reading in a window."""

    def __init__(self, run: Run, window: Window) -> None:
        facts = run.facts["server"]
        self._rises: Mapping[str, Any] = facts.get("rises", {})
        self._first, self._last = _readings(_times(run), window, facts["interval"])

    def _increments(self, name: str) -> Floats:
        """Return (reading, bucket, increase) of the window; raises Unavailable without them."""
        facts = self._rises.get(name, {"unavailable": "the server's preset has no such metric"})
        if reason := facts.get("unavailable"):
            raise Unavailable(reason)
        rows = np.array(facts["increments"], float).reshape(-1, 3)
        return rows[(rows[:, 0] > self._first) & (rows[:, 0] <= self._last)]

    def count(self, name: str) -> Value:
        """Return the increase of a counter."""
        try:
            return Value(float(self._increments(name)[:, 2].sum()), 1)
        except Unavailable as reason:
            return Value.unavailable(str(reason))

    def share(self, part: str, whole: str) -> Value:
        """Return the increase of one counter divided by that of another."""
        parts, wholes = self.count(part), self.count(whole)
        if parts.value is None or wholes.value is None:
            return Value.unavailable(str(parts.reason or wholes.reason))
        if not wholes.value:
            return Value.unavailable("the server counted nothing in the steady window")
        return Value(parts.value / wholes.value, int(wholes.value))

    def percentile(self, name: str, percent: float) -> Value:
        """Return a percentile of a histogram, interpolated within a bucket."""
        try:
            rows = self._increments(name)
            bounds = self._rises[name]["bounds"]
            buckets = rows[:, 1].astype(int)
            counts = np.bincount(buckets, rows[:, 2], len(bounds) + 1).astype(float)
            return Value(histogram_quantile(percent / 100, bounds, counts), int(counts.sum()))
        except Unavailable as reason:
            return Value.unavailable(str(reason))


def _times(run: Run) -> Floats:
    """Return the times of the readings, which the increments count."""
    name = "server_reading_seconds"
    series = next((series for series in run.series if series.name == name), None)
    if series is None or not series.available:
        raise Unavailable((series and series.why_unavailable) or "there is no reading")
    return series.times


def _readings(times: Floats, window: Window, interval: float) -> tuple[int, int]:
    """Return the numbers of the first and last reading in a window, if they cover it."""
    begin, end = window
    inside = np.flatnonzero((times >= begin) & (times < end))
    covered = float(times[inside[-1]] - times[inside[0]]) if len(inside) else 0.0
    if len(inside) < 2 or covered < LEAST_COVERED * (end - begin):  # noqa: PLR2004 (a difference)
        raise Unavailable(
            f"sampling_gap: {len(inside)} readings cover {covered:.2f} s of the {end - begin:.2f} s"
            " window; measure longer, or set a shorter `interval`"
        )
    longest = float(np.diff(times[inside]).max())
    if longest > LONGEST_GAP * interval:
        raise Unavailable(f"sampling_gap: there was no reading for {longest:.2f} s in the window")
    return int(inside[0]), int(inside[-1])


def histogram_quantile(
    q: float, bounds: Sequence[float], counts: Sequence[float] | Floats
) -> float:
    """Return the q-quantile of a histogram, interpolated linearly within its bucket.

    x = a + (b − a) (q n − c) / k

    where n is the number of observations, b the upper bound of the first bucket up to which there
    are q n or more, k their number in this bucket, c the number below it, and a the bucket's lower
    bound: the previous bucket's upper bound, or 0 for a first bucket with b > 0. A first bucket
    with b ≤ 0 gives b. ``counts`` has one more element than ``bounds``: the observations above the
    last bound, where a quantile is unavailable. Source: Prometheus, `histogram_quantile`.
    """
    cumulative = np.cumsum(np.asarray(counts, float))
    total = float(cumulative[-1])
    if not total > 0:
        raise Unavailable("the server counted nothing in the steady window")
    rank = q * total
    bucket = min(int(np.searchsorted(cumulative, rank, side="left")), len(bounds))
    if bucket == len(bounds):
        last = f"{bounds[-1]:g}" if len(bounds) else "-inf"
        raise Unavailable(f"above the histogram's last bound: more than {last} s")
    upper, below = bounds[bucket], float(cumulative[bucket - 1]) if bucket else 0.0
    if bucket == 0 and upper <= 0:
        return upper
    lower = bounds[bucket - 1] if bucket else 0.0
    inside = float(cumulative[bucket]) - below
    return lower + (upper - lower) * ((rank - below) / inside if inside else 0.0)

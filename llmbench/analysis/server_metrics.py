"""A server's own metrics in the steady window, from the readings of the collector `server`.

docs/servers.md explains what they mean and when they are unavailable.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llmbench.analysis.stats import Floats
from llmbench.analysis.values import NO_WINDOW, Value, series_mean, unavailable
from llmbench.errors import Unavailable
from llmbench.runs.run import Run

SERVER = re.compile(r"server\d*")  # the keys of facts
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


def servers(run: Run) -> dict[str, Any]:
    """Return the facts of each server whose metrics were read, by the begin of its series' names.

    They are server, server2 and so on.
    """
    return {name: facts for name, facts in run.facts.items() if SERVER.fullmatch(name)}


def only_server(run: Run, name: str) -> Run:
    """Return a run without the facts of all servers but one."""
    others = servers(run).keys() - {name}
    return replace(run, facts={key: run.facts[key] for key in run.facts if key not in others})


def server_metrics(run: Run, window: Window | None) -> dict[str, Value]:
    """Return the metrics of KEYS within a window, of all servers together.

    Requests, counts and histograms are sums over the servers, the used part of the KV cache is
    their mean. The servers may have had other clients too.
    """
    names = servers(run)
    if not names:
        return unavailable(KEYS, NOT_COLLECTED)
    if window is None:
        return unavailable(KEYS, NO_WINDOW)
    means = {key: _mean(run, names, window, key) for key in MEANS}
    try:
        rises = _AllRises([_Rises(run, name, window) for name in names])
    except Unavailable as reason:
        return unavailable(KEYS, str(reason)) | means
    shares = {key: rises.share(*counters) for key, counters in SHARES.items()}
    percentiles = {
        f"{key}_p{percent}": rises.percentile(name, percent)
        for key, (_, name) in LATENCIES.items()
        for percent in PERCENTILES
    }
    return {**percentiles, **shares, **means, PREEMPTIONS: rises.count("preemptions")}


def _mean(run: Run, names: Collection[str], window: Window, key: str) -> Value:
    """Return the sum of the servers' means of a gauge; of parts of a KV cache, the mean."""
    source, scale = MEANS[key]
    means = [_mean_of(run, f"{name}{source.removeprefix('server')}", window) for name in names]
    missing = next((mean for mean in means if mean.value is None), None)
    if missing:
        return missing
    total = scale * sum(mean.value or 0.0 for mean in means)
    is_part = key == "server_kv_cache_mean"
    return Value(total / len(means) if is_part else total, min(mean.n for mean in means))


def _mean_of(run: Run, name: str, window: Window) -> Value:
    series = next((series for series in run.series if series.name == name), None)
    if series is None:
        return Value.unavailable("the server's preset has no such metric")
    return series_mean(series, window)


class _Rises:
    """The increases of one server's counters and histograms in a window.

    They are those between the first and the last reading in the window.
    """

    def __init__(self, run: Run, name: str, window: Window) -> None:
        facts = run.facts[name]
        self._rises: Mapping[str, Any] = facts.get("rises", {})
        self._first, self._last = _readings(_times(run, name), window, facts["interval"])

    def increments(self, name: str) -> Floats:
        """Return (reading, bucket, increase) of the window; raises Unavailable without them."""
        facts = self._rises.get(name, {"unavailable": "the server's preset has no such metric"})
        if reason := facts.get("unavailable"):
            raise Unavailable(reason)
        rows = np.array(facts["increments"], float).reshape(-1, 3)
        return rows[(rows[:, 0] > self._first) & (rows[:, 0] <= self._last)]

    def bounds(self, name: str) -> list[float]:
        """Return the finite upper bounds of a histogram's buckets."""
        bounds: list[float] = self._rises[name]["bounds"]
        return bounds


class _AllRises:
    """The increases of all servers together; unavailable if those of one are."""

    def __init__(self, servers: Sequence[_Rises]) -> None:
        self._servers = servers

    def _increments(self, name: str) -> Floats:
        return np.concatenate([server.increments(name) for server in self._servers])

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
            bounds = self._bounds(name)
            buckets = rows[:, 1].astype(int)
            counts = np.bincount(buckets, rows[:, 2], len(bounds) + 1).astype(float)
            return Value(histogram_quantile(percent / 100, bounds, counts), int(counts.sum()))
        except Unavailable as reason:
            return Value.unavailable(str(reason))

    def _bounds(self, name: str) -> list[float]:
        """Return the bounds of a histogram, which must be the same on all servers."""
        first, *others = (server.bounds(name) for server in self._servers)
        if any(bounds != first for bounds in others):
            raise Unavailable("the servers' histograms have different buckets")
        return first


def _times(run: Run, server: str) -> Floats:
    """Return the times of a server's readings, which the increments count."""
    name = f"{server}_reading_seconds"
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

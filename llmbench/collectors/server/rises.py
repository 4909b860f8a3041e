"""Increases of counters and histograms between readings; never negative."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from llmbench.collectors.server.exposition import Labels, Sample
from llmbench.errors import Unavailable

BOUND = "le"
MOST_BUCKETS = 1000
MOST = 1e18  # of a count

Key = tuple[Labels, float]  # labels without ``le``, and the bucket's upper bound (inf: a counter)


class Rises:
    """The increases of one counter or histogram, summed over its label sets.

    A label set that appears during the run counts from 0. Once a label set decreases, disappears or
    is not a number, all increases are ``unavailable`` for this reason.
    """

    def __init__(self, *, is_histogram: bool) -> None:
        self._is_histogram = is_histogram
        self._last: dict[Key, float] | None = None
        self.bounds: list[float] = []
        self.increments: list[list[float]] = []  # reading, bucket (of histograms), increase
        self.unavailable: str | None = None

    def take(self, reading: int, samples: Iterable[Sample], scale: float = 1.0) -> float | None:
        """Take the samples of a reading; return the increase of a counter, or of all buckets.

        None for the first reading, and if the increases are unavailable.
        """
        if self.unavailable:
            return None
        try:
            values = self._values(samples, scale)
            rises = None if self._last is None else _rises(self._last, values)
        except Unavailable as reason:
            self.unavailable = str(reason)
            return None
        self._last = values
        if rises is None:
            return None
        return self._store(reading, rises)

    @property
    def is_known(self) -> bool:
        """Whether the server had the metric in a reading."""
        return self._last is not None

    def restart(self) -> None:
        """Make all increases unavailable, since the server process restarted."""
        self.unavailable = self.unavailable or "counter_reset: the server restarted during the run"

    def _values(self, samples: Iterable[Sample], scale: float) -> dict[Key, float]:
        values: dict[Key, float] = {}
        for sample in samples:
            key, value = self._key(sample, scale), sample.value
            if not 0 <= value <= MOST:  # also if it is not a number
                raise Unavailable(f"{sample.metric} is {value:g}, which is not a count")
            values[key] = values.get(key, 0.0) + (value if self._is_histogram else value * scale)
        self._check_bounds(values)
        return values

    def _key(self, sample: Sample, scale: float) -> Key:
        if not self._is_histogram:
            return sample.labels, math.inf
        labels = dict(sample.labels)
        try:
            bound = float(labels.pop(BOUND))
        except (KeyError, ValueError):
            bound = math.nan
        if math.isnan(bound):
            raise Unavailable(f"{sample.metric} is not a histogram with buckets")
        return frozenset(labels.items()), bound * scale

    def _check_bounds(self, values: Mapping[Key, float]) -> None:
        """Check that all label sets have the same buckets, as in earlier readings."""
        of_labels: dict[Labels, list[float]] = {}
        for labels, bound in values:
            of_labels.setdefault(labels, []).append(bound)
        for bounds in map(sorted, of_labels.values()):
            self.bounds = self.bounds or bounds
            if bounds != self.bounds or bounds[-1] != math.inf or len(bounds) > MOST_BUCKETS:
                raise Unavailable("its label sets have different buckets, or no last one")

    def _store(self, reading: int, rises: Mapping[Key, float]) -> float:
        """Store the increase of each bucket without those below it; return that of all."""
        cumulative = dict.fromkeys(self.bounds, 0.0)
        for (_, bound), rise in rises.items():
            cumulative[bound] += rise
        below = 0.0
        for bucket, bound in enumerate(self.bounds):
            rise = cumulative[bound] - below
            if rise > 0:  # less if the server updated the buckets while it wrote them
                self.increments.append([reading, bucket, rise])
                below = cumulative[bound]
        return below

    def facts(self) -> dict[str, Any]:
        """Return the increases as plain data, with the buckets' finite upper bounds."""
        if self.unavailable or self._last is None:
            return {"unavailable": self.unavailable or "the server has no such metric"}
        return {"bounds": self.bounds[:-1], "increments": self.increments}


def _rises(last: Mapping[Key, float], values: Mapping[Key, float]) -> dict[Key, float]:
    if last.keys() - values.keys():
        raise Unavailable("counter_reset: a label set disappeared during the run")
    rises = {key: value - last.get(key, 0.0) for key, value in values.items()}
    if any(rise < 0 for rise in rises.values()):
        raise Unavailable("counter_reset: the counter decreased during the run")
    return rises

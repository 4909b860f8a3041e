"""Live metrics of a campaign: rates, running percentiles, and the estimated time left."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean

from llmbench.analysis.stats import min_samples_for_percentile, percentile
from llmbench.loads.progress import NOTHING_YET, Progress
from llmbench.units import format_duration

RATE_SECONDS = 10.0
RESERVOIR = 2000
PERCENTS = (50, 99)


class Reservoir:
    """A bounded uniform sample of a stream of values (Vitter 1985, algorithm R)."""

    def __init__(self, size: int = RESERVOIR) -> None:
        self._rng = random.Random(0)  # noqa: S311 (no secret)
        self._size = size
        self._kept: list[float] = []
        self.seen = 0

    def add(self, values: Iterable[float]) -> None:
        """Add the next values of the stream; each may replace one in the sample."""
        for value in values:
            self.seen += 1
            if len(self._kept) < self._size:
                self._kept.append(value)
            elif (index := self._rng.randrange(self.seen)) < self._size:
                self._kept[index] = value

    def __str__(self) -> str:
        """Return p50 and p99 as text; a dagger marks a percentile with too few samples."""
        values = list(self._kept)  # a copy: another thread may add values
        return ", ".join(_percentile(values, percent) for percent in PERCENTS) if values else "—"


def _percentile(values: list[float], percent: int) -> str:
    dagger = " †" if len(values) < min_samples_for_percentile(percent) else ""
    return f"p{percent} {format_duration(percentile(values, percent))}{dagger}"


@dataclass(slots=True)
class LiveMetrics:
    """Live metrics of the current run: its progress, recent token rate and latencies."""

    progress: Progress = NOTHING_YET
    ttft: Reservoir = field(default_factory=Reservoir)
    itl: Reservoir = field(default_factory=Reservoir)
    _points: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, progress: Progress) -> None:
        """Update the metrics with the run's latest progress report."""
        self.progress = progress
        self.ttft.add(progress.ttft_seconds)
        self.itl.add(progress.itl_seconds)
        if progress.at is not None and progress.output_tokens is not None:
            self._points.append((progress.at, progress.output_tokens))
            while len(self._points) > 2 and self._points[1][0] <= progress.at - RATE_SECONDS:  # noqa: PLR2004 (a rate needs two)
                self._points.popleft()

    @property
    def output_tokens_per_second(self) -> float | None:
        """The output token rate over the last RATE_SECONDS; None before two progress reports."""
        if len(self._points) < 2:  # noqa: PLR2004 (the same)
            return None
        (began, before), (ended, after) = self._points[0], self._points[-1]
        return (after - before) / (ended - began) if ended > began else None


@dataclass(slots=True)
class Pace:
    """Estimates the remaining time of a campaign.

    Every run is assumed to take the mean time of the successful ones. Before the first one ends,
    the current run's duration is extrapolated from its fraction of finished requests.
    """

    finished: list[float] = field(default_factory=list)
    began: float = 0.0
    measuring: float | None = None
    after_this: int | None = None

    def begin(self, now: float, after_this: int | None) -> None:
        """Begin a run; ``after_this`` is the number of runs that follow it, None if unknown."""
        self.began, self.measuring, self.after_this = now, None, after_this

    def end(self, now: float, *, succeeded: bool) -> None:
        """End the current run; only a successful one counts in the remaining-time estimate."""
        if succeeded:
            self.finished.append(now - self.began)

    def remaining(self, now: float, progress: Progress) -> float | None:
        """Return the estimated seconds until the last run ends; None if it cannot be estimated."""
        if self.after_this is None:
            return None
        elapsed = now - self.began
        run_seconds = fmean(self.finished) if self.finished else self._run_seconds(now, progress)
        if run_seconds is None:
            return None
        return max(0.0, run_seconds - elapsed) + run_seconds * self.after_this

    def _run_seconds(self, now: float, progress: Progress) -> float | None:
        """Return the estimated duration of the current run in seconds; None without progress."""
        if self.measuring is None or not progress.completed or not progress.total:
            return None
        rest = progress.total / progress.completed - 1
        return now - self.began + (now - self.measuring) * rest

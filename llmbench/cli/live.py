"""What can be said of a campaign while it goes on: rates, percentiles so far, and when it ends."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from statistics import fmean

from llmbench.analysis.stats import min_samples_for_percentile, percentile
from llmbench.loads.progress import NOTHING_YET, Progress
from llmbench.units import format_duration

RATE_SECONDS = 10.0
RESERVOIR = 2000
PERCENTS = (50, 99)


class Reservoir:
    """A uniform sample of all values so far, of a size that does not grow (Vitter 1985, R)."""

    def __init__(self, size: int = RESERVOIR) -> None:
        self._draws = random.Random(0)  # noqa: S311 (no secret)
        self._size = size
        self._kept: list[float] = []
        self.seen = 0

    def add(self, value: float) -> None:
        """Keep a value, as likely as any other."""
        self.seen += 1
        if len(self._kept) < self._size:
            self._kept.append(value)
        elif (place := self._draws.randrange(self.seen)) < self._size:
            self._kept[place] = value

    def __str__(self) -> str:
        """Write percentiles; a dagger marks what too few values support."""
        values = list(self._kept)
        if not values:
            return "—"
        told = (
            f"p{percent} {format_duration(percentile(values, percent))}"
            f"{' †' * (len(values) < min_samples_for_percentile(percent))}"
            for percent in PERCENTS
        )
        return ", ".join(told)


@dataclass(slots=True)
class Figures:
    """The run in progress: how far it is, its rate of late and its latencies so far."""

    progress: Progress = NOTHING_YET
    ttft: Reservoir = field(default_factory=Reservoir)
    itl: Reservoir = field(default_factory=Reservoir)
    _points: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, progress: Progress) -> None:
        """Take in how far the run is."""
        self.progress = progress
        for reservoir, values in (
            (self.ttft, progress.ttft_seconds),
            (self.itl, progress.itl_seconds),
        ):
            for value in values:
                reservoir.add(value)
        if progress.at is not None and progress.output_tokens is not None:
            self._points.append((progress.at, progress.output_tokens))
            while len(self._points) > 2 and self._points[1][0] <= progress.at - RATE_SECONDS:  # noqa: PLR2004 (a rate needs two)
                self._points.popleft()

    @property
    def output_tokens_per_second(self) -> float | None:
        """Tokens of the answers that came back of late, by the run's clock; None before two did."""
        if len(self._points) < 2:  # noqa: PLR2004 (the same)
            return None
        (began, before), (ended, after) = self._points[0], self._points[-1]
        return (after - before) / (ended - began) if ended > began else None


@dataclass(slots=True)
class Pace:
    """How long runs take, from which follows how long the rest will.

    The mean of the runs that ended well stands for those to come. Before one has, the run in
    progress does, by the share of its requests that are back.
    """

    finished: list[float] = field(default_factory=list)
    began: float = 0.0
    measuring: float | None = None
    after_this: int | None = None

    def begin(self, now: float, after_this: int | None) -> None:
        """A run begins, and so many come after it (None: nobody knows)."""
        self.began, self.measuring, self.after_this = now, None, after_this

    def end(self, now: float, *, well: bool) -> None:
        """The run has ended."""
        if well:
            self.finished.append(now - self.began)

    def remaining(self, now: float, progress: Progress) -> float | None:
        """Estimate the seconds until the last run ends; None where there is nothing to go by."""
        if self.after_this is None:
            return None
        elapsed = now - self.began
        whole = fmean(self.finished) if self.finished else self._whole(now, progress)
        return None if whole is None else max(0.0, whole - elapsed) + whole * self.after_this

    def _whole(self, now: float, progress: Progress) -> float | None:
        """Guess how long the run in progress takes in all."""
        if self.measuring is None or not progress.completed or not progress.total:
            return None
        rest = progress.total / progress.completed - 1
        return now - self.began + (now - self.measuring) * rest

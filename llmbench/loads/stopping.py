"""When a load stops sending: rules that compose, with no clock and no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from llmbench.analysis.stats import min_samples_for_percentile, percentile, percentile_interval
from llmbench.scenario.schema import Objective, PrecisionOptions, Scenario

# "schedule": all that was planned has been sent
Reason = Literal[
    "requests", "duration", "minimum", "precision", "error-rate", "client-lag", "schedule",
]  # fmt: skip
SLACK_SECONDS = 1e-9  # schedules are rounded to it
FEWEST_JUDGED = 20


def share(total: int, index: int, count: int) -> int:
    """Count the numbers below ``total`` that are ``index`` modulo ``count``."""
    return len(range(index, total, count))


@dataclass(frozen=True, slots=True)
class Precision:
    """A percentile that is to be known to within a share of itself, at 95 % confidence."""

    quantity: Literal["ttft", "e2e"]
    percent: float
    within: float

    def is_met(self, sample: Sequence[float] | NDArray[np.float64]) -> bool:
        """Judge a sample (seconds, in the order of due times), its autocorrelation counted."""
        if len(sample) < min_samples_for_percentile(self.percent):
            return False
        low, high = percentile_interval(sample, self.percent)
        middle = percentile(sample, self.percent)
        return low >= middle * (1 - self.within) and high <= middle * (1 + self.within)


@dataclass(frozen=True, slots=True)
class Stop:
    """When a load stops sending: at the first of its limits.

    ``warmup`` requests come first and are cut from every metric; all else counts from the first
    measured one. ``requests`` and ``duration`` (seconds between due times) are maxima.
    ``min_requests`` and ``min_duration`` end the load when both are reached; where a ``precision``
    is asked for, that ends it, and not before them. ``error_rate`` is the share of failed requests
    that ends it early, ``client_lag`` (seconds) the lag of a client over the wire that does.
    """

    warmup: int = 0
    requests: int | None = None
    duration: float | None = None
    min_requests: int = 0
    min_duration: float = 0.0
    error_rate: float | None = None
    precision: Precision | None = None
    client_lag: float | None = None

    @property
    def total(self) -> int | None:
        """How many requests are sent at the most, warm-up included; None where time decides."""
        return None if self.requests is None else self.warmup + self.requests

    @property
    def ends_at_minimum(self) -> bool:
        """Whether reaching both minima is what ends the load."""
        return self.precision is None and bool(self.min_requests or self.min_duration)

    def reached(self, taken: int, since: float) -> Reason | None:
        """Tell which limit keeps a request from being sent.

        ``taken`` requests were sent before it; it is due ``since`` seconds after the first measured
        one (negative infinity in the warm-up).
        """
        since += SLACK_SECONDS
        if taken == self.total:
            return "requests"
        if self.duration is not None and since >= self.duration:
            return "duration"
        has_minimum = taken >= self.warmup + self.min_requests and since >= self.min_duration
        return "minimum" if self.ends_at_minimum and has_minimum else None

    def count(self, offsets: NDArray[np.float64]) -> int | None:
        """Count how many of a schedule's first ``offsets`` are sent; None: more are needed to say.

        The same rule as ``reached``, for due times that are known beforehand.
        """
        bounds = [float("inf") if self.total is None else self.total]
        if self.duration is not None:
            bounds.append(self._before(offsets, self.duration))
        if self.ends_at_minimum:
            least = self.warmup + max(1, self.min_requests)
            bounds.append(max(least, self._before(offsets, self.min_duration)))
        sent = min(bounds)
        return int(sent) if sent <= len(offsets) else None

    def _before(self, offsets: NDArray[np.float64], seconds: float) -> float:
        """Count the offsets less than so long after the first measured one; infinity: all are."""
        if self.warmup >= len(offsets):
            return float("inf")
        end = offsets[self.warmup] + seconds - SLACK_SECONDS
        found = int(np.searchsorted(offsets, end))
        return found if found < len(offsets) else float("inf")

    def has_failed(self, failed: int, finished: int) -> bool:
        """Tell whether too many of the finished requests have failed."""
        if self.error_rate is None or finished < FEWEST_JUDGED:
            return False
        return failed > self.error_rate * finished

    def shard(self, index: int, count: int) -> Stop:
        """Give the rule of every count-th request from ``index`` on."""
        warmup = share(self.warmup, index, count)
        total = None if self.total is None else share(self.total, index, count)
        return replace(
            self,
            warmup=warmup,
            requests=None if total is None else total - warmup,
            min_requests=share(self.warmup + self.min_requests, index, count) - warmup,
        )


def stop_rule(scenario: Scenario) -> Stop:
    """Return when the load of a scenario stops sending."""
    options = scenario.stop
    return Stop(
        warmup=0 if scenario.warmup == "auto" else scenario.warmup,
        requests=scenario.requests,
        duration=scenario.duration,
        min_requests=options.min_requests,
        min_duration=options.min_duration,
        error_rate=options.error_rate,
        precision=_precision(options.precision) if options.precision else None,
        client_lag=options.client_lag,
    )


def _precision(options: PrecisionOptions) -> Precision:
    objective = Objective.of(options.of)
    quantity = cast("Literal['ttft', 'e2e']", objective.quantity)
    return Precision(quantity, objective.percent, options.within)

"""Composable stop rules of a load, independent of clock and network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from llmbench.analysis.stats import (
    min_samples_for_percentile,
    percentile,
    percentile_effective_size,
    percentile_interval,
)
from llmbench.scenario.schema import PrecisionOptions, Scenario
from llmbench.scenario.slo import Objective

# "schedule": every planned request was sent
Reason = Literal[
    "requests", "duration", "minimum", "precision", "error-rate", "client-lag", "schedule",
]  # fmt: skip
SLACK_SECONDS = 1e-9  # schedule times are rounded to this
FEWEST_JUDGED = 20
FEWEST_EFFECTIVE = 400  # independent values that a precise percentile needs at least
REPEATED_Z = 2.576  # a 99 % interval: it is checked repeatedly, and ends a load when it is narrow


def shard_size(total: int, index: int, count: int) -> int:
    """Return the number of items in shard ``index`` of ``count``."""
    return len(range(index, total, count))


@dataclass(frozen=True, slots=True)
class Precision:
    """A percentile and target precision: relative half-width of the 95 % confidence interval."""

    quantity: Literal["ttft", "e2e"]
    percent: float
    within: float

    def is_met(self, sample: Sequence[float] | NDArray[np.float64]) -> bool:
        """Check the precision of latencies ordered by due time, allowing for autocorrelation.

        It needs as many effectively independent values as the percentile needs independent ones,
        and FEWEST_EFFECTIVE, because the autocorrelation of fewer is underestimated.
        """
        needed = max(FEWEST_EFFECTIVE, min_samples_for_percentile(self.percent))
        if len(sample) < needed:
            return False
        size = percentile_effective_size(sample, self.percent)
        if size < needed:
            return False
        low, high = percentile_interval(sample, self.percent, REPEATED_Z, size)
        estimate = percentile(sample, self.percent)
        return low >= estimate * (1 - self.within) and high <= estimate * (1 + self.within)

    @staticmethod
    def next_check(count: int) -> int:
        """Return the number of values at the check after one with ``count``: a tenth more."""
        return count * 11 // 10 + 1


@dataclass(frozen=True, slots=True)
class Stop:
    """The stop rule of a load, which stops sending at the first limit that it reaches.

    The first ``warmup`` requests are not measured; limits count from the first measured request.
    ``requests`` and ``duration`` (seconds between due times) are maxima. The load ends when both
    ``min_requests`` and ``min_duration`` are reached, and the ``precision`` if set. An
    ``error_rate`` (fraction of failed requests) or ``client_lag`` (seconds) above the limit ends it
    early.
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
        """The maximum number of requests, warm-up included; None if ``requests`` is not set."""
        return None if self.requests is None else self.warmup + self.requests

    @property
    def ends_at_minimum(self) -> bool:
        """Whether the load ends when both minima are reached, without a target precision."""
        return self.precision is None and bool(self.min_requests or self.min_duration)

    def reached(self, taken: int, since: float) -> Reason | None:
        """Return the limit that prevents a request from being sent, or None.

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
        """Return the number of requests sent from a schedule, or None if ``offsets`` end too early.

        The same rule as ``reached``, for due times known in advance.
        """
        bounds = [float("inf") if self.total is None else self.total]
        if self.duration is not None:
            bounds.append(self._before(offsets, self.duration))
        if self.ends_at_minimum:
            minimum = self.warmup + max(1, self.min_requests)
            bounds.append(max(minimum, self._before(offsets, self.min_duration)))
        sent = min(bounds)
        return int(sent) if sent <= len(offsets) else None

    def _before(self, offsets: NDArray[np.float64], seconds: float) -> float:
        """Count the offsets within ``seconds`` of the first measured one; infinity if all are."""
        if self.warmup >= len(offsets):
            return float("inf")
        end = offsets[self.warmup] + seconds - SLACK_SECONDS
        count = int(np.searchsorted(offsets, end))
        return count if count < len(offsets) else float("inf")

    def has_failed(self, failed: int, finished: int) -> bool:
        """Return whether the fraction of failed requests is above ``error_rate``."""
        if self.error_rate is None or finished < FEWEST_JUDGED:
            return False
        return failed > self.error_rate * finished

    def shard(self, index: int, count: int) -> Stop:
        """Return the stop rule of a shard: every count-th request, starting at ``index``."""
        warmup = shard_size(self.warmup, index, count)
        total = None if self.total is None else shard_size(self.total, index, count)
        return replace(
            self,
            warmup=warmup,
            requests=None if total is None else total - warmup,
            min_requests=shard_size(self.warmup + self.min_requests, index, count) - warmup,
        )


def stop_rule(scenario: Scenario) -> Stop:
    """Return the stop rule from a scenario's `warmup`, `requests`, `duration` and `stop`."""
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

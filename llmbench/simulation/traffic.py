"""How many requests a simulated run has, so that runs at different loads can be compared."""

from __future__ import annotations

from copy import deepcopy
from math import ceil, inf
from typing import Any

from llmbench.analysis.stats import min_samples_for_percentile
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import Scenario
from llmbench.scenario.slo import Objective

RECORDED = "trace"  # the kind of load whose requests are those of a file


def sized(case: Case, base: Scenario) -> Case:
    """Return a case whose load lasts as long as that of its scenario does at its own rate.

    n = max(s λ, m), s = min(d, n₀ / λ₀)

    where n is the number of requests and λ the rate of the case, n₀, d and λ₀ are `requests`,
    `duration` and rate of the scenario ``base``, and m is the number of samples that the highest
    percentile of the objectives needs. Other loads have at least m requests, a trace all of its
    own. The warm-up grows with the rate, too.
    """
    scenario = case.scenario
    if scenario.load.kind == RECORDED:
        return case
    floor, rate = _floor(scenario), getattr(scenario.load, "rate", None)
    if rate is None:
        return (
            case
            if scenario.requests is None
            else _with(case, requests=max(scenario.requests, floor))
        )
    span = _span(base, rate)
    if span == inf:  # the load ends at the minima of `stop`
        return case
    growth = rate / getattr(base.load, "rate", rate)
    warmup = scenario.warmup
    return _with(
        case,
        requests=max(ceil(span * rate - 1e-9), floor),
        duration=None,
        warmup=warmup if warmup == "auto" else round(warmup * growth),
    )


def _floor(scenario: Scenario) -> int:
    """Return the samples that the percentiles of the objectives need."""
    objectives = [Objective.of(key) for key in scenario.slo]
    return max((min_samples_for_percentile(o.percent) for o in objectives), default=1)


def _span(base: Scenario, rate: float) -> float:
    """Return how long the load of a scenario lasts, in seconds; infinity if that is not known."""
    requests = inf if base.requests is None else base.requests / getattr(base.load, "rate", rate)
    return min(requests, inf if base.duration is None else base.duration)


def _with(case: Case, **changes: Any) -> Case:
    spec = {**deepcopy(case.spec), **changes}
    return Case.of(Scenario.model_validate(spec), case.point, case.name)

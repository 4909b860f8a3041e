"""One report of what several replicas of a backend report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from llmbench.backends.base import BackendReport

V = TypeVar("V")
OF_SEVERAL = "steps are those of several replicas, which no model of one device describes"


def merged(reports: Sequence[BackendReport]) -> BackendReport:
    """Return the report of all replicas together.

    A setting that differs between them is a list of their values. Memory and counters are sums, the
    stages of the cold start those of the slowest, since all start at once. Steps of the warm-up are
    those of the first. A value that one of them lacks is unknown, for its reason. A single report
    is returned as it is.
    """
    first, *others = reports
    if not others:
        return first
    reasons = {key: reason for report in reports for key, reason in report.reasons.items()}
    return replace(
        first,
        requested=_settings([report.requested for report in reports]),
        effective=_settings([report.effective for report in reports]),
        cold_start=_combined([report.cold_start for report in reports], max),
        memory=_combined([report.memory for report in reports], sum),
        counters=dict(sum((Counter(report.counters) for report in reports), Counter[str]())),
        reasons=reasons | dict.fromkeys(("model_costs", "device_peaks"), OF_SEVERAL),
        model_costs=None,
        device_peaks=None,
        self_check=_check([report.self_check for report in reports]),
        caveats=tuple(dict.fromkeys(caveat for report in reports for caveat in report.caveats)),
    )


def _settings(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the value of each setting, or the list of values if these differ."""
    values = {key: [part.get(key) for part in parts] for key in parts[0]}
    return {key: each[0] if _are_equal(each) else each for key, each in values.items()}


def _are_equal(values: Sequence[Any]) -> bool:
    return all(value == values[0] for value in values)


def _combined(
    parts: Sequence[Mapping[str, V | None]], combine: Callable[[Iterable[V]], V]
) -> dict[str, V | None]:
    """Return the combination of each value, None if one of the parts has none."""
    keys = dict.fromkeys(key for part in parts for key in part)
    values = {key: [part.get(key) for part in parts] for key in keys}
    return {
        key: None if None in each else combine(value for value in each if value is not None)
        for key, each in values.items()
    }


def _check(checks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the first check that is not equal, else the first; empty if one of them is."""
    if not all(checks):
        return {}
    return next((check for check in checks if check["result"] != "equal"), checks[0])

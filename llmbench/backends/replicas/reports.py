"""One report of what several replicas of a backend report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from llmbench.backends.base import BackendReport

V = TypeVar("V")
PARTS = ("effective", "cold_start", "memory", "counters", "engine_steps")
OF_SEVERAL = "steps are those of several replicas, which no model of one device describes"


def merged(of_replicas: Sequence[BackendReport | None]) -> BackendReport:
    """Return the report of all replicas together; lost ones have none.

    A setting that differs between them is a list of their values. Memory, counters and times of
    steps are sums, the stages of the cold start those of the slowest, since all start at once.
    Steps of the warm-up are those of the first. A value that one of them lacks is unknown, for its
    reason. ``replicas`` has what each of them reports.
    """
    parts = tuple(_part(report) if report else None for report in of_replicas)
    reports = [report for report in of_replicas if report]
    first = replace(reports[0], replicas=parts)
    if len(of_replicas) == 1:
        return first
    counted = dict.fromkeys(name for report in reports for name in report.counters)
    reasons = {key: reason for report in reports for key, reason in report.reasons.items()}
    return replace(
        first,
        requested=_settings([report.requested for report in reports]),
        effective=_settings([report.effective for report in reports]),
        cold_start=_combined([report.cold_start for report in reports], max),
        memory=_combined([report.memory for report in reports], sum),
        counters={name: sum(r.counters.get(name, 0) for r in reports) for name in counted},
        reasons=reasons | dict.fromkeys(("model_costs", "device_peaks"), OF_SEVERAL),
        model_costs=None,
        device_peaks=None,
        engine_steps=_steps([report.engine_steps for report in reports]),
        self_check=_check([report.self_check for report in reports]),
        caveats=tuple(dict.fromkeys(caveat for report in reports for caveat in report.caveats)),
    )


def _part(report: BackendReport) -> dict[str, Any]:
    return {key: getattr(report, key) for key in PARTS}


def _steps(parts: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Return the sums of the seconds, numbers and sequences of steps; None if one has none."""
    known = [part for part in parts if part]
    if len(known) < len(parts):
        return None
    return {
        "seconds": _combined([part["seconds"] for part in known], sum),
        "counts": _combined([part["counts"] for part in known], sum),
        "decoded_sequences": sum(part["decoded_sequences"] for part in known),
    }


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

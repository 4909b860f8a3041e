"""The lines of the interactivity front: tokens/s per user against throughput, energy and cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmbench.analysis.devices import Devices, devices_of
from llmbench.analysis.interactivity import LoadPoint, asked_for, per_device, per_user, value_at
from llmbench.analysis.metrics import Value
from llmbench.analysis.values import Estimate, estimate
from llmbench.report.results import CaseResults, Results
from llmbench.report.sweep import Curve, by_load, load_key

TPOT, THROUGHPUT = "tpot_p50", "output_tokens_per_second"
COSTS = (
    "energy_joules_per_output_token",
    "cost_per_million_output_tokens",
    "energy_cost_per_million_output_tokens",
)
AGAINST = (THROUGHPUT, *COSTS)


@dataclass(frozen=True, slots=True)
class Line:
    """The cases of one backend and setting, with their load as text, in order of load."""

    name: str
    cases: Curve
    devices: Devices

    def against(self, case: CaseResults, metric: str) -> Estimate:
        """Return a metric of a case; throughput is per device."""
        return estimate([*self._values(case, metric).values()])

    def points(self, metric: str) -> list[LoadPoint]:
        """Return the known values of each load, by repeat."""
        return [
            LoadPoint(at, _known(_per_user(case)), _known(self._values(case, metric)))
            for at, case in self.cases
        ]

    def _values(self, case: CaseResults, metric: str) -> dict[int, Value]:
        pairs = zip(case.runs, case.summaries, strict=True)
        values = {run.repeat: summary[metric] for run, summary in pairs}
        if metric != THROUGHPUT:
            return values
        return {repeat: per_device(value, self.devices.count) for repeat, value in values.items()}


def rate_of(case: CaseResults) -> Estimate:
    """Return the tokens/s per user of a case."""
    return estimate([*_per_user(case).values()])


def _per_user(case: CaseResults) -> dict[int, Value]:
    pairs = zip(case.runs, case.summaries, strict=True)
    return {run.repeat: per_user(summary[TPOT]) for run, summary in pairs}


def _known(values: Mapping[int, Value]) -> dict[int, float]:
    return {repeat: value.value for repeat, value in values.items() if value.value is not None}


def lines(results: Results) -> list[Line]:
    """Return the lines of the front; none without a sweep of several loads or settings."""
    key = load_key(results.measured)
    curves: dict[str, Curve] = (
        by_load(results.measured, key)
        if key
        else {case.name: [(case.name, case)] for case in results.measured if case.point}
    )
    if sum(map(len, curves.values())) < 2:  # noqa: PLR2004 (one point is no front)
        return []
    return [
        Line(name, curve, devices_of(run for _, case in curve for run in case.runs))
        for name, curve in curves.items()
    ]


def rates(drawn: Sequence[Line], metric: str) -> list[float]:
    """Return the tokens/s per user at which a metric is interpolated."""
    return asked_for([line.points(metric) for line in drawn])


# -- data ------------------------------------------------------------------------------------------


def rows(results: Results) -> list[dict[str, Any]]:
    """Return the measured and the interpolated points of the front, for JSON.

    A metric that a line has nowhere has its measured points alone, with the reasons.
    """
    drawn = lines(results)
    return [row for metric in AGAINST for line in drawn for row in _rows(drawn, line, metric)]


def _rows(drawn: Sequence[Line], line: Line, metric: str) -> Iterator[dict[str, Any]]:
    kind = line.devices.kind if metric == THROUGHPUT else None
    about = {"backend": line.name, "metric": metric, "per": kind, "load": None}
    for at, case in line.cases:
        measured = _fields(rate_of(case).value, line.against(case, metric))
        yield {**about, "load": at, **measured}
    is_known = any(point.against for point in line.points(metric))
    for rate in rates(drawn, metric) if is_known else ():
        yield {**about, **_fields(rate, value_at(line.points(metric), rate))}


def _fields(rate: float | None, value: Estimate) -> dict[str, Any]:
    return {
        "tokens_per_second_per_user": rate,
        "value": value.value,
        "low": value.low,
        "high": value.high,
        "processes": value.n,
        "reason": value.reason,
    }

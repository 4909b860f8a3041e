"""Conclusions from the results, as sentences: the fastest cases and the memory limits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from llmbench.analysis.metrics import METRICS
from llmbench.errors import OutOfMemoryError
from llmbench.report.results import CaseResults, Results, is_lower
from llmbench.report.scenario_text import is_open_loop
from llmbench.report.table import show, show_interval
from llmbench.scenario.cases import case_name
from llmbench.units import format_number

CLAIMS = {
    "output_tokens_per_second": ("the highest output throughput", "Output throughput"),
    "ttft_p50": ("the lowest TTFT p50", "TTFT p50"),
    "tpot_p50": ("the lowest TPOT p50", "TPOT p50"),
    "e2e_p50": ("the lowest E2E p50", "E2E p50"),
}
THROUGHPUT, *TIMES = CLAIMS
PAIR = 2


def completeness(results: Results) -> str:
    """Return how many planned runs were measured, failed or are pending, as a sentence."""
    plan, failed = len(results.run_set.plan), len(results.run_set.failed)
    waiting = plan - len(results.run_set.runs)
    if not plan:
        return "No runs planned."
    parts = [f"{plan - failed - waiting} of {plan:,} run{'' if plan == 1 else 's'} measured"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{waiting} not measured yet"] if waiting else []
    return f"{', '.join(parts)}."


def answer(results: Results) -> list[str]:
    """Return sentences on the fastest case, its lead, and memory limits.

    Cases are compared within a sweep point; with one case per point, across points.
    """
    return [*_of_speed(results), *_of_memory(results)]


def _of_speed(results: Results) -> list[str]:
    if not results.measured:
        failed = "No results: every run failed." if results.run_set.failed else "No results yet."
        return [failed]
    groups = _points(results.measured)
    if len(groups) == len(results.measured) > 1:
        groups = {"": results.measured}
    # under an open-loop load every case that keeps up has the offered throughput
    claimed = TIMES if is_open_loop(results) else [THROUGHPUT, *TIMES[:-1]]
    return [
        _Ranking(metric, point, cases).sentence()
        for point, cases in groups.items()
        for metric in claimed
    ]


def _points(cases: Sequence[CaseResults]) -> dict[str, list[CaseResults]]:
    """Group cases by sweep point."""
    groups: dict[str, list[CaseResults]] = {}
    for case in cases:
        point = ", ".join(f"{key}={value}" for key, value in case.point.items())
        groups.setdefault(point, []).append(case)
    return groups


@dataclass(frozen=True)
class _Ranking:
    """The cases at one sweep point, ranked by one metric."""

    metric: str
    point: str
    cases: Sequence[CaseResults]

    def sentence(self) -> str:
        conclusion = self._conclusion()
        return f"At {self.point}: {conclusion}" if self.point else conclusion

    def _conclusion(self) -> str:
        best_of_all, label = CLAIMS[self.metric]
        if not self._ranked:
            return f"{label} is unknown: {self.cases[0].estimates[self.metric].reason}."
        best, *others = self._ranked
        if not others:
            return f"{label} of {self._name(best)} is {self._with_interval(best)}."
        if not self._differ(best, others[0]):
            return self._tie()
        return f"{self._name(best)} has {best_of_all}: {self._with_interval(best)}, {self._gap()}."

    @cached_property
    def _ranked(self) -> list[CaseResults]:
        """The cases with a known value of the metric, best first."""
        known = [case for case in self.cases if case.estimates[self.metric].value is not None]
        return sorted(known, key=self._value, reverse=self._higher_is_better)

    @property
    def _higher_is_better(self) -> bool:
        return METRICS[self.metric].better == "higher"

    def _value(self, case: CaseResults) -> float:
        return case.estimates[self.metric].value or 0.0

    def _name(self, case: CaseResults) -> str:
        return case.backend if self.point else case.name

    def _differ(self, one: CaseResults, other: CaseResults) -> bool:
        """Return whether the metric's intervals of two cases are known and do not overlap."""
        a, b = one.estimates[self.metric], other.estimates[self.metric]
        return is_lower(a, b) or is_lower(b, a)

    def _quantity(self, value: float) -> str:
        unit = METRICS[self.metric].unit
        text = show(value, unit)
        return text if unit == "s" else f"{text} {unit}"

    def _with_interval(self, case: CaseResults) -> str:
        estimate = case.estimates[self.metric]
        text = self._quantity(self._value(case))
        if estimate.low is None or estimate.high is None:
            return f"{text} ({estimate.reason})"
        if estimate.low == estimate.high:
            return f"{text} (all processes equal)"
        unit = METRICS[self.metric].unit
        return f"{text} (95 % interval {show_interval(estimate.low, estimate.high, unit, ' to ')})"

    def _gap(self) -> str:
        """Return, as text, how far the best case leads the second."""
        best, second = (self._value(case) for case in self._ranked[:2])
        rival = self._listed(self._ranked[1:2])
        if self._higher_is_better:
            return f"{format_number(best / second)} times that of {rival}"
        return f"{format_number(100 * (1 - best / second), 2)} % lower than {rival}"

    def _tie(self) -> str:
        label, best = CLAIMS[self.metric][1], self._ranked[0]
        tied = [best, *(case for case in self._ranked[1:] if not self._differ(best, case))]
        if any(case.estimates[self.metric].low is None for case in tied):
            return f"{label}: {self._listed(tied)}; too few processes for intervals."
        slower = [c for c in self._ranked if all(self._differ(case, c) for case in tied)]
        both = "both" if len(tied) == PAIR else "all"
        rest = f"; {both} are faster than {self._listed(slower)}" if slower else ""
        quantity = METRICS[self.metric].label
        return f"No significant difference in {quantity} between {self._listed(tied)}{rest}."

    def _listed(self, cases: Sequence[CaseResults]) -> str:
        *names, last = [f"{self._name(c)} ({self._quantity(self._value(c))})" for c in cases]
        return f"{', '.join(names)} and {last}" if names else last


# -- memory ----------------------------------------------------------------------------------------

SWEPT = ("engine.slots", "load.concurrency")


def _of_memory(results: Results) -> Iterator[str]:
    """Yield the largest swept value that fit in memory, for each backend that ran out of it."""
    failures = {run.case.name: run.failure for run in results.run_set.failed if run.failure}
    refused = {case for case, f in failures.items() if f.kind == OutOfMemoryError.kind}
    for key in SWEPT:
        for name, cases in _by_other_keys(results.cases, key).items():
            beyond = [case.point[key] for case in cases if case.name in refused]
            if beyond:
                yield f"{name}: {_limit(key, cases, beyond[0])}"


def _by_other_keys(cases: list[CaseResults], key: str) -> dict[str, list[CaseResults]]:
    """Group the cases that differ only in one swept key, ordered by its value."""
    groups: dict[str, list[CaseResults]] = {}
    for case in sorted((c for c in cases if key in c.point), key=lambda c: c.point[key]):
        others = {k: v for k, v in case.point.items() if k != key}
        groups.setdefault(case_name(case.backend, others), []).append(case)
    return groups


def _limit(key: str, cases: list[CaseResults], beyond: Any) -> str:
    inside = [case.point[key] for case in cases if case.runs and case.point[key] < beyond]
    if inside:
        return f"{key}={inside[-1]} fit in memory, {beyond} did not."
    return f"{key}={beyond} did not fit in memory; no smaller value was measured."

"""What the results say in a sentence or two, and no more than they can say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from llmbench.analysis.metrics import METRICS
from llmbench.errors import OutOfMemoryError
from llmbench.report.results import CaseResults, Results
from llmbench.report.scenario_text import is_open_loop
from llmbench.report.table import show
from llmbench.scenario.cases import case_name
from llmbench.units import format_number

PAIR = 2
CLAIMS = {
    "output_tokens_per_second": ("the highest output throughput", "Output throughput"),
    "ttft_p50": ("the lowest TTFT p50", "TTFT p50"),
    "tpot_p50": ("the lowest TPOT p50", "TPOT p50"),
    "e2e_p50": ("the lowest E2E p50", "E2E p50"),
}
THROUGHPUT, *TIMES = CLAIMS


def completeness(results: Results) -> str:
    """Say how much of the plan was measured."""
    plan, failed = len(results.run_set.plan), len(results.run_set.failed)
    waiting = plan - len(results.run_set.runs)
    if not plan:
        return "No run was planned."
    done = plan - failed - waiting
    parts = [f"{done} of {_counted(plan, 'run')} measured"]
    parts += [f"{failed} failed"] if failed else []
    parts += [f"{waiting} not measured yet"] if waiting else []
    return f"{', '.join(parts)}."


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def answer(results: Results) -> list[str]:
    """Say which case is fastest and by how much, where the intervals allow it, and what fitted.

    Cases are compared within a point of the sweep only, since another point is another question;
    one backend at many points is compared with itself.
    """
    return [*_of_speed(results), *_fitted(results)]


def _of_speed(results: Results) -> list[str]:
    if not results.measured:
        return [_nothing(results)]
    groups = _points(results.measured)
    if len(groups) == len(results.measured) > 1:
        groups = {"": results.measured}
    # under an open load throughput is the load's, of every case that keeps up
    claimed = TIMES if is_open_loop(results) else [THROUGHPUT, *TIMES[:-1]]
    return [
        _Comparison(metric, where, cases).sentence()
        for where, cases in groups.items()
        for metric in claimed
    ]


def _nothing(results: Results) -> str:
    if results.run_set.failed:
        return "There are no results: every run that was tried has failed."
    return "There are no results yet."


def _points(cases: Sequence[CaseResults]) -> dict[str, list[CaseResults]]:
    """Group cases by their point of the sweep."""
    groups: dict[str, list[CaseResults]] = {}
    for case in cases:
        where = ", ".join(f"{key}={value}" for key, value in case.point.items())
        groups.setdefault(where, []).append(case)
    return groups


@dataclass(frozen=True)
class _Comparison:
    """One metric of the cases at one point of the sweep."""

    metric: str
    where: str
    cases: Sequence[CaseResults]

    def sentence(self) -> str:
        said = self._finding()
        return f"At {self.where}: {said}" if self.where else said

    def _finding(self) -> str:
        title, quantity = CLAIMS[self.metric]
        if not self._ranked:
            return f"{quantity} is not known: {self.cases[0].estimates[self.metric].reason}."
        first, *others = self._ranked
        if not others:
            return f"{quantity} of {self._name(first)} is {self._with_interval(first)}."
        if not self._apart(first, others[0]):
            return self._not_told_apart()
        return f"{self._name(first)} has {title}, {self._with_interval(first)}: {self._gap()}."

    @cached_property
    def _ranked(self) -> list[CaseResults]:
        """The cases that have the metric, the best first."""
        known = [case for case in self.cases if case.estimates[self.metric].value is not None]
        return sorted(known, key=self._value, reverse=self._higher_is_better)

    @property
    def _higher_is_better(self) -> bool:
        return METRICS[self.metric].better == "higher"

    def _value(self, case: CaseResults) -> float:
        return case.estimates[self.metric].value or 0.0

    def _name(self, case: CaseResults) -> str:
        return case.name.removesuffix(f", {self.where}")

    def _apart(self, one: CaseResults, other: CaseResults) -> bool:
        """Tell whether two intervals exist and do not overlap."""
        a, b = one.estimates[self.metric], other.estimates[self.metric]
        if a.low is None or a.high is None or b.low is None or b.high is None:
            return False
        return a.low > b.high or b.low > a.high

    def _quantity(self, value: float) -> str:
        unit = METRICS[self.metric].unit
        text = show(value, unit)
        return text if unit == "s" else f"{text} {unit}"

    def _with_interval(self, case: CaseResults) -> str:
        estimate = case.estimates[self.metric]
        text = self._quantity(self._value(case))
        if estimate.low is None or estimate.high is None:
            return f"{text} ({estimate.reason})"
        low, high = (show(end, METRICS[self.metric].unit) for end in (estimate.low, estimate.high))
        return f"{text} (95 % interval {low} to {high})"

    def _gap(self) -> str:
        """Say how far the best is from the next, whose interval it clears."""
        best, second = (self._value(case) for case in self._ranked[:2])
        share = best / second if self._higher_is_better else second / best
        than = "times" if self._higher_is_better else "times lower than"
        rival = f"{self._name(self._ranked[1])} ({self._quantity(second)})"
        return f"{format_number(share)} {than} {rival}"

    def _not_told_apart(self) -> str:
        best = self._ranked[0]
        alike = [best, *(c for c in self._ranked[1:] if not self._apart(best, c))]
        has_intervals = all(case.estimates[self.metric].low is not None for case in alike)
        why = (
            "95 % intervals overlap"
            if has_intervals
            else "there are too few processes for intervals"
        )
        label = METRICS[self.metric].label
        return f"{self._listed(alike)} are not told apart by {label}: {why}{self._clear_of(alike)}."

    def _clear_of(self, alike: Sequence[CaseResults]) -> str:
        """Name the cases that all of these beat beyond the intervals."""
        beaten = [c for c in self._ranked if all(self._apart(each, c) for each in alike)]
        both = "both" if len(alike) == PAIR else "all"
        return f"; {both} are clear of {self._listed(beaten)}" if beaten else ""

    def _listed(self, cases: Sequence[CaseResults]) -> str:
        told = [f"{self._name(case)} ({self._quantity(self._value(case))})" for case in cases]
        return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)


# -- what fitted in memory -------------------------------------------------------------------------

KEYS = ("engine.slots", "load.concurrency")


def _fitted(results: Results) -> Iterator[str]:
    """Say of each backend at which point of a sweep memory ran out, and what fitted below it."""
    failed = {run.case.name: run.failure for run in results.run_set.failed if run.failure}
    refused = {case for case, why in failed.items() if why.kind == OutOfMemoryError.kind}
    for key in KEYS:
        for name, cases in _alike(results.cases, key).items():
            yield from _told(name, key, cases, refused)


def _alike(cases: list[CaseResults], key: str) -> dict[str, list[CaseResults]]:
    """Group the cases that differ in a key of the sweep alone, the least of it first."""
    groups: dict[str, list[CaseResults]] = {}
    for case in sorted((c for c in cases if key in c.point), key=lambda c: c.point[key]):
        backend = case.planned.case.backend_name
        others = {k: v for k, v in case.point.items() if k != key}
        groups.setdefault(case_name(backend, others), []).append(case)
    return groups


def _told(name: str, key: str, cases: list[CaseResults], refused: set[str]) -> Iterator[str]:
    beyond = [case.point[key] for case in cases if case.name in refused]
    if not beyond:
        return
    inside = [case.point[key] for case in cases if case.runs and case.point[key] < beyond[0]]
    if inside:
        yield f"{name}: {key}={inside[-1]} fitted in memory, {beyond[0]} did not."
    else:
        yield f"{name}: {key}={beyond[0]} did not fit in memory, and no smaller one was measured."

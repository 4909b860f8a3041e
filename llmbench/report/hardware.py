"""One scenario on several kinds of node: the values of each kind, and its ratios to the first one.

Ratios, intervals and verdicts are those of `llmbench compare` (docs/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from llmbench.analysis.compare.comparison import TOLERANCES
from llmbench.analysis.compare.judge import CasePair, Processes, Verdicts, control_false_discoveries
from llmbench.analysis.compare.verdicts import Verdict
from llmbench.analysis.devices import Devices, devices_of
from llmbench.analysis.interactivity import per_device
from llmbench.analysis.metrics import METRICS
from llmbench.analysis.nodes import NODE, Measured, gpus_of, kind_of, measured_on
from llmbench.analysis.stats import geometric_mean
from llmbench.analysis.values import Estimate, estimate
from llmbench.report.ranking import THROUGHPUT
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import reading, show
from llmbench.report.wording import capitalized, listed
from llmbench.runs.run import Run
from llmbench.scenario.cases import case_name
from llmbench.units import format_number

ENERGY, COST = "energy_joules_per_output_token", "cost_per_million_output_tokens"
LATENCIES = ("ttft_p50", "tpot_p50", "e2e_p50")
ALWAYS = (THROUGHPUT, ENERGY, COST)  # shown with a reason where unknown
COMPARED = (*LATENCIES, THROUGHPUT, "goodput_requests_per_second", ENERGY, COST)
TOLERANCE = 0.03  # of metrics without one of their own
SPEED = "tpot_p50"  # by which the devices of one kind are compared
MOST_GROUPS = 3  # with sentences of their own
WORDS = {
    "improvement": "better",
    "regression": "worse",
    "equivalent": "no relevant difference",
    "inconclusive": "not called",
    "not comparable": "not comparable",
}
CALLED = ("improvement", "regression")


@dataclass(frozen=True)
class OfKind:
    """A case on one kind of node, with its throughput per GPU, machine or server."""

    kind: str
    case: CaseResults

    @cached_property
    def devices(self) -> Devices:
        """The devices that each process used."""
        return devices_of(self.case.runs)

    @cached_property
    def processes(self) -> Processes:
        """The processes of the case, with the throughput per device."""
        return Processes(self.case.runs, tuple(map(self._per_device, self.case.summaries)))

    def _per_device(self, summary: dict[str, Any]) -> dict[str, Any]:
        return {**summary, THROUGHPUT: per_device(summary[THROUGHPUT], self.devices.count)}

    def estimate(self, metric: str) -> Estimate:
        """Return a metric over the processes; throughput is per device."""
        if metric != THROUGHPUT:
            return self.case.estimates[metric]
        return estimate([summary[metric] for summary in self.processes.summaries])

    def by_device(self) -> list[float]:
        """Return the geometric mean of SPEED on each GPU, or else on each machine."""
        values: dict[str, list[float]] = {}
        for run, summary in zip(self.case.runs, self.case.summaries, strict=True):
            if (device := device_of(run)) and (value := summary[SPEED].value):
                values.setdefault(device, []).append(value)
        return [float(geometric_mean(each)) for each in values.values()]


def device_of(run: Run) -> str:
    """Return what tells the device of a run: its GPUs, or else its machine; empty if unknown."""
    name = (run.facts.get(NODE) or {}).get("name") or ""
    return ", ".join(sorted(gpus_of(run))) or str(name)


@dataclass(frozen=True)
class Group:
    """The cases of a backend that differ only in the kind of node; the first is the reference."""

    name: str
    kinds: tuple[OfKind, ...]

    @property
    def pairs(self) -> list[CasePair]:
        """Every kind after the first, compared with the first."""
        first, *others = self.kinds
        return [CasePair(first.processes, other.processes, ruling=()) for other in others]

    def label(self, metric: str) -> str:
        """Return the name of a metric; that of throughput has the device: per GPU."""
        if metric != THROUGHPUT:
            return METRICS[metric].label
        return f"output tokens/s per {' or '.join(sorted({k.devices.kind for k in self.kinds}))}"


@dataclass(frozen=True, slots=True)
class Row:
    """A metric on one kind of node, with the verdict against the first kind; None for that."""

    group: Group
    of: OfKind
    metric: str
    estimate: Estimate
    verdict: Verdict | None = None


def groups(results: Results) -> list[Group]:
    """Return the cases that were measured on several kinds of node; empty without any."""
    by_name: dict[tuple[str, str], list[OfKind]] = {}
    for case in results.measured:
        if NODE in case.point:
            others = {key: value for key, value in case.point.items() if key != NODE}
            key = (case_name(case.backend, others), repr(others))
            by_name.setdefault(key, []).append(OfKind(str(kind_of(case.runs[0])), case))
    return [Group(name, tuple(of)) for (name, _), of in by_name.items() if len(of) > 1]


def rows(compared: Sequence[Group]) -> list[Row]:
    """Return the metrics of all groups by kind of node, with verdicts that are judged together."""
    metrics = [metric for metric in COMPARED if metric in ALWAYS or _is_known(compared, metric)]
    pairs = [pair for group in compared for pair in group.pairs]
    judged = [
        {metric: pair.verdict(metric, TOLERANCES.get(metric, TOLERANCE)) for metric in metrics}
        for pair in pairs
    ]
    verdicts = iter(control_false_discoveries(judged, lambda _: True))
    return [
        row
        for group in compared
        for row in _rows(group, metrics, [next(verdicts) for _ in group.kinds[1:]])
    ]


def _is_known(compared: Sequence[Group], metric: str) -> bool:
    return any(
        of.case.estimates[metric].value is not None for group in compared for of in group.kinds
    )


def _rows(group: Group, metrics: Sequence[str], verdicts: Sequence[Verdicts]) -> Iterator[Row]:
    first, *others = group.kinds
    for metric in metrics:
        yield Row(group, first, metric, first.estimate(metric))
        for of, of_case in zip(others, verdicts, strict=True):
            yield Row(group, of, metric, of.estimate(metric), of_case[metric])


# -- the devices that were measured ----------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """A kind of node: its devices, and the spread of SPEED between them as a fraction, if known."""

    name: str
    runs: tuple[Run, ...]
    measured: Measured
    spread: float | None

    @property
    def counted(self) -> str:
        """The number of its GPUs and machines: ``2 GPUs on 1 node``; empty if not recorded."""
        gpus, nodes = len(self.measured.gpus), len(self.measured.nodes)
        of_nodes = f"{nodes} node{'' if nodes == 1 else 's'}" if nodes else ""
        of_gpus = f"{gpus} GPU{'' if gpus == 1 else 's'}" if gpus else ""
        return " on ".join(filter(None, (of_gpus, of_nodes)))


def kinds(compared: Sequence[Group]) -> list[Kind]:
    """Return the kinds of node of all groups, in order."""
    cases: dict[str, list[OfKind]] = {}
    for group in compared:
        for of in group.kinds:
            cases.setdefault(of.kind, []).append(of)
    return [_kind(name, of) for name, of in cases.items()]


def _kind(name: str, cases: Sequence[OfKind]) -> Kind:
    runs = tuple(run for of in cases for run in of.case.runs)
    spreads = [max(values) / min(values) - 1 for of in cases if len(values := of.by_device()) > 1]
    return Kind(name, runs, measured_on(runs), max(spreads, default=None))


def scope(of: Sequence[Kind]) -> str:
    """Return how many devices were measured of each kind, and what the intervals leave out."""
    if not any(kind.counted for kind in of):
        return "The runs do not record on which devices they were measured."
    counts = listed([f"{kind.name} {kind.counted or '(not recorded)'}" for kind in of])
    single = [kind.name for kind in of if not kind.measured.are_several]
    if single:
        return (
            f"Measured: {counts}. Intervals are over processes. Only one device was measured of "
            f"{listed(single)}: differences between devices of one kind are not accounted for."
        )
    spread = [f"{k.name} {100 * k.spread:.1f} %" for k in of if k.spread is not None]
    apart = f" ({METRICS[SPEED].label} differs by up to {listed(spread)})" if spread else ""
    return (
        f"Measured: {counts}. Intervals are over processes, and cover differences between devices "
        f"only as far as these devices show them{apart}."
    )


# -- sentences and data ----------------------------------------------------------------------------


def sentences(results: Results) -> list[str]:
    """Return energy and cost of each kind of node, and how many devices were measured."""
    compared = groups(results)
    if not compared:
        return []
    few = compared if len(compared) <= MOST_GROUPS else []
    every = rows(few)
    costs = [
        _sentence(group, of_metric, is_named=len(few) > 1)
        for group in few
        for metric in (ENERGY, COST)
        if (of_metric := [r for r in every if r.group is group and r.metric == metric])
        and any(row.estimate.value is not None for row in of_metric)
    ]
    return [*costs, scope(kinds(compared))]


def _sentence(group: Group, of_metric: Sequence[Row], *, is_named: bool) -> str:
    label = METRICS[of_metric[0].metric].label
    parts = [f"{row.of.kind} {_figure(row)}" for row in of_metric]
    return f"{f'{group.name}: {label}' if is_named else capitalized(label)}: {'; '.join(parts)}."


def _figure(row: Row) -> str:
    if row.estimate.value is None:
        return f"unknown ({row.estimate.reason})"
    figure = _quantity(row.estimate.value, METRICS[row.metric].unit)
    if row.verdict is None:
        return figure
    if row.verdict.change is None:
        return f"{figure}, not comparable: {row.verdict.reason}"
    called = "" if row.verdict.outcome in CALLED else f", {words_of(row.verdict)}"
    return f"{figure} ({ratio_of(row.verdict)}{called})"


def _quantity(value: float, unit: str) -> str:
    return show(value, "") if unit == "currency" else reading(value, unit).text


def ratio_of(verdict: Verdict) -> str:
    """Return the ratio to the first kind with its interval: ``× 0.750, 0.74 to 0.76``."""
    change = verdict.change
    if change is None:
        return ""
    if not has_interval(verdict):
        return f"× {format_number(change.ratio)}, no interval"
    low, high = format_number(change.low), format_number(change.high)
    return f"× {format_number(change.ratio)}, {low} to {high}"


def has_interval(verdict: Verdict) -> bool:
    """Return whether there are enough processes for an interval of the ratio."""
    return verdict.change is not None and 0 < verdict.change.low <= verdict.change.high < math.inf


def words_of(verdict: Verdict) -> str:
    """Return the outcome against the first kind in words, with the reason why none is called."""
    words = WORDS[verdict.outcome]
    if verdict.reason:
        return f"{words}: {verdict.reason}"
    if verdict.outcome == "inconclusive" and verdict.repeats:
        return f"{words}: needs about {verdict.repeats} processes of each kind"
    return words


def as_json(results: Results) -> dict[str, Any] | None:
    """Return the kinds of node and every row as JSON data; None without several kinds."""
    compared = groups(results)
    if not compared:
        return None
    measured = kinds(compared)
    return {
        "kinds": [
            {
                "kind": kind.name,
                "nodes": len(kind.measured.nodes) or None,
                "gpus": len(kind.measured.gpus) or None,
                "processes": len(kind.runs),
                "spread_between_devices": kind.spread,
            }
            for kind in measured
        ],
        "scope": scope(measured),
        "rows": data(compared),
    }


def data(compared: Sequence[Group]) -> list[dict[str, Any]]:
    """Return one plain row per case, metric and kind of node, with the ratio to the first kind."""
    return [
        {
            "case": row.group.name,
            "kind": row.of.kind,
            "metric": row.metric,
            "per": row.of.devices.kind if row.metric == THROUGHPUT else None,
            "value": row.estimate.value,
            "low": row.estimate.low,
            "high": row.estimate.high,
            "unit": METRICS[row.metric].unit,
            "processes": row.estimate.n,
            "reason": row.estimate.reason,
            **_against(row.verdict),
        }
        for row in rows(compared)
    ]


def _against(verdict: Verdict | None) -> dict[str, Any]:
    """Return the ratio to the first kind as data; all None of the first kind itself."""
    change = verdict.change if verdict else None
    has_bounds = verdict is not None and has_interval(verdict)
    return {
        "ratio": change.ratio if change else None,
        "ratio_low": change.low if change and has_bounds else None,
        "ratio_high": change.high if change and has_bounds else None,
        "outcome": WORDS[verdict.outcome] if verdict else None,
        "outcome_reason": (verdict.reason or None) if verdict else None,
    }

"""Tables of the load: how it went, and what each class of requests and each turn got."""

from __future__ import annotations

from itertools import chain, product

from llmbench.report.by_case import (
    DAGGER,
    INTERVALS,
    CellOf,
    by_case,
    failed,
    metric_column,
    percentile_column,
)
from llmbench.report.cells import Cell, Column, Table, count, missing
from llmbench.report.results import CaseResults, Results


def request_classes(results: Results) -> Table:
    """What each class of requests got, where there are classes."""
    return _parts("Request classes", results, "request_class", "class")


def turns(results: Results) -> Table:
    """What each turn of the sessions got, where there are sessions."""
    in_sessions = [case for case in results.measured if _has_sessions(case)]
    return _parts("Turns of sessions", results, "turn", "turn", in_sessions)


def _has_sessions(case: CaseResults) -> bool:
    return any(run.records["session"].null_count < run.records.num_rows for run in case.runs)


def _parts(
    title: str, results: Results, column: str, label: str, cases: list[CaseResults] | None = None
) -> Table:
    split = (case.split(column, label) for case in (results.measured if cases is None else cases))
    columns: list[tuple[Column, CellOf]] = [
        (Column("requests", "measured, in all runs"), lambda case: count(case.requests)),
        *(percentile_column(*it) for it in product(("ttft", "tpot", "e2e"), (50, 99))),
        (Column("failed", "measured requests that failed or were not finished"), failed),
        metric_column("goodput_requests_per_second", "goodput/s"),
        metric_column("slo_attainment", "SLO met"),
    ]
    return by_case(title, [*chain.from_iterable(split)], columns, (INTERVALS, DAGGER))


def sent(results: Results) -> Table:
    """How the load went, case by case: what was cut, what ended it, and what was never sent."""
    columns: list[tuple[Column, CellOf]] = [
        (Column("warm-up", "requests cut from every metric"), _warmup),
        metric_column("steady_window_seconds"),
        metric_column("drain_seconds"),
        (Column("stopped by", "what ended the load", numeric=False), _stopped_by),
        (Column("abandoned turns", "of sessions that broke off"), _abandoned),
        (Column("schedule", "the beginning of its SHA-256", numeric=False), _schedule),
        (Column("LoadGen", "MLPerf's own verdict", numeric=False), _loadgen),
    ]
    return by_case("The load as it was sent", results.measured, columns)


def _warmup(case: CaseResults) -> Cell:
    cut = {observed.all.num_rows - observed.measured.num_rows for observed in case.observed}
    methods = [run.facts["warmup_method"] for run in case.runs if "warmup_method" in run.facts]
    how = f"found by {methods[0]}" if methods else ""
    return Cell(" / ".join(f"{number:,}" for number in sorted(cut)), min(cut), how)


def _stopped_by(case: CaseResults) -> Cell:
    reasons = dict.fromkeys(r for run in case.runs for r in run.facts.get("stopped_by", ()))
    return Cell(", ".join(reasons)) if reasons else missing("not recorded")


def _abandoned(case: CaseResults) -> Cell:
    if not _has_sessions(case):
        return missing("there are no sessions")
    return count(sum(run.facts.get("abandoned_turns", 0) for run in case.runs))


def _schedule(case: CaseResults) -> Cell:
    digests = dict.fromkeys(
        run.facts["schedule_sha256"][:12] for run in case.runs if "schedule_sha256" in run.facts
    )
    return Cell(" / ".join(digests)) if digests else missing("not recorded")


def _loadgen(case: CaseResults) -> Cell:
    verdicts = [run.facts["mlperf"] for run in case.runs if "mlperf" in run.facts]
    if not verdicts:
        return missing("MLPerf's LoadGen was not asked for")
    missed = dict.fromkeys(condition for verdict in verdicts for condition in verdict["missed"])
    return Cell(" / ".join(dict.fromkeys(v["result"] for v in verdicts)), detail=", ".join(missed))

"""Tables of the main metrics, latencies, quality and memory, one row per case."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np

from llmbench.analysis.harness_validity import ADDED_TO
from llmbench.analysis.metrics import LATENCIES, PHASE_PEAKS, STAGES
from llmbench.analysis.stats import min_samples_for_percentile, percentile_upper_bound
from llmbench.report import table
from llmbench.report.results import CaseResults, Results
from llmbench.report.sections import findings, under_load
from llmbench.report.table import CASE, DAGGER, INTERVALS, Cell, Column, ColumnOf, Table

BRIEF_ROWS = 40
ADDED = "estimated part of the percentile that the harness itself added"
UNSTORED = "the requests are not stored"
BOUND = "with 99 % confidence, pooled over processes"
HARNESS = Column("harness", "whether the harness kept up and did not delay requests", numeric=False)


def _harness(case: CaseResults) -> Cell:
    return Cell(case.validity.verdict, detail="; ".join(case.validity.reasons))


def _asked(case: CaseResults) -> Cell:
    if case.attained is None:
        return table.missing("the load has no constant rate, or no rate was attained")
    return table.quantity(case.attained.asked, "requests/s")


def _of_asked(case: CaseResults) -> str:
    return f"of {case.attained.asked:g} asked" if case.attained else ""


ASKED: ColumnOf = (Column("asked requests/s", "the rate of the load"), _asked)


def headline(results: Results) -> Table:
    """Return the main metrics, one row per case; the note names the metrics that no case has."""
    every = findings.find(results)
    columns: list[ColumnOf] = [
        (Column("runs", "measured processes"), lambda case: table.count(len(case.runs))),
        table.REQUESTS,
        table.metric_column("output_tokens_per_second", "output tokens/s"),
        table.metric_column("requests_per_second"),
        *([ASKED] if any(case.attained for case in results.measured) else []),
        *(table.percentile_column(*it) for it in product(("ttft", "itl", "e2e"), (50, 99))),
        (HARNESS, _harness),
        (under_load.BADGE, under_load.badge),
        *table.outcomes(results.cases),
        *table.SLO,
        table.metric_column("mbu", "MBU"),
        table.metric_column("mfu", "MFU"),
        (Column("cold start", "import, load, compile and first token together"), _cold_start_total),
        table.metric_column("memory_weights_bytes"),
        table.metric_column("memory_allocator_peak_bytes", "GPU peak"),
        table.metric_column("cost_per_million_output_tokens", "cost per 1M tokens"),
        (
            Column("caveats", "caveats that concern this case"),
            lambda case: table.count(sum(case.name in finding.cases for finding in every)),
        ),
    ]
    return table.by_case("Results", results.cases, columns, (INTERVALS, DAGGER))


def brief(results: Results) -> Table:
    """Return the main metrics as a compact terminal table, the p99 below each median latency.

    It has the first BRIEF_ROWS cases; the note says how many more there are.
    """
    outcomes = [*_badges(results), *table.outcomes(results.cases)]
    columns = (
        CASE,
        table.metric_column("output_tokens_per_second", "output tokens/s")[0],
        table.metric_column("requests_per_second")[0],
        *(Column(f"{LATENCIES[latency]} p50") for latency in ("ttft", "itl", "e2e")),
        HARNESS,
        *(column for column, _ in outcomes),
    )
    more = len(results.cases) - BRIEF_ROWS
    note = f"… and {more:,} more cases in the report" if more > 0 else ""
    rows = tuple(_brief_row(case, outcomes) for case in results.cases[:BRIEF_ROWS])
    return Table("Results", columns, rows, note)


def _badges(results: Results) -> list[ColumnOf]:
    """Return the column of determinism under load, if any case was checked for it."""
    is_checked = any(not under_load.badge(case).is_missing for case in results.measured)
    return [(under_load.BADGE, under_load.badge)] if is_checked else []


def _brief_row(case: CaseResults, outcomes: list[ColumnOf]) -> tuple[Cell, ...]:
    return (
        Cell(case.name, detail=_sample_of(case)),
        table.estimated(case, "output_tokens_per_second"),
        replace(table.estimated(case, "requests_per_second"), detail=_of_asked(case)),
        *(_median_over_p99(case, latency) for latency in ("ttft", "itl", "e2e")),
        replace(_harness(case), detail=""),
        *(cell_of(case) for _, cell_of in outcomes),
    )


def _sample_of(case: CaseResults) -> str:
    if not case.runs:
        return "not measured"
    if not case.has_requests:
        return "requests unknown"
    per_run, rest = divmod(case.requests, len(case.runs))
    if rest:
        return f"{case.requests:,} requests / {len(case.runs)}"
    return f"{len(case.runs)} × {per_run:,} requests"


def _median_over_p99(case: CaseResults, latency: str) -> Cell:
    median, p99 = (table.percentile(case, latency, p) for p in (50, 99))
    return replace(median, detail=f"p99 {p99.text}" if p99.value is not None else "")


def ladder(results: Results, latency: str) -> Table:
    """Return percentiles, mean and sample size of a latency, one row per case."""
    percentile, bound = (partial(of, latency=latency) for of in (table.percentile, _bound))
    columns: list[ColumnOf] = [
        (Column("samples", "in all runs"), partial(_samples, latency=latency)),
        *((Column(f"p{p}"), partial(percentile, percent=p)) for p in (50, 90, 95, 99)),
        *((Column(f"p{p} upper bound", BOUND), partial(bound, percent=p)) for p in (90, 99)),
        (Column("mean"), partial(table.estimated, metric=f"{latency}_mean")),
        *(
            (Column(f"added to p{p}", ADDED), partial(_added, key=f"{latency}_p{p}"))
            for p in (50, 99)
            if latency in ADDED_TO
        ),
    ]
    return table.by_case(LATENCIES[latency], results.measured, columns, (INTERVALS, DAGGER))


def _samples(case: CaseResults, latency: str) -> Cell:
    if not case.is_summary:
        return table.count(len(case.pooled(latency)))
    counts = sum(summary[f"{latency}_p50"].n for summary in case.summaries)
    return table.count(counts) if counts else table.missing(UNSTORED)


def _added(case: CaseResults, key: str) -> Cell:
    if case.is_summary:
        return table.missing(UNSTORED)
    if key not in case.validity.added:
        return table.missing("too few samples for this percentile")
    return table.quantity(case.validity.added[key], "s")


def _bound(case: CaseResults, latency: str, percent: int) -> Cell:
    """Return the upper bound of a percentile by MLPerf's early-stopping rule."""
    if latency == "itl":
        return table.missing("the gaps of one response are not independent")
    if case.is_summary:
        return table.missing(UNSTORED)
    sample, floor = case.pooled(latency), min_samples_for_percentile(percent)
    bound = percentile_upper_bound(sample, percent)
    if not np.isfinite(bound):
        return table.missing(f"{len(sample):,} samples; needs {floor}")
    return table.quantity(bound, "s")


# -- start, quality and memory ---------------------------------------------------------------------

TO_FIRST_TOKEN = STAGES[: STAGES.index("first_token") + 1]
CHECKED = Column(
    "checked against the model", "whether the tokens are those of its own forward", numeric=False
)
MEMORY = ("weights", "kv_cache", "kv_used", "allocator_peak", *PHASE_PEAKS)


def _cold_start_total(case: CaseResults) -> Cell:
    stages = [table.estimated(case, f"cold_start_{stage}_seconds") for stage in TO_FIRST_TOKEN]
    known = [cell.value for cell in stages if cell.value is not None]
    return table.quantity(sum(known), "s") if known else stages[0]


def cold_start(results: Results) -> Table:
    """Return each case's cold-start time by stage, and the result of its self-check."""
    columns: list[ColumnOf] = [
        *(table.metric_column(f"cold_start_{stage}_seconds") for stage in STAGES),
        (CHECKED, _checked),
    ]
    return table.by_case("Cold start", results.measured, columns, (INTERVALS,))


def _checked(case: CaseResults) -> Cell:
    checks = [check for run in case.runs if (check := run.backend_report.get("self_check"))]
    if not checks:
        return table.estimated(case, "cold_start_self_check_seconds")
    results = " / ".join(dict.fromkeys(check["result"] for check in checks))
    tokens, longest = (max(check[key] for check in checks) for key in ("tokens", "longest"))
    return Cell(results, detail=f"{tokens} tokens in sequences of up to {longest:,}")


QUALITY = (
    "perplexity_ratio", "perplexity", "kl_divergence", "top1_agreement", "logit_mse",
    "exact_match", "first_divergence", "draft_acceptance",
)  # fmt: skip


def quality(results: Results) -> Table:
    """Return the quality metrics of each case against the reference."""
    columns = [table.metric_column(name) for name in QUALITY]
    references = {run.quality.reference for case in results.measured for run in case.runs}
    named = ", ".join(sorted(filter(None, references)))
    note = f"Compared with {named} on the same tokens." if named else ""
    return table.by_case("Quality", results.measured, columns, (note,) if note else ())


def memory(results: Results) -> Table:
    """Return each case's memory by kind: weights, KV cache and allocator peaks."""
    columns = [table.metric_column(f"memory_{kind}_bytes") for kind in MEMORY]
    return table.by_case("Memory", results.measured, columns, (INTERVALS,))

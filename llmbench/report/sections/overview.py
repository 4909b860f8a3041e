"""Tables with one row per case, for the terminal, the page and Markdown."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from llmbench.analysis.harness_validity import ADDED_TO
from llmbench.analysis.metrics import LATENCIES, PHASE_PEAKS, STAGES
from llmbench.analysis.stats import min_samples_for_percentile, percentile_upper_bound
from llmbench.report.results import CaseResults, Results
from llmbench.report.sections import findings
from llmbench.report.table import (
    CASE,
    DAGGER,
    INTERVALS,
    Cell,
    CellOf,
    Column,
    Table,
    by_case,
    count,
    estimated,
    failed,
    metric_column,
    missing,
    percentile,
    percentile_column,
    quantity,
)

HARNESS = Column("harness", "whether the harness kept up and did not delay requests", numeric=False)


def _harness(case: CaseResults) -> Cell:
    return Cell(case.validity.verdict, detail="; ".join(case.validity.reasons))


def headline(results: Results) -> Table:
    """Return the main metrics, one row per case; the note names the metrics that no case has."""
    every = findings.find(results)
    columns: list[tuple[Column, CellOf]] = [
        (Column("runs", "processes that were measured"), lambda case: count(len(case.runs))),
        (Column("requests", "measured, in all runs"), lambda case: count(case.requests)),
        metric_column("output_tokens_per_second", "output tokens/s"),
        metric_column("requests_per_second"),
        *(percentile_column(*it) for it in (("ttft", 50), ("ttft", 99), ("itl", 50), ("itl", 99))),
        *(percentile_column(*it) for it in (("e2e", 50), ("e2e", 99))),
        (HARNESS, _harness),
        (Column("failed", "measured requests that failed or were not finished"), failed),
        metric_column("goodput_requests_per_second", "goodput/s"),
        metric_column("slo_attainment", "SLO met"),
        metric_column("mbu", "MBU"),
        metric_column("mfu", "MFU"),
        (Column("cold start", "import, load, compile and first token together"), _cold_start_total),
        metric_column("memory_weights_bytes"),
        metric_column("memory_allocator_peak_bytes", "GPU peak"),
        metric_column("cost_per_million_output_tokens", "cost per 1M tokens"),
        (
            Column("caveats", "reasons to doubt this case"),
            lambda case: count(sum(case.name in finding.cases for finding in every)),
        ),
    ]
    return by_case("Results", results.cases, columns, (INTERVALS, DAGGER))


def brief(results: Results) -> Table:
    """Return the main metrics as a compact terminal table, the p99 below each median latency."""
    columns = (
        CASE,
        metric_column("output_tokens_per_second", "output tokens/s")[0],
        metric_column("requests_per_second")[0],
        *(Column(f"{LATENCIES[latency]} p50") for latency in ("ttft", "itl", "e2e")),
        HARNESS,
        Column("failed"),
    )
    return Table("Results", columns, tuple(map(_brief_row, results.cases)))


def _brief_row(case: CaseResults) -> tuple[Cell, ...]:
    return (
        Cell(case.name, detail=_sample_of(case)),
        estimated(case, "output_tokens_per_second"),
        replace(estimated(case, "requests_per_second"), detail=""),
        *(_median_over_p99(case, latency) for latency in ("ttft", "itl", "e2e")),
        replace(_harness(case), detail=""),
        failed(case),
    )


def _sample_of(case: CaseResults) -> str:
    if not case.runs:
        return "not measured"
    per_run, rest = divmod(case.requests, len(case.runs))
    if rest:
        return f"{case.requests:,} requests / {len(case.runs)}"
    return f"{len(case.runs)} × {per_run:,} requests"


def _median_over_p99(case: CaseResults, latency: str) -> Cell:
    median, p99 = (percentile(case, latency, p) for p in (50, 99))
    return replace(median, detail=f"p99 {p99.text}" if p99.value is not None else "")


def ladder(results: Results, latency: str) -> Table:
    """Return percentiles, mean and sample size of a latency, one row per case."""
    columns: list[tuple[Column, CellOf]] = [
        (Column("samples", "of all processes"), lambda case: count(len(case.pooled(latency)))),
        *(
            (Column(f"p{p}"), partial(percentile, latency=latency, percent=p))
            for p in (50, 90, 95, 99)
        ),
        *(
            (
                Column(f"p{p} upper bound", "with 99 % confidence, pooled over processes"),
                partial(_upper_bound, latency=latency, percent=p),
            )
            for p in (90, 99)
        ),
        (Column("mean"), partial(estimated, metric=f"{latency}_mean")),
        *(
            (
                Column(
                    f"of p{p}, llmbench", "estimated part of the percentile that the harness added"
                ),
                partial(_added, key=f"{latency}_p{p}"),
            )
            for p in (50, 99)
            if latency in ADDED_TO
        ),
    ]
    return by_case(LATENCIES[latency], results.measured, columns, (INTERVALS, DAGGER))


def _added(case: CaseResults, key: str) -> Cell:
    if key not in case.validity.added:
        return missing("too few samples for this percentile")
    return quantity(case.validity.added[key], "s")


def _upper_bound(case: CaseResults, latency: str, percent: int) -> Cell:
    """Return the upper bound of a percentile by MLPerf's early-stopping rule."""
    if latency == "itl":
        return missing("the gaps of one response are not independent")
    sample, floor = case.pooled(latency), min_samples_for_percentile(percent)
    bound = percentile_upper_bound(sample, percent)
    if not np.isfinite(bound):
        return missing(f"{len(sample):,} samples; needs {floor}")
    return quantity(bound, "s")


# -- start, quality and memory ---------------------------------------------------------------------

TO_FIRST_TOKEN = STAGES[:-1]
MEMORY = ("weights", "kv_cache", "kv_used", "allocator_peak", *PHASE_PEAKS)


def _cold_start_total(case: CaseResults) -> Cell:
    stages = [estimated(case, f"cold_start_{stage}_seconds") for stage in TO_FIRST_TOKEN]
    known = [cell.value for cell in stages if cell.value is not None]
    return quantity(sum(known), "s") if known else stages[0]


def cold_start(results: Results) -> Table:
    """Return each case's cold-start time by stage, from import until step times are steady."""
    columns = [metric_column(f"cold_start_{stage}_seconds") for stage in STAGES]
    return by_case("Cold start", results.measured, columns, (INTERVALS,))


QUALITY = (
    "perplexity_ratio", "perplexity", "kl_divergence", "top1_agreement", "logit_mse",
    "exact_match", "first_divergence", "draft_acceptance",
)  # fmt: skip


def quality(results: Results) -> Table:
    """Return the quality metrics of each case against the reference."""
    columns = [metric_column(name) for name in QUALITY]
    references = {run.quality.reference for case in results.measured for run in case.runs}
    named = ", ".join(sorted(filter(None, references)))
    note = f"Compared with {named} on the same tokens." if named else ""
    return by_case("Quality", results.measured, columns, (note,) if note else ())


def memory(results: Results) -> Table:
    """Return each case's memory by kind: weights, KV cache and allocator peaks."""
    columns = [metric_column(f"memory_{kind}_bytes") for kind in MEMORY]
    return by_case("Memory", results.measured, columns, (INTERVALS,))

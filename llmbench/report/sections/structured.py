"""Answers that must have a form: how many have it, and the latencies with and without it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pyarrow as pa
import pyarrow.compute as pc

from llmbench.analysis.metrics.answers import COST_KEYS
from llmbench.report import table
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import DAGGER, INTERVALS, Cell, Column, ColumnOf, Table
from llmbench.runs.run import Run

FORM, NONE = "form", "none"
NO_FORM = "these requests have no constraint"
INVALID = Column(
    "invalid answers", "complete answers that violate the constraint, by reason", numeric=False
)
MEAN_TOKENS = Column("output tokens", "mean of the complete answers")


def structured(results: Results) -> Table:
    """Return the metrics of each case by the form that its requests ask for; no rows without any.

    Requests that ask for none have a row of their own.
    """
    asking = [case for case in results.measured if _asks(case)]
    split = [
        part
        for case in asking
        for part in replace(case, runs=tuple(map(_with_form, case.runs))).split(FORM, "form")
    ]
    columns: list[ColumnOf] = [
        table.REQUESTS,
        table.FAILED,
        (Column("valid", "complete answers that satisfy the constraint"), _valid),
        (INVALID, _reasons),
        *(table.percentile_column(*it) for it in product(("ttft", "tpot", "e2e"), (50, 99))),
        (MEAN_TOKENS, _mean_tokens),
    ]
    return table.by_case("Structured output", split, columns, (INTERVALS, DAGGER))


def cost(results: Results) -> Table:
    """Return what constraints cost each case; no rows if no prompt was sent both ways."""
    paired = [
        case
        for case in results.measured
        if any(case.estimates[key].value is not None for key in COST_KEYS)
    ]
    columns: list[ColumnOf] = [
        (Column("prompts", "sent with and without their constraint, in all runs"), _pairs),
        *(table.metric_column(key) for key in COST_KEYS),
    ]
    return table.by_case("What the constraint costs", paired, columns, (INTERVALS,))


def _asks(case: CaseResults) -> bool:
    return any(run.records["constraint"].null_count < run.records.num_rows for run in case.runs)


def _with_form(run: Run) -> Run:
    """Return a run whose records have a column with the form of each answer, also if none."""
    forms = pc.fill_null(run.records["constraint"], NONE)
    return replace(run, records=run.records.append_column(FORM, forms))


def _valid(case: CaseResults) -> Cell:
    if not _asks(case):
        return table.missing(NO_FORM)
    return table.estimated(case, "valid_answers")


def _good(case: CaseResults) -> Iterator[pa.Table]:
    return (observed.good for observed in case.observed)


def _reasons(case: CaseResults) -> Cell:
    reasons = Counter(
        reason for good in _good(case) for reason in good["invalid_reason"].drop_null().to_pylist()
    )
    if not reasons:
        return table.missing("every validated answer is valid" if _asks(case) else NO_FORM)
    return Cell(", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common()))


def _mean_tokens(case: CaseResults) -> Cell:
    tokens = [count for good in _good(case) for count in good["output_tokens"].to_pylist()]
    mean = sum(tokens) / len(tokens) if tokens else None
    return table.quantity(mean, "", "no answer is complete")


def _pairs(case: CaseResults) -> Cell:
    return table.count(sum(summary[COST_KEYS[-1]].n for summary in case.summaries))

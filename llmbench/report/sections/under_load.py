"""Determinism under load: whether answers equal those to the same prompts sent one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain

from llmbench.analysis.metrics.under_load import FIRST_CHANGES, changed
from llmbench.analysis.stats import wilson_interval
from llmbench.report import table
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import Cell, Column, ColumnOf, Table, show_interval
from llmbench.report.wording import listed
from llmbench.runs.run import Compared

DETERMINISTIC, CHANGED = "deterministic", "changed"
CHANGED_SEQUENTIAL = Column("changed, sequential", "between the two passes after the load")
WILSON = "Intervals are Wilson's at 95 %, pooled over processes."
BADGE = Column(
    "determinism check",
    "whether greedy answers under load equal those to the same prompts sent one at a time",
    numeric=False,
)
NEIGHBORS = Column("others in flight", "mean number of other requests during a compared one")
CACHED = Column("cached, sequential", "prompt tokens from a prompt cache in the first pass")


def under_load(results: Results) -> Table:
    """Return how the answers of each case change under load; no columns if none was checked."""
    columns: list[ColumnOf] = [
        (Column("answers", "of different prompts, in all runs"), _compared),
        (Column("changed under load"), partial(_share, mark="is_changed")),
        *(table.metric_column(key) for key in FIRST_CHANGES),
        (CHANGED_SEQUENTIAL, partial(_share, mark="changes_alone")),
        (Column("accuracy, sequential"), partial(_share, mark="right_alone")),
        (Column("accuracy under load"), partial(_share, mark="right_under_load")),
        (NEIGHBORS, _neighbors),
        (CACHED, _cached),
    ]
    return table.by_case("Determinism under load", results.measured, columns, (WILSON,))


def badge(case: CaseResults) -> Cell:
    """Return whether a case's answers change under load, or why that is unknown."""
    answers = _answers(case)
    if not answers:
        return table.missing(_reason(case))
    count = len(changed(answers))
    detail = f"{count} of {len(answers)} changed"
    return Cell(CHANGED if count else DETERMINISTIC, detail=detail)


def sentences(results: Results) -> Iterator[str]:
    """Yield which cases' answers change under load, and which do not."""
    checked = [(case, answers) for case in results.measured if (answers := _answers(case))]
    same = [f"{case.name} ({len(a)} of {len(a)})" for case, a in checked if not changed(a)]
    if same:
        yield (
            "Greedy answers under load equal those to the same prompts sent one at a time: "
            f"{listed(same)}."
        )
    for case, answers in checked:
        if count := len(changed(answers)):
            interval = show_interval(*wilson_interval(count, len(answers)), "share", " to ")
            alone = sum(answer.changes_alone for answer in answers)
            yield (
                f"Under load, {count} of {len(answers)} greedy answers of {case.name} differ from "
                f"those to the same prompts sent one at a time (95 % interval {interval}; {alone} "
                "changed between two sequential passes): its speed was measured with the changed "
                "answers."
            )


def _answers(case: CaseResults) -> list[Compared]:
    return [*chain.from_iterable(run.quality.under_load.answers for run in case.runs)]


def _reason(case: CaseResults) -> str:
    reasons = dict.fromkeys(run.quality.under_load.reason for run in case.runs)
    return next(filter(None, reasons), "no answers were compared")


def _compared(case: CaseResults) -> Cell:
    answers = _answers(case)
    return table.count(len(answers)) if answers else table.missing(_reason(case))


def _share(case: CaseResults, mark: str) -> Cell:
    answers = _answers(case)
    known = [value for a in answers if (value := getattr(a, mark)) is not None]
    if not known:
        return table.missing("the rows have no right answers" if answers else _reason(case))
    return _wilson(known)


def _wilson(marks: Sequence[bool]) -> Cell:
    count, n = sum(marks), len(marks)
    return table.quantity(
        count / n, "share", detail=show_interval(*wilson_interval(count, n), "share")
    )


def _neighbors(case: CaseResults) -> Cell:
    neighbors = [answer.neighbors for answer in _answers(case)]
    if not neighbors:
        return table.missing(_reason(case))
    return table.quantity(sum(neighbors) / len(neighbors), "")


def _cached(case: CaseResults) -> Cell:
    passes = [run.quality.under_load for run in case.runs]
    known = [one for one in passes if one.cached_tokens is not None]
    if not known:
        return table.missing("the backend reports no prompt cache")
    tokens = sum(one.cached_tokens or 0 for one in known)
    return table.quantity(tokens / sum(one.prompt_tokens for one in known), "share")

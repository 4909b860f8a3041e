"""Parts of a run, its errors, and the runs of a case together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow.compute as pc

from llmbench.analysis.metrics.named import METRICS, Metric, Value
from llmbench.analysis.metrics.observed import RecordArrays, succeeded
from llmbench.analysis.metrics.summary import summarize
from llmbench.analysis.stats import Estimate, estimate
from llmbench.runs.run import Run


def errors_by_kind(run: Run) -> dict[str, int]:
    """Count the failed measured requests of a run by kind of error."""
    measured = RecordArrays(run.records).measured
    kinds = pc.fill_null(measured["error_kind"], measured["finish"])
    failed = measured.append_column("kind", kinds).filter(pc.invert(succeeded(measured)))
    counts = failed.group_by("kind").aggregate([("request_id", "count")]).to_pylist()
    return {row["kind"]: row["request_id_count"] for row in counts}


def commonest_error(run: Run) -> str | None:
    """Give the kind that most failed requests of a run have, with one message; None if none has."""
    kinds = errors_by_kind(run)
    if not kinds:
        return None
    kind = max(kinds, key=lambda kind: kinds[kind])
    of_kind = run.records.filter(pc.equal(run.records["error_kind"], kind))
    message = of_kind["error_message"][0].as_py() if of_kind.num_rows else None
    return f"{kind}: {message}" if message else kind


# -- parts of a run --------------------------------------------------------------------------------


def only(run: Run, column: str, value: Any) -> Run:
    """Give a run with those of its requests alone that have a value in a column.

    The steps that served them served others too, so what steps did is not known of a part.
    """
    reasons = run.account.get("reasons", {}) | {"model": "steps serve all requests, not a part"}
    return replace(
        run,
        records=run.records.filter(pc.equal(run.records[column], value)),
        account=run.account | {"model": None, "reasons": reasons},
    )


def parts(runs: Sequence[Run], column: str) -> dict[Any, list[Run]]:
    """Split runs by what their requests have in a column; those with nothing are in no part."""
    values = {value for run in runs for value in pc.unique(run.records[column]).to_pylist()}
    return {value: [only(run, column, value) for run in runs] for value in sorted(values - {None})}


# -- runs of a case --------------------------------------------------------------------------------


def across(runs: list[Run]) -> dict[str, Estimate]:
    """Estimate every metric over the processes of one case."""
    return across_summaries([summarize(run) for run in runs])


def across_summaries(summaries: list[dict[str, Value]]) -> dict[str, Estimate]:
    """Estimate every metric over processes that are summarized already."""
    return {
        name: _estimate(metric, [summary[name] for summary in summaries])
        for name, metric in METRICS.items()
    }


def _estimate(metric: Metric, values: list[Value]) -> Estimate:
    reasons = [value.reason for value in values if value.reason]
    found = estimate([value.value for value in values], reasons[0] if reasons else None)
    if metric.unit == "share" and found.high is not None:
        # a cache may be faster than the roof, which is the memory's
        return replace(found, high=min(found.high, max(1.0, *found.values)))
    return found

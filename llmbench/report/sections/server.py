"""What the servers reported of themselves in the steady window."""

from __future__ import annotations

from llmbench.analysis import server_metrics
from llmbench.report import table
from llmbench.report.results import CaseResults, Results
from llmbench.report.table import INTERVALS, Cell, Column, ColumnOf, Table

OTHERS = (*server_metrics.MEANS, *server_metrics.SHARES, server_metrics.PREEMPTIONS)
PERCENTILES = tuple(f"{key}_p{percent}" for key in server_metrics.LATENCIES for percent in (50, 99))
NOTE = (
    "By the server's own count, of all its clients, between the first and last reading in the "
    "steady window. Percentiles are interpolated within the buckets of the server's histograms "
    "(as Prometheus does): a value is only as exact as its bucket is narrow."
)


def server(results: Results) -> Table:
    """Return each case's metrics by its server; no rows if none was collected."""
    if not any("server" in run.facts for case in results.measured for run in case.runs):
        return Table("Server", (), ())
    columns: list[ColumnOf] = [
        (Column("metrics of", "URL of the metrics", numeric=False), _source),
        *map(table.metric_column, (*OTHERS, *PERCENTILES)),
    ]
    return table.by_case("Server", results.measured, columns, (NOTE, INTERVALS))


def _source(case: CaseResults) -> Cell:
    urls = dict.fromkeys(run.facts["server"]["url"] for run in case.runs if "server" in run.facts)
    return Cell(", ".join(urls)) if urls else table.missing(server_metrics.NOT_COLLECTED)

"""What the servers reported of themselves in the steady window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from llmbench.analysis import server_metrics
from llmbench.analysis.server_metrics import only_server, servers
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
SEVERAL = (
    "Rows without a server name cover all servers: requests, counts and histograms are sums; the "
    "used share of the KV cache is the mean."
)


def server(results: Results) -> Table:
    """Return each case's metrics by its servers; no rows if none was collected.

    A case with several servers has a row of all together, and one per server.
    """
    cases = [*chain.from_iterable(map(_by_server, results.measured))]
    if not any(servers(run) for case in cases for run in case.runs):
        return Table("Server", (), ())
    columns: list[ColumnOf] = [
        (Column("metrics of", "URL of the metrics", numeric=False), _source),
        *map(table.metric_column, (*OTHERS, *PERCENTILES)),
    ]
    are_several = len(cases) > len(results.measured)
    notes = (NOTE, SEVERAL, INTERVALS) if are_several else (NOTE, INTERVALS)
    return table.by_case("Server", cases, columns, notes)


def _by_server(case: CaseResults) -> Iterator[CaseResults]:
    """Yield a case, and if it has several servers, once per server with only its metrics."""
    yield case
    names = dict.fromkeys(name for run in case.runs for name in servers(run))
    if len(names) < 2:  # noqa: PLR2004 (several)
        return
    for number, name in enumerate(names, start=1):
        own = replace(case.planned.case, name=f"{case.name}, server {number}")
        runs = tuple(only_server(run, name) for run in case.runs)
        yield replace(case, planned=replace(case.planned, case=own), runs=runs)


def _source(case: CaseResults) -> Cell:
    urls = dict.fromkeys(facts["url"] for run in case.runs for facts in servers(run).values())
    return Cell(", ".join(urls)) if urls else table.missing(server_metrics.NOT_COLLECTED)

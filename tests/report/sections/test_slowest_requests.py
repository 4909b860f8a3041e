"""The slowest requests of each case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from llmbench.report.results import Results
from llmbench.report.sections import slowest_requests
from llmbench.report.sections.slowest_requests import LISTED, listed, slowest
from llmbench.report.table import Table
from llmbench.runs.run_set import RunSet


def answered(run_set: RunSet, case: str) -> pd.DataFrame:
    """Read the answered, measured requests of all processes of a case."""
    frames = [
        pd.read_parquet(run_set.folder / "runs" / f"{case}-r{repeat}" / "records.parquet").assign(
            repeat=repeat
        )
        for repeat in (1, 2, 3)
    ]
    frame = pd.concat(frames)
    frame = frame[(frame["phase"] == "measured") & (frame["finish"] == "length")]
    first, last = (frame["token_times"].str[index] for index in (0, -1))
    return frame.assign(ttft=first - frame["due"], e2e=last - frame["due"])


def keys(table: Table, case: str) -> list[str]:
    return [row[0].opens for row in table.rows if row[0].opens.startswith(f"{case}/")]


@pytest.mark.parametrize("case", ["swift", "steady", "stalling"])
@pytest.mark.parametrize("latency", ["ttft", "e2e"])
def test_the_slowest_of_all_processes_come_first(
    sample: RunSet, results: Results, case: str, latency: str
) -> None:
    expected = answered(sample, case).nlargest(LISTED, latency)
    rows = zip(expected["repeat"], expected["request_id"], strict=True)
    assert keys(slowest(results, latency), case) == [f"{case}/{r}/{number}" for r, number in rows]


def test_a_row_has_the_exact_latencies(sample: RunSet, results: Results) -> None:
    expected = answered(sample, "swift").nlargest(1, "e2e").iloc[0]
    row = slowest(results, "e2e").rows[0]
    assert [cell.value for cell in row[1:3]] == [expected["e2e"], expected["ttft"]]
    assert row[-1].value == expected["output_tokens"]


def test_what_is_listed_is_named_by_run(results: Results) -> None:
    opened = {row[0].opens for latency in ("e2e", "ttft") for row in slowest(results, latency).rows}
    named = listed(results)
    assert {f"{run.rpartition('-r')[0]}/{run[-1]}/{n}" for run in named for n in named[run]} == (
        opened
    )


def test_all_requests_are_listed_if_there_are_few(make: Any, tmp_path: Path) -> None:
    plan = make.planned("only", 1)
    run = make.run_of(plan, make.serve(1, requests=2))
    found = Results(make.store_run_set(tmp_path / "set", [plan], [run]))
    assert len(slowest(found, "e2e").rows) == 2


@pytest.mark.parametrize(
    ("rows", "most", "requests"),
    [(7, 2, "2 slowest successful requests"), (2, 1, "slowest successful request")],
)
def test_of_many_cases_fewer_requests_are_listed(
    results: Results, monkeypatch: pytest.MonkeyPatch, rows: int, most: int, requests: str
) -> None:
    of_few = [keys(slowest(results, "e2e"), case.name)[:most] for case in results.measured]
    monkeypatch.setattr(slowest_requests, "ROWS", rows)
    of_many = slowest(results, "e2e")
    assert [keys(of_many, case.name) for case in results.measured] == of_few
    assert of_many.note == f"The {requests} of each case, over all its processes."


def test_a_request_of_one_chunk_says_why_it_has_no_gap(make: Any, tmp_path: Path) -> None:
    plan = make.planned("only", 1)
    served = [make.cut_short(request) for request in make.serve(1)]
    found = Results(make.store_run_set(tmp_path / "set", [plan], [make.run_of(plan, served)]))
    row = slowest(found, "e2e").rows[0]
    assert (row[4].value, row[4].note) == (None, "it has only one chunk")

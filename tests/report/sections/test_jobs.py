"""The tables, the chart and the sentences of agents' jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmbench.analysis.metrics.catalog import PATH_PARTS
from llmbench.report import charts, frames, job_times
from llmbench.report.results import Results
from llmbench.report.sections import jobs
from llmbench.runs.record import Record


def as_jobs(records: list[Record]) -> list[Record]:
    """Return requests as jobs of two in a row, those of the warm-up included."""
    parents: list[tuple[int, ...]] = [(), (0,)]
    return [
        replace(r, session=n // 2, turn=n % 2, parents=parents[n % 2], job_requests=2,
                delay_seconds=0.0, prompt_tokens=100, cached_tokens=80 * (n % 2))
        for n, r in enumerate(records[: len(records) // 2 * 2])
    ]  # fmt: skip


@pytest.fixture
def with_jobs(make: Any, tmp_path: Path) -> Results:
    plan = [make.planned("swift", 1), make.planned("still", 1)]
    runs = [make.run_of(plan[0], as_jobs(make.serve(1))), make.run_of(plan[1], make.serve(2))]
    return Results(make.store_run_set(tmp_path / "jobs", plan, runs))


def test_a_case_with_jobs_has_a_row(with_jobs: Results) -> None:
    table = jobs.jobs(with_jobs)
    (row,) = table.rows
    cells = dict(zip((column.label for column in table.columns), row, strict=True))
    assert (cells["case"].text, cells["jobs"].text, cells["failed"].text) == ("swift", "29", "0")
    assert cells["cached tokens"].text == "40.0 %"


def test_the_chart_has_a_bar_per_part_with_its_data(with_jobs: Results) -> None:
    chart = jobs.chart(with_jobs)
    assert [bar.name for bar in chart.figure.data] == [*PATH_PARTS]
    assert chart.empty == ""
    (data,) = chart.data
    assert len(data.rows) == 1


def test_the_distribution_has_the_job_times_of_the_cases_with_jobs(with_jobs: Results) -> None:
    chart = jobs.times(with_jobs)
    (line,) = chart.figure.data
    (case,) = [case for case in with_jobs.measured if jobs.has_jobs(case)]
    seconds = sorted(float(one) for one in case.observed[0].jobs.seconds)
    size = 1.0 if seconds[-1] >= charts.LONG_SECONDS else 1e-3
    assert line.name == "swift"
    assert [line.x[0] * size, line.x[-1] * size] == pytest.approx([seconds[0], seconds[-1]])
    assert (line.y[0], line.y[-1]) == (0, 1)
    assert len(chart.data[0].columns) == 2


def test_without_a_complete_job_the_distribution_says_so(results: Results) -> None:
    assert jobs.times(results).empty == "No measured job is complete."


def test_hits_have_a_row_per_number_of_requests_before(with_jobs: Results) -> None:
    rows = jobs.hits(with_jobs).rows
    assert [[cell.text for cell in row] for row in rows] == [
        ["swift", "0", "2,900", "0", "0.0 %"],
        ["swift", "1", "2,900", "2,320", "80.0 %"],
    ]


def test_without_jobs_there_are_no_rows_and_no_sentences(results: Results) -> None:
    assert jobs.jobs(results).rows == jobs.hits(results).rows == ()
    assert job_times.sentences(results) == []


def test_a_sentence_has_the_times_and_what_they_went_to(with_jobs: Results) -> None:
    (sentence,) = job_times.sentences(with_jobs)
    assert sentence.startswith("swift: 29 jobs took ")
    assert "(p95); of the critical path, " in sentence


def test_json_has_the_tokens_behind_the_hits(with_jobs: Results) -> None:
    assert frames.summary(with_jobs.run_set)["job_cache"] == [
        {"case": "swift", "requests_before": n, "prompt_tokens": 2900, "cached_tokens": cached}
        for n, cached in ((0, 0), (1, 2320))
    ]

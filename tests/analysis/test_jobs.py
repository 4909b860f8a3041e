"""Completion times, outcomes and cache hits of agents' jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llmbench.analysis.jobs import Jobs, cache_hits
from llmbench.analysis.metrics import METRICS, RecordArrays, summarize
from llmbench.analysis.metrics.catalog import PATH_PARTS
from llmbench.analysis.metrics.job_values import KEYS
from llmbench.analysis.slo_attainment import exceedances, percentiles
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.runs.run import Run, records_table
from llmbench.scenario.cases import Case


def request(
    session: int, turn: int, parents: tuple[int, ...], due: float, end: float, **of: Any
) -> Record:
    """Return a request of a job of four, sent when due and started a quarter of its time later."""
    one = Request(10 * session + turn, (1, 2), 2, session=session, turn=turn, parents=parents)
    quarter = (end - due) / 4
    times: dict[str, Any] = {"token_times": (due + 2 * quarter, end), "token_counts": (1, 1)}
    record = Record.of(one, due, due, "length", started=due + quarter, **times)
    return replace(record, **{"job_requests": 4, **of})


def fan_out(session: int = 0, begin: float = 0.0, **of: Any) -> list[Record]:
    """Return a job: two children wait for a request, and the last one for all; 12 seconds."""
    graph = [((), 0.0, 2.0), ((0,), 3.0, 5.0), ((0,), 4.0, 8.0), ((0, 1, 2), 8.5, 12.0)]
    return [
        request(session, turn, parents, begin + due, begin + end, **of)
        for turn, (parents, due, end) in enumerate(graph)
    ]


def jobs_of(*records: Record) -> Jobs:
    return RecordArrays(records_table(records)).jobs


def run_of(*records: Record, **spec: Any) -> Run:
    case = Case("fake", "fake", "fake", {}, {"slo": {}, **spec})
    return Run(case, 1, "2026-01-01T00:00:00+00:00", records_table(records))


def test_a_job_takes_from_the_due_time_of_the_first_request_to_the_last_response() -> None:
    (job,) = jobs_of(*fan_out(begin=1.0)).all
    assert (job.status, job.due, job.end, job.seconds) == ("complete", 1.0, 13.0, 12.0)


def test_the_path_goes_through_the_child_that_ended_last() -> None:
    jobs = jobs_of(*fan_out())
    turns = jobs.requests["turn"].to_pylist()
    assert [turns[row] for row in jobs.all[0].path] == [0, 2, 3]


def test_a_request_that_no_other_waits_for_can_be_the_last() -> None:
    records = fan_out()
    early = replace(records[3], parents=(0,), due=2.0, token_times=(3, 4))
    (job,) = jobs_of(*records[:3], early).all
    assert job.seconds == 8.0


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"finish": "error", "token_times": (), "token_counts": ()}, "failed"),
        ({"finish": "unfinished"}, "failed"),
        ({"finish": "abandoned", "abandoned_at": 9.0}, "abandoned"),
    ],
)
def test_the_worst_request_decides_on_its_job(changes: dict[str, Any], status: str) -> None:
    records = fan_out()
    (job,) = jobs_of(*records[:2], replace(records[2], **changes)).all
    assert (job.status, job.end, job.path) == (status, None, ())
    assert np.isnan(job.seconds)


def test_a_job_of_which_requests_were_never_sent_has_failed() -> None:
    jobs = jobs_of(*fan_out()[:3])
    assert (jobs.failed, jobs.judged, len(jobs.complete)) == (1, 1, 0)


def test_abandoned_jobs_are_not_judged() -> None:
    abandoned = [replace(r, finish="abandoned") for r in fan_out(1)]
    jobs = jobs_of(*fan_out(), *abandoned)
    assert (jobs.failed, jobs.judged, len(jobs.all)) == (0, 1, 2)


def test_a_job_counts_if_its_first_request_is_measured() -> None:
    first, *others = fan_out()
    drained = [replace(record, phase="drain") for record in others]
    assert len(jobs_of(first, *drained).complete) == 1
    assert jobs_of(replace(first, phase="warmup"), *others).all == []


def test_requests_outside_jobs_are_left_out() -> None:
    lone = [replace(r, parents=None, job_requests=None, delay_seconds=None) for r in fan_out()]
    assert jobs_of(*lone).all == []


def test_hits_are_counted_by_the_number_of_requests_before() -> None:
    records = [
        replace(record, prompt_tokens=100, cached_tokens=cached)
        for record, cached in zip(fan_out(), (0, 50, 70, None), strict=True)
    ]
    jobs = jobs_of(*records)
    assert jobs.depths.tolist() == [0, 1, 1, 2]
    assert cache_hits([jobs]) == {0: (0, 100), 1: (120, 200)}


# -- metrics ---------------------------------------------------------------------------------------


def values(*records: Record, **spec: Any) -> dict[str, float | None]:
    return {key: value.value for key, value in summarize(run_of(*records, **spec)).items()}


def test_every_metric_of_jobs_is_in_the_catalog() -> None:
    assert set(KEYS) <= set(METRICS)
    assert {key for key in METRICS if key.startswith("job")} <= set(KEYS)


def test_times_and_rates_are_those_of_complete_jobs() -> None:
    found = values(*fan_out(), *fan_out(1, begin=4.0), *fan_out(2, begin=20.0)[:3])
    assert (found["job_p50"], found["job_mean"]) == (12.0, 12.0)
    assert found["jobs_per_hour"] == 3600 * 2 / 24.0  # the window lasts until 24 s
    assert found["failed_jobs"] == 1


def test_the_parts_of_the_critical_path_add_up_to_the_job_time() -> None:
    found = values(*fan_out())
    parts = {part: found[f"job_path_{part}_seconds"] for part in PATH_PARTS}
    # requests 0, 2 and 3 take 2, 4 and 3.5 s; tools 2 s and 0.5 s
    assert parts == {"tools": 2.5, "queue": 2.375, "prefill": 2.375, "decode": 4.75, "rest": 0.0}
    assert sum(filter(None, parts.values())) == found["job_mean"]


def test_a_part_that_the_server_does_not_report_is_null_with_a_reason() -> None:
    silent = [replace(record, started=None) for record in fan_out()]
    summary = summarize(run_of(*silent))
    queue = summary["job_path_queue_seconds"]
    assert (queue.value, "does not report" in str(queue.reason)) == (None, True)
    assert summary["job_path_rest_seconds"].value == 4.75


def test_the_share_of_cached_tokens_is_that_of_all_prompts() -> None:
    cached = [replace(r, prompt_tokens=100, cached_tokens=25 * n) for n, r in enumerate(fan_out())]
    assert values(*cached)["job_cached_share"] == 0.375
    assert values(*fan_out())["job_cached_share"] is None


def test_without_jobs_every_metric_says_so() -> None:
    lone = [replace(record, parents=None, job_requests=None) for record in fan_out()]
    summary = summarize(run_of(*lone))
    assert {summary[key].reason for key in KEYS} == {"the workload has no jobs"}


def test_jobs_of_which_none_is_complete_have_no_times() -> None:
    found = summarize(run_of(*fan_out()[:3]))
    assert found["job_p50"].reason == "no measured job is complete"
    assert (found["failed_jobs"].value, found["failed_jobs"].n) == (1, 1)


# -- objectives ------------------------------------------------------------------------------------


def test_an_objective_of_jobs_is_judged_by_jobs_and_a_failed_one_misses_it() -> None:
    run = run_of(*fan_out(), *fan_out(1, begin=4.0)[:3], slo={"job_p95": 13.0})
    (exceedance,) = exceedances(run)
    assert str(exceedance) == "job time p95: 1 of 2 jobs above 13.0 s (0.1 allowed)"
    (attained,) = percentiles([run])
    assert attained.value == np.inf


def test_an_objective_of_jobs_is_none_of_requests() -> None:
    summary = summarize(run_of(*fan_out(), slo={"job_p95": 13.0}))
    assert "are of jobs" in str(summary["slo_attainment"].reason)
    both = summarize(run_of(*fan_out(), slo={"job_p95": 13.0, "e2e": 3.75}))
    assert both["slo_attainment"].value == 0.75

"""Rejected requests and preemptions in the metrics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llmbench.analysis.metrics import errors_by_kind, summarize
from llmbench.analysis.metrics.admission import KEYS
from llmbench.runs.record import Record
from llmbench.runs.run import Run, records_table
from llmbench.scenario.cases import Case

ENGINE = {"max_queue": 2, "queue": {"policy": "priority", "levels": ["chat"], "preempt": True}}
SERVED = Record(
    0, "measured", 0.0, 0.0, 0.0, (0.5, 1.0), (1, 1), 4, 2, "length", preemptions=2
)  # fmt: skip
REJECTED = Record(1, "measured", 0.5, 0.625, None, (), (), 4, 2, "rejected", preemptions=0)


def run(*records: Record, **spec: Any) -> Run:
    case = Case("c", "c", "fake", {}, spec)
    return Run(case, 1, "2026-01-01T00:00:00+00:00", records=records_table(list(records)))


def value(run: Run, name: str) -> float | None:
    return summarize(run)[name].value


def test_rejected_requests_are_counted_and_are_failures_of_their_own_kind() -> None:
    measured = run(SERVED, REJECTED, engine=ENGINE)
    assert [value(measured, name) for name in (*KEYS, "failed_requests")] == [1, 2, 1]
    assert errors_by_kind(measured) == {"rejected": 1}


def test_rejected_requests_miss_every_objective() -> None:
    slo = {"ttft": 100.0}
    measured = run(SERVED, replace(SERVED, request_id=2, due=1.0), REJECTED, engine=ENGINE, slo=slo)
    assert value(measured, "slo_attainment") == pytest.approx(2 / 3)


def test_requests_of_the_warm_up_do_not_count() -> None:
    warmup = replace(REJECTED, request_id=2, phase="warmup")
    assert value(run(SERVED, REJECTED, warmup, engine=ENGINE), "rejected_requests") == 1


@pytest.mark.parametrize(
    ("engine", "key", "reason"),
    [
        ({}, "rejected_requests", "the scenario sets no `engine.max_queue`"),
        ({}, "preemptions", "the scenario's `engine.queue` does not preempt"),
        ({"max_queue": 1}, "preemptions", "the scenario's `engine.queue` does not preempt"),
    ],
)
def test_without_a_setting_its_number_is_unavailable(
    engine: dict[str, Any], key: str, reason: str
) -> None:
    assert summarize(run(SERVED, engine=engine))[key].reason == reason


def test_a_server_whose_queue_is_its_own_has_neither() -> None:
    values = summarize(run(replace(SERVED, preemptions=None), engine=ENGINE))
    reason = "the requests do not wait in the queue of llmbench's engine"
    assert [values[key].reason for key in KEYS] == [reason, reason]

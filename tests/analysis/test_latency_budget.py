"""The parts of a request's time, which add up to its end-to-end latency."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.latency_budget import PARTS, budget
from llmbench.analysis.metrics import RecordArrays
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.runs.run import records_table


def record(**fields: Any) -> Record:
    """Return a record of a request due at 1 s, sent at 1.25 s, with tokens at 3 and 5 s."""
    known = {"token_times": (3.0, 5.0), "token_counts": (1, 1), **fields}
    return Record.of(Request(0, (1, 2), 2), 1.0, 1.25, "length", **known)


def parts(*records: Record) -> dict[str, list[float]]:
    of = budget([RecordArrays(records_table(records))])
    return {name: seconds.tolist() for name, seconds in of.items()}


def test_a_local_backend_reports_when_it_started_a_request() -> None:
    assert parts(record(started=2.0)) == {
        "send": [0.25], "connect": [0.0], "queue": [0.75], "prefill": [1.0], "rest": [0.0],
        "decode": [2.0],
    }  # fmt: skip


def test_a_server_reports_its_queue_and_time_to_first_token_by_its_own_clock() -> None:
    served = record(connect_seconds=0.125, server_queue_seconds=0.5, server_ttft_seconds=1.25)
    assert parts(served) == {
        "send": [0.25], "connect": [0.125], "queue": [0.5], "prefill": [0.75], "rest": [0.375],
        "decode": [2.0],
    }  # fmt: skip


def test_what_a_server_does_not_report_is_part_of_the_rest() -> None:
    served = record(server_prefill_seconds=1.0)
    assert parts(served) == {
        "send": [0.25], "connect": [0.0], "prefill": [1.0], "rest": [0.75], "decode": [2.0],
    }  # fmt: skip


def test_a_part_that_one_response_lacks_is_left_out_for_all() -> None:
    of = parts(record(server_prefill_seconds=1.0), record())
    assert "prefill" not in of
    assert of["rest"] == [1.75, 1.75]


def test_a_failed_request_has_no_parts() -> None:
    failed = replace(record(), finish="error", error_kind="timeout")
    assert all(not seconds for seconds in parts(failed).values())


seconds = st.floats(0, 10)
reported = st.fixed_dictionaries(
    {"connect_seconds": seconds},
    optional={"server_queue_seconds": seconds, "server_ttft_seconds": seconds},
)


@given(seconds, seconds, seconds, reported)
def test_the_parts_add_up_to_the_end_to_end_latency(
    sent: float, first: float, last: float, facts: dict[str, Any]
) -> None:
    times = (sent + first, sent + first + last)
    counts: dict[str, Any] = {"token_times": times, "token_counts": (1, 1)}
    of = parts(Record.of(Request(0, (1,), 2), 0.0, sent, "length", **counts, **facts))
    assert set(of) <= set(PARTS)
    assert np.sum([*of.values()]) == pytest.approx(sent + first + last)

"""The parts of a job's time, which add up to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.critical_path import critical_paths
from llmbench.analysis.metrics import RecordArrays
from llmbench.analysis.metrics.catalog import PATH_PARTS
from llmbench.runs.record import Record
from llmbench.runs.request import Request
from llmbench.runs.run import records_table


def record(of: tuple[int, int, int], parents: tuple[int, ...], due: float, *times: float) -> Record:
    """Return a request of a job, which starts at the first time and has tokens at the others.

    ``of`` has the job, its number of requests, and the turn.
    """
    session, size, turn = of
    request = Request(100 * session + turn, (1,), 2, session=session, turn=turn, parents=parents)
    started, *tokens = times
    tokened: dict[str, Any] = {"token_times": tokens, "token_counts": (1,) * len(tokens)}
    known = Record.of(request, due, due, "length", started=started, **tokened)
    return replace(known, job_requests=size)


def parts(*processes: list[Record]) -> dict[str, list[float]]:
    observed = [RecordArrays(records_table(records)).jobs for records in processes]
    return {part: seconds.tolist() for part, seconds in critical_paths(observed).items()}


TWO = [record((0, 2, 0), (), 0.0, 1.0, 2.0, 4.0), record((0, 2, 1), (0,), 7.0, 7.5, 8.0, 9.0)]


def test_the_parts_of_a_chain_are_those_of_its_requests_and_the_pauses() -> None:
    assert parts(TWO) == {
        "tools": [3.0], "queue": [1.5], "prefill": [1.5], "decode": [3.0], "rest": [0.0],
    }  # fmt: skip


def test_each_complete_job_of_each_process_has_its_own_parts() -> None:
    one = [record((5, 1, 0), (), 1.0, 1.0, 2.0, 2.5)]
    failed = [replace(TWO[0], session=9, request_id=900)]
    assert parts([*TWO, *one, *failed], one)["decode"] == [3.0, 0.5, 0.5]


def test_a_request_that_the_load_sent_after_its_stop_counts() -> None:
    assert parts([TWO[0], replace(TWO[1], phase="drain")]) == parts(TWO)


def test_time_until_a_request_was_sent_is_part_of_the_rest() -> None:
    late = [replace(TWO[0], sent=0.25), TWO[1]]
    assert parts(late)["rest"] == [0.25]
    assert parts(late)["queue"] == [1.25]


def test_what_is_not_reported_for_one_request_belongs_to_the_rest_of_all() -> None:
    silent = [TWO[0], replace(TWO[1], started=None)]
    found = parts(silent)
    assert set(found) == {"tools", "decode", "rest"}
    assert found["rest"] == [3.0]


def test_without_a_complete_job_there_are_no_seconds() -> None:
    assert all(not seconds for seconds in parts([TWO[0]]).values())


@st.composite
def jobs(draw: st.DrawFn) -> list[Record]:
    """Return a job with any graph, whose requests are due some time after those they wait for."""
    size = draw(st.integers(1, 7))
    ends: list[float] = []
    records = []
    steps = st.floats(0, 10)
    for turn in range(size):
        waits = draw(st.sets(st.integers(0, turn - 1), min_size=1, max_size=3)) if turn else set()
        due = max((ends[parent] for parent in waits), default=0.0) + draw(steps) * bool(turn)
        times = np.cumsum([due, *(draw(steps) for _ in range(3))]).tolist()[1:]
        ends.append(times[-1])
        records.append(record((0, size, turn), tuple(sorted(waits)), due, *times))
    return records


@given(jobs())
def test_the_parts_of_any_job_add_up_to_its_time(records: list[Record]) -> None:
    (job,) = RecordArrays(records_table(records)).jobs.all
    found = parts(records)
    assert set(found) == set(PATH_PARTS)
    assert sum(seconds for (seconds,) in found.values()) == pytest.approx(job.seconds)
    assert all(seconds >= -1e-9 for (seconds,) in found.values())

"""Requests that wait and that are in progress, counted from the records."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.report.sections.queue import mean_over_time, waiting_and_in_progress
from llmbench.runs.record import Record
from llmbench.runs.run import records_table
from llmbench.runs.series import Series

SECONDS = st.integers(0, 40).map(lambda quarters: quarters / 4)
STAYS = st.lists(st.tuples(SECONDS, SECONDS, SECONDS), min_size=1, max_size=30)


def record(number: int, due: float, started: float | None, *times: float, **more: Any) -> Record:
    return Record(
        request_id=number, phase="measured", due=due, sent=due, started=started,
        token_times=times, token_counts=(1,) * len(times), prompt_tokens=4, max_new_tokens=9,
        **{"finish": "length", **more},
    )  # fmt: skip


def counts(*records: Record) -> tuple[dict[float, float], dict[float, float]]:
    waiting, running = waiting_and_in_progress(records_table(records))
    return readings(waiting), readings(running)


def readings(series: Series) -> dict[float, float]:
    return dict(zip(series.times.tolist(), series.values.tolist(), strict=True))


@given(STAYS)
def test_every_count_is_that_of_the_requests_that_arrived_started_and_ended(
    stays: list[tuple[float, float, float]],
) -> None:
    records = [
        record(number, due, due + wait, due + wait, due + wait + work)
        for number, (due, wait, work) in enumerate(stays)
    ]
    waiting, running = waiting_and_in_progress(records_table(records))
    for series, begins, ends in (
        (waiting, [due for due, _, _ in stays], [due + wait for due, wait, _ in stays]),
        (running, [due + wait for due, wait, _ in stays], [sum(stay) for stay in stays]),
    ):
        counted = [
            sum(begin <= time < end for begin, end in zip(begins, ends, strict=True))
            for time in series.times
        ]
        assert series.values.tolist() == counted
        assert set(series.times) == {*begins, *ends}
        assert series.values[-1] == 0
        assert all(early < late for early, late in pairwise(series.times))


@given(STAYS)
def test_the_mean_of_a_count_is_the_time_of_all_requests_by_that_of_the_run(
    stays: list[tuple[float, float, float]],
) -> None:
    records = [record(n, due, due, due, due + work) for n, (due, _, work) in enumerate(stays)]
    _, running = waiting_and_in_progress(records_table(records))
    seconds = running.times[-1] - running.times[0]
    expected = sum(work for _, _, work in stays) / seconds if seconds else 0.0
    assert mean_over_time(running) == pytest.approx(expected)


def test_without_a_start_a_request_waits_for_its_first_token() -> None:
    assert counts(record(0, 1.0, None, 2.0, 3.0)) == ({1.0: 1, 2.0: 0}, {2.0: 1, 3.0: 0})


def test_a_request_without_tokens_leaves_at_its_last_known_time() -> None:
    assert counts(record(0, 1.0, 2.0, finish="error")) == ({1.0: 1, 2.0: 0}, {2.0: 0})


def test_an_unfinished_request_stays_until_the_end_of_the_run() -> None:
    waiting, running = counts(record(0, 1.0, 2.0, 9.0), record(1, 3.0, None, finish="unfinished"))
    assert waiting == {1.0: 1, 2.0: 0, 3.0: 1, 9.0: 0}
    assert running == {2.0: 1, 9.0: 0}


def test_unknown_times_of_tokens_are_left_out() -> None:
    assert counts(record(0, 1.0, None, np.nan, 2.0, 3.0))[1] == {2.0: 1, 3.0: 0}


def test_an_abandoned_request_leaves_as_its_user_gives_up() -> None:
    gone = {"finish": "abandoned", "abandoned_at": 2.0}
    waited, _ = counts(record(0, 0.0, None, **gone))
    assert waited == {0.0: 1.0, 2.0: 0.0}
    _, running = counts(record(0, 0.0, 0.5, 1.0, **gone))
    assert running == {0.5: 1.0, 2.0: 0.0}

"""How full the engines of a run were."""

from __future__ import annotations

import pytest
from simulated_loads import BEGAN, case, run_of

from llmbench.runs.record import Record
from llmbench.runs.run import Run, records_table
from llmbench.simulation.occupancy import Occupancy, busy_share, mean_rows, occupancy


def test_a_replica_is_busy_while_it_has_a_request() -> None:
    assert busy_share(run_of(case(), 1, [0.0, 1.0, 2.0, 3.0], 0.25), 1) == pytest.approx(0.75 / 3)


def test_replicas_without_a_request_are_idle() -> None:
    run = run_of(case(), 1, [0.0, 1.0, 2.0, 3.0], 0.25, replicas=2)
    assert busy_share(run, 2) == pytest.approx(0.75 / 3 / 2)
    assert busy_share(run, 4) == pytest.approx(0.75 / 3 / 4)


def overlapping() -> Run:
    """Two requests that overlap for a second, and one after them."""
    spans = [(0.0, 2.0, 10), (1.0, 3.0, 20), (3.0, 4.0, 5)]
    records = [
        Record(i, "measured", start, start, start, (start + 0.5, end), (1, 2), prompt, 3, "length")
        for i, (start, end, prompt) in enumerate(spans)
    ]
    return Run(case(), 1, BEGAN, records_table(records))


def test_overlapping_requests_are_counted_once_in_the_busy_time() -> None:
    assert busy_share(overlapping(), 1) == 1.0


def test_the_mean_number_of_requests_counts_overlapping_ones_twice() -> None:
    assert mean_rows(overlapping(), 1) == pytest.approx(4 / 3)  # 2 s and 2 s of 3 s
    assert mean_rows(overlapping(), 2) == pytest.approx(2 / 3)


def test_decode_steps_have_the_sequences_and_cached_tokens_of_their_moment() -> None:
    fullest = occupancy(overlapping())
    assert fullest.prompt_tokens == 20
    assert fullest.rows == 2  # when the first one's last tokens come
    assert fullest.depth == (10 + 1) + (20 + 1)


def test_the_first_token_is_not_of_a_decode_step() -> None:
    assert occupancy(run_of(case(), 1, [0.0, 0.25, 0.5], 0.25)).rows == 0


def test_one_long_prompt_of_many_does_not_count() -> None:
    records = [
        Record(
            i, "measured", i, i, i, (i + 0.5, i + 0.9), (1, 1), 900 if i == 7 else 10, 2, "length"
        )
        for i in range(200)
    ]
    assert occupancy(Run(case(), 1, BEGAN, records_table(records))).prompt_tokens == 10


def test_a_run_without_answers_is_idle() -> None:
    empty = Run(case(), 1, BEGAN)
    assert busy_share(empty, 1) == 0.0
    assert occupancy(empty) == Occupancy(0, 0, 0)

"""Whether a backend keeps up with the rate of an open loop."""

from __future__ import annotations

from typing import Any

import pytest

from llmbench.analysis.attained_rate import asked_rate, keeps_up
from llmbench.analysis.metrics import RecordArrays
from llmbench.runs.record import Record
from llmbench.runs.run import records_table


def served(seconds_each: float, requests: int = 80, warmup: int = 0) -> RecordArrays:
    """Requests that are due every second, and finish one after the other."""
    ends, now = [], 0.0
    for due in range(requests):
        now = max(now, due) + seconds_each
        ends.append(now)
    return RecordArrays(
        records_table(
            Record(i, "warmup" if i < warmup else "measured", float(i), float(i), float(i),
                   (end - seconds_each / 2, end), (1, 1), 4, 2, "length")
            for i, end in enumerate(ends)
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seconds_each", "expected"), [(0.5, True), (1.0, True), (1.1, True), (2.0, False)]
)
def test_a_backend_that_falls_behind_does_not_keep_up(
    seconds_each: float, *, expected: bool
) -> None:
    assert keeps_up([served(seconds_each)]) is expected


def test_a_few_requests_behind_prove_nothing() -> None:
    assert keeps_up([served(2.0, requests=20)])


def test_the_requests_of_all_processes_count_together() -> None:
    assert not keeps_up([served(2.0, requests=20)] * 4)


def test_latencies_as_long_as_the_window_are_not_overload_if_they_are_constant() -> None:
    slow = records_table(
        Record(i, "measured", float(i), float(i), float(i), (i + 30.0, i + 35.0), (1, 1), 4, 2,
               "length")
        for i in range(80)
    )  # fmt: skip
    assert keeps_up([RecordArrays(slow)])


@pytest.mark.parametrize(
    ("load", "rate"),
    [
        ({"kind": "poisson", "rate": 8.0}, 8.0),
        ({"kind": "closed", "concurrency": 4}, None),
        ({"kind": "trace"}, None),
    ],
)
def test_only_loads_of_a_constant_mean_rate_ask_for_a_rate(
    load: dict[str, Any], rate: float | None
) -> None:
    assert asked_rate(load) == rate


@pytest.mark.parametrize("times", [(), (1.0,)])
def test_users_who_give_up_do_not_leave_the_backend_behind(times: tuple[float, ...]) -> None:
    abandoned = records_table(
        Record(i, "measured", float(i), float(i), None, tuple(i + time for time in times),
               (1,) * len(times), 4, 2, "abandoned", abandoned_at=i + 2.0)
        for i in range(80)
    )  # fmt: skip
    assert keeps_up([RecordArrays(abandoned)])

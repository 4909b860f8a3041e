"""The course of a long run is that of its requests and readings, and drifts are told apart."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from llmbench.analysis import soak
from llmbench.analysis.metrics import RecordArrays
from llmbench.analysis.soak import Course
from llmbench.runs.record import Record
from llmbench.runs.run import Run, records_table
from llmbench.runs.series import Series
from llmbench.scenario.cases import Case

HOUR = 3600.0


def run_of(
    ttft: Callable[[float], float], seconds: float = HOUR, series: tuple[Series, ...] = ()
) -> Run:
    """Return a run with a request every 5 seconds, whose TTFT depends on its due time."""
    firsts = [(due, due + ttft(due)) for due in np.arange(0, seconds + 1, 5.0).tolist()]
    records = [
        Record(n, "measured", due, due, None, (first, first + 0.02), (1, 1), 4, 2, "length")
        for n, (due, first) in enumerate(firsts)
    ]
    return Run(Case("a", "a", "fake", {}, {}), 1, "", records_table(records), series)


def by_name(run: Run) -> dict[str, Course]:
    return {course.name: course for course in soak.courses(run, RecordArrays(run.records))}


def verdicts(run: Run) -> dict[str, bool]:
    found = soak.tested(soak.courses(run, RecordArrays(run.records)))
    return {one.course.name: one.drifts for one in found}


def jitter(due: float) -> float:
    return 0.001 * math.sin(12.9898 * due) ** 2


def test_an_hour_has_spans_of_a_minute() -> None:
    course = by_name(run_of(lambda _: 0.1))["ttft"]
    assert len(course.values) == 60
    assert course.times[:2].tolist() == [30.0, 90.0]
    assert course.values.tolist() == pytest.approx([0.1] * 60)


@pytest.mark.parametrize(("seconds", "spans"), [(600.0, 20), (8 * HOUR, 120)])
def test_shorter_and_longer_runs_have_at_least_20_and_at_most_120(
    seconds: float, spans: int
) -> None:
    assert len(by_name(run_of(lambda _: 0.1, seconds))["ttft"].values) == spans


def test_gaps_and_tokens_are_those_of_their_span() -> None:
    courses = by_name(run_of(lambda _: 0.1))
    assert courses["itl"].values.tolist() == pytest.approx([0.02] * 60)
    assert courses["output_tokens_per_second"].values[1:-1].tolist() == pytest.approx([0.4] * 58)


def test_readings_are_means_of_their_span() -> None:
    times = np.arange(0, HOUR, 10.0)
    memory = Series.measured("harness_rss_bytes", "B", times, 1e6 + times)
    course = by_name(run_of(lambda _: 0.1, series=(memory,)))["harness_rss_bytes"]
    assert course.values[0] == pytest.approx(1e6 + 25)
    assert course.series is memory


def test_other_and_unavailable_readings_have_no_course() -> None:
    series = (
        Series.unavailable("harness_rss_bytes", "B", "none"),
        Series.measured("system_cpu_percent", "%", [1.0, 2.0], [1.0, 2.0]),
    )
    assert by_name(run_of(lambda _: 0.1, series=series)).keys() == {
        "ttft", "itl", "output_tokens_per_second",
    }  # fmt: skip


def test_a_rising_ttft_drifts_and_the_rest_does_not() -> None:
    found = verdicts(run_of(lambda due: 0.1 + 1e-5 * due + jitter(due)))
    assert found["ttft"]
    assert not found["itl"]


def test_a_shift_of_ttft_has_its_time_and_levels() -> None:
    run = run_of(lambda due: (0.1 if due < HOUR / 2 else 0.15) + jitter(due))
    found = soak.tested(soak.courses(run, RecordArrays(run.records)))
    ttft = next(one for one in found if one.course.name == "ttft")
    assert ttft.drifts
    (shift,) = ttft.shifts
    assert ttft.course.times[shift.index] == pytest.approx(HOUR / 2 + 30)
    assert (shift.before, shift.after) == pytest.approx((0.1, 0.15), abs=0.001)


def test_a_significant_but_irrelevant_slope_is_no_drift() -> None:
    run = run_of(lambda due: 0.1 + 2e-7 * due)
    found = soak.tested(soak.courses(run, RecordArrays(run.records)))
    (ttft,) = (one for one in found if one.course.name == "ttft")
    assert ttft.drift is not None
    assert ttft.drift.p < 1e-6
    assert ttft.change == pytest.approx(2e-7 * HOUR / 0.1, rel=0.05)
    assert not ttft.drifts


def test_equal_values_are_not_tested() -> None:
    course = Course("x", "s", np.arange(60.0), np.ones(60))
    (tested,) = soak.tested([course])
    assert (tested.drift, tested.drifts, tested.change) == (None, False, 0.0)


def test_nothing_is_tested_without_courses() -> None:
    assert soak.tested([]) == []
    assert soak.significant([]) == []


def test_a_short_run_is_no_soak() -> None:
    assert soak.is_soak(RecordArrays(run_of(lambda _: 0.1, 600).records))
    assert not soak.is_soak(RecordArrays(run_of(lambda _: 0.1, 590).records))
    assert not soak.is_soak(RecordArrays(run_of(lambda _: 0.1, 0).records))


def test_more_quantities_need_smaller_p_values() -> None:
    assert soak.significant([0.04]) == [True]
    assert soak.significant([0.04, 0.5]) == [False, False]
    assert soak.significant([0.02, 0.5]) == [True, False]


def test_strongly_correlated_spans_without_a_drift_are_undecided() -> None:
    waves = np.repeat([1.0, 1.2, 0.9, 1.1, 0.95, 1.15], 10) + 1e-3 * np.sin(np.arange(60.0))
    mixed = waves.reshape(6, 10).T.ravel()
    (undecided,), (decided,) = (
        soak.tested([Course("x", "s", np.arange(60.0), values)]) for values in (waves, mixed)
    )
    assert undecided.is_undecided
    assert not undecided.drifts
    assert not decided.is_undecided

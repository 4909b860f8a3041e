"""Every metric has its exact known value on records that are known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.analysis.metrics import (
    METRICS,
    RecordArrays,
    Value,
    across,
    commonest_error,
    errors_by_kind,
    requests_where,
    series_mean,
    series_rise,
    split_runs,
    summarize,
)
from llmbench.analysis.metrics.catalog import SCALES
from llmbench.runs.record import Finish, Record
from llmbench.runs.request import Phase
from llmbench.runs.run import Failure, Run, records_table
from llmbench.runs.series import Series
from llmbench.scenario.cases import Case


def record(
    number: int,
    due: float,
    times: tuple[float, ...],
    *,
    counts: tuple[int, ...] | None = None,
    phase: Phase = "measured",
    finish: Finish = "length",
    **more: Any,
) -> Record:
    return Record(
        request_id=number,
        phase=phase,
        due=due,
        sent=more.pop("sent", due),
        started=more.pop("started", due),
        token_times=times,
        token_counts=counts or (1,) * len(times),
        prompt_tokens=10,
        max_new_tokens=len(times),
        finish=finish,
        **more,
    )


def run(*records: Record, **more: Any) -> Run:
    plain: dict[str, Any] = {
        "case": Case("c", "c", "fake", {}, more.pop("spec", {})), "repeat": 1,
        "began_at": "2026-01-01T00:00:00+00:00", "records": records_table(list(records)),
    }  # fmt: skip
    return Run(**{**plain, **more})


def value(run: Run, name: str) -> float | None:
    return summarize(run)[name].value


TWO = (
    record(0, 0.0, (0.5, 0.75, 1.0), sent=0.125, started=0.25),
    record(1, 1.0, (2.0, 2.5), sent=1.0, started=1.5),
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ttft_mean", (0.5 + 1.0) / 2),
        ("service_ttft_mean", (0.375 + 1.0) / 2),
        ("queue_time_mean", (0.25 + 0.5) / 2),
        ("itl_mean", (0.25 + 0.25 + 0.5) / 3),
        ("tpot_mean", (0.25 + 0.5) / 2),
        ("e2e_mean", (1.0 + 1.5) / 2),
        ("send_lag_mean", 0.125 / 2),
        ("ttft_p50", 0.75),
        ("ttft_p99", 0.995),
        ("steady_window_seconds", 1.0),
        ("makespan_seconds", 2.5),
        ("drain_seconds", 1.5),
        ("failed_requests", 0),
        ("output_tokens_per_second", 2.0),  # 0.5 and 0.75 are inside [0, 1), 1.0 is not
        ("total_tokens_per_second", 12.0),
        ("requests_per_second", 0.0),
    ],
)
def test_every_metric_of_two_requests_is_known(name: str, expected: float) -> None:
    assert value(run(*TWO), name) == pytest.approx(expected, rel=1e-12)


def test_a_chunk_of_several_tokens_is_one_gap_and_several_tokens() -> None:
    arrays = RecordArrays(run(record(0, 0.0, (1.0, 2.0), counts=(1, 4))).records)
    assert arrays.itl.tolist() == [1.0]
    assert arrays.tpot.tolist() == [0.25]


def test_gaps_between_requests_are_not_inter_token_latencies() -> None:
    arrays = RecordArrays(run(record(0, 0.0, (1.0, 2.0)), record(1, 5.0, (9.0, 9.5))).records)
    assert arrays.itl.tolist() == [1.0, 0.5]


def test_tokens_in_one_chunk_have_no_tpot() -> None:
    whole = record(0, 0.0, (1.0,), counts=(8,))
    assert summarize(run(whole))["tpot_p50"].value is None


def test_tokens_without_a_stamp_have_no_itl_and_count_at_an_interpolated_time() -> None:
    middle = record(0, 0.0, (0.5, math.nan, 1.5), counts=(1, 6, 1), finish="ended")
    stamped = run(middle, record(1, 1.25, (1.75,), finish="ended"))
    assert value(stamped, "itl_p50") is None
    assert value(stamped, "tpot_p50") == 1.0 / 7
    assert value(stamped, "makespan_seconds") == 1.75
    assert value(stamped, "output_tokens_per_second") == 7 / 1.25


def test_without_the_length_of_a_prompt_there_is_no_rate_of_all_tokens() -> None:
    unknown = replace(record(0, 0.0, (0.5,)), prompt_tokens=None)
    rate = summarize(run(unknown, record(1, 1.0, (1.5,))))["total_tokens_per_second"]
    assert (rate.value, rate.reason) == (None, "some prompt lengths are unknown")


def test_content_ttft_excludes_reasoning() -> None:
    summary = summarize(run(record(0, 0.5, (1.0, 2.0, 3.0), first_content=2.0)))
    assert summary["ttft_p50"].value == 0.5
    assert summary["content_ttft_p50"].value == 1.5


def test_a_request_of_one_token_has_no_tpot() -> None:
    tpot = summarize(run(record(0, 0.0, (1.0,))))["tpot_p50"]
    assert (tpot.value, tpot.reason) == (None, "no measured request has this latency")


def test_the_warm_up_has_no_latencies_but_its_tokens_count_as_throughput() -> None:
    measured = run(record(0, 0.0, (1.5, 9.0), phase="warmup"), *TWO[1:], record(2, 2.0, (3.0,)))
    assert value(measured, "ttft_p50") == 1.0
    assert value(measured, "output_tokens_per_second") == 1.0


def test_failed_requests_are_counted_by_kind_and_have_no_latency() -> None:
    broken = record(2, 0.5, (0.6,), finish="error", error_kind="timeout", error_message="slow")
    measured = run(*TWO, broken, record(3, 0.7, (), finish="unfinished"))
    assert errors_by_kind(measured) == {"timeout": 1, "unfinished": 1}
    assert value(measured, "failed_requests") == 2
    assert summarize(measured)["ttft_p50"].n == 2


def test_requests_without_tokens_do_not_count_as_finished() -> None:
    failed = record(1, 1.0, (), finish="error", error_kind="http-500")
    with_failed = run(record(0, 0.0, (0.5,)), failed, record(2, 2.0, (2.5,)))
    assert value(with_failed, "requests_per_second") == 0.5


def test_goodput_counts_requests_that_meet_every_objective() -> None:
    records = [record(i, float(i), (i + 0.25, i + 0.5)) for i in range(4)]
    slow = record(4, 4.0, (4.75, 4.875))
    spec = {"slo": {"ttft_p99": 0.5, "itl": 0.25}}
    measured = run(*records, slow, record(5, 10.0, (10.25, 10.5)), spec=spec)
    assert value(measured, "goodput_requests_per_second") == 0.4
    assert value(measured, "slo_attainment") == pytest.approx(5 / 6)


def test_one_long_gap_misses_an_itl_objective() -> None:
    spec = {"slo": {"itl": 0.25}}
    measured = run(record(0, 0.0, (0.1, 0.2, 0.9)), record(1, 1.0, (1.1, 1.2)), spec=spec)
    assert value(measured, "slo_attainment") == 0.5


def test_failures_are_in_the_denominator_of_the_attainment() -> None:
    spec = {"slo": {"ttft": 100.0}}
    measured = run(*TWO, record(2, 0.5, (), finish="error", error_kind="http-500"), spec=spec)
    assert value(measured, "slo_attainment") == pytest.approx(2 / 3)


def test_requests_that_were_all_due_at_once_have_no_steady_window() -> None:
    rate = summarize(run(record(0, 0.0, (1.0,)), record(1, 0.0, (2.0,))))["requests_per_second"]
    assert rate.value is None
    assert rate.reason is not None
    assert "no steady window" in rate.reason


def test_cost_follows_from_the_price_and_the_throughput() -> None:
    measured = run(*TWO, spec={"price_per_hour": 3.6})
    assert value(measured, "cost_per_million_output_tokens") == pytest.approx(500.0)


def test_a_price_by_kind_of_node_is_that_of_the_kind_of_the_run() -> None:
    node = {"node": {"name": "a", "kind": "L4", "resources": {}}}
    measured = run(*TWO, spec={"price_per_hour": {"H100": 36.0, "L4": 3.6}}, facts=node)
    assert value(measured, "cost_per_million_output_tokens") == pytest.approx(500.0)


def test_a_value_that_a_backend_does_not_report_is_none_with_the_reason() -> None:
    backend_report = {
        "memory": {"allocator_peak": None},
        "reasons": {"allocator_peak": "needs CUDA"},
    }
    peak = summarize(run(*TWO, backend_report=backend_report))["memory_allocator_peak_bytes"]
    assert (peak.value, peak.reason) == (None, "needs CUDA")


def test_a_failed_run_has_every_metric_without_a_value() -> None:
    failed = summarize(run(failure=Failure("killed", "out of memory")))
    assert failed.keys() == METRICS.keys()
    assert all(v.value is None and v.reason for v in failed.values())


def test_a_series_is_averaged_over_the_window_only() -> None:
    series = Series.measured("gpu0_power_average_watts", "W", (0.0, 1.0, 2.0), (10.0, 30.0, 50.0))
    assert series_mean(series, (0.5, 2.5)).value == 40.0


def test_an_unavailable_series_has_no_mean_but_a_reason() -> None:
    mean = series_mean(Series.unavailable("gpu0_power_average_watts", "W", "no NVML"), None)
    assert (mean.value, mean.reason) == (None, "no NVML")


TOTAL = Series.measured("wall_energy_joules", "J", (0.0, 1.0, 3.0), (5.0, 15.0, 55.0))


def test_a_running_total_has_its_increase_over_the_window() -> None:
    assert series_rise(TOTAL, (0.5, 2.0)).value == 25.0
    assert series_rise(TOTAL, None).value == 50.0


@pytest.mark.parametrize("window", [(-0.1, 2.0), (0.5, 3.1)])
def test_a_running_total_is_unavailable_beyond_its_readings(window: tuple[float, float]) -> None:
    rise = series_rise(TOTAL, window)
    assert (rise.value, rise.reason) == (None, "the readings do not cover the steady window")


def test_an_unavailable_total_has_no_increase_but_a_reason() -> None:
    rise = series_rise(Series.unavailable("wall_energy_joules", "J", "no meter"), (0.0, 1.0))
    assert (rise.value, rise.reason) == (None, "no meter")


def test_a_positive_metric_of_a_case_is_the_geometric_mean_of_its_processes() -> None:
    runs = [run(record(0, 0.0, (float(ttft),))) for ttft in (1, 2, 4)]
    estimate = across(runs)["ttft_p50"]
    assert estimate.value == pytest.approx(2.0)
    assert (estimate.values, estimate.n) == ((1.0, 2.0, 4.0), 3)


def test_a_metric_that_can_be_0_is_the_mean_of_its_processes() -> None:
    runs = [run(record(0, 0.0, (4.0,), sent=float(lag))) for lag in (0, 1, 2)]
    estimate = across(runs)["send_lag_p50"]
    assert (estimate.value, estimate.low) == (1.0, 0.0)


def test_failed_requests_of_a_case_are_a_share_of_all_its_requests() -> None:
    good, bad = record(0, 0.0, (1.0,)), replace(record(1, 0.0, (1.0,)), finish="error")
    estimate = across([run(good, bad), run(good, good), run(good, good)])["failed_requests"]
    assert estimate.value == pytest.approx(1 / 3)
    assert estimate.high is not None
    assert 1 < estimate.high < 2  # of 2 requests per process


@pytest.mark.parametrize(
    ("metric", "scale"),
    [
        ("ttft_p99", "positive"),
        ("queue_time_p50", "nonnegative"),
        ("cold_start_compile_seconds", "nonnegative"),
        ("slo_attainment", "share"),
        ("failed_requests", "count"),
        ("mbu", "positive"),
    ],
)
def test_a_metric_has_a_scale(metric: str, scale: str) -> None:
    assert METRICS[metric].scale == scale


def test_every_scale_of_the_catalog_is_that_of_a_metric() -> None:
    listed = {name for names in SCALES.values() for name in names}
    assert listed - {*METRICS} == {"queue_time", "send_lag"}


times = st.lists(st.floats(0.001, 10), min_size=1, max_size=6)


@given(st.lists(st.tuples(st.floats(0, 100), times), min_size=1, max_size=12))
def test_latencies_equal_a_plain_computation_request_by_request(
    drawn: list[tuple[float, list[float]]],
) -> None:
    records = [
        record(i, due, tuple((due + np.cumsum(gaps)).tolist()))
        for i, (due, gaps) in enumerate(drawn)
    ]
    arrays = RecordArrays(records_table(records))
    ordered = sorted(records, key=lambda r: (r.due, r.request_id))
    assert arrays.ttft.tolist() == [r.token_times[0] - r.due for r in ordered]
    assert arrays.e2e.tolist() == [r.token_times[-1] - r.due for r in ordered]
    gaps = [b - a for r in ordered for a, b in zip(r.token_times, r.token_times[1:], strict=False)]
    assert arrays.itl.tolist() == gaps
    longest = [
        max((b - a for a, b in zip(r.token_times, r.token_times[1:], strict=False)), default=np.nan)
        for r in ordered
    ]
    np.testing.assert_array_equal(arrays.longest_gap, longest)


def test_the_commonest_error_has_one_message() -> None:
    failed: dict[str, Any] = {"finish": "error", "error_kind": "http-422"}
    measured = run(
        record(0, 0.0, (), finish="unfinished"),
        record(1, 0.1, (), **failed, error_message="no such field"),
        record(2, 0.2, (), **failed, error_message="no such field"),
    )
    assert commonest_error(measured) == "http-422: no such field"
    assert commonest_error(run(record(0, 0.0, (1.0,)))) is None


CLASSED = [
    record(0, 0.0, (0.1,), request_class="chat"),
    record(1, 1.0, (1.4,), request_class="chat"),
    record(2, 2.0, (5.0,), request_class="batch"),
    record(3, 3.0, (3.4,)),
]


def test_an_objective_of_a_class_applies_to_that_class_only() -> None:
    measured = run(*CLASSED, spec={"slo": {"chat.ttft_p99": 0.2}})
    assert value(measured, "slo_attainment") == 0.75


def test_an_objective_without_a_class_applies_to_all() -> None:
    measured = run(*CLASSED, spec={"slo": {"ttft": 0.5}})
    assert value(measured, "slo_attainment") == 0.75


def test_a_run_is_split_by_class_without_the_requests_of_no_class() -> None:
    split = split_runs([run(*CLASSED)], "request_class")
    assert {name: value(runs[0], "ttft_p50") for name, runs in split.items()} == {
        "batch": 3.0,
        "chat": pytest.approx(0.25),
    }


def test_a_run_can_be_reduced_to_one_class() -> None:
    assert requests_where(run(*CLASSED), "request_class", "chat").records.num_rows == 2


COSTS = {
    "matmul_bytes": 100, "other_bytes": 0, "embedding_bytes": 0, "embedding_row_bytes": 0,
    "matmul_parameters": 25, "head_parameters": 0, "vocabulary": 9, "tied": False, "state_bytes": 4,
    "layers": [{"count": 1, "heads": 1, "kv_heads": 1, "head_size": 1, "window": None}],
}  # fmt: skip
PEAKS = {
    "hardware": "a processor", "device": "cpu", "precision": "float32", "threads": 1,
    "torch": "2.13.0", "bytes_per_second": 1000.0, "flops_per_second": 1000.0,
    "other_load_percent": 0.0, "measured_at": "2026-01-01T00:00:00+00:00",
}  # fmt: skip
COUNTED = {"model_costs": COSTS, "device_peaks": PEAKS}


def test_steps_inside_the_window_give_mbu_and_cache_use() -> None:
    steps = (record(0, 0.0, (0.25, 0.5)), record(1, 1.0, (1.5,)))
    measured = run(*steps, backend_report=COUNTED)
    # one decode in 0.25 s: all weights, 11 positions read and one written
    assert value(measured, "decode_step_bytes") == 100 + 12 * 8
    assert value(measured, "mbu") == 196 / 0.25 / 1000
    assert value(measured, "memory_kv_used_bytes") == 11 * 8


def test_mbu_is_unavailable_for_a_part_of_the_requests() -> None:
    part = requests_where(run(*CLASSED, backend_report=COUNTED), "request_class", "chat")
    summary = summarize(part)
    assert summary["mbu"] == Value.unavailable("steps are shared by all requests")
    assert summary["memory_kv_used_bytes"].value is None


def test_the_interval_of_a_share_above_one_contains_it() -> None:
    fast = [{**PEAKS, "bytes_per_second": rate} for rate in (300.0, 310.0, 320.0)]
    steps = (record(0, 0.0, (0.25, 0.5)), record(1, 1.0, (1.5,)))
    runs = [run(*steps, backend_report={**COUNTED, "device_peaks": peaks}) for peaks in fast]
    estimate = across(runs)["mbu"]
    assert estimate.low is not None
    assert estimate.value is not None
    assert estimate.high is not None
    assert 1 < estimate.low <= estimate.value <= estimate.high


@given(measured=st.lists(st.booleans(), max_size=6))
def test_measured_requests_are_selected_at_any_position(measured: list[bool]) -> None:
    phases: list[Phase] = ["measured" if is_measured else "warmup" for is_measured in measured]
    records = [
        record(number, float(number), (number + 0.25, number + 1.0 + number), phase=phase)
        for number, phase in enumerate(phases)
    ]
    expected = [number for number, is_measured in enumerate(measured) if is_measured]
    arrays = RecordArrays(records_table(records))
    assert arrays.measured["request_id"].to_pylist() == expected
    assert arrays.itl.tolist() == [0.75 + number for number in expected]


GIVEN_UP = record(2, 0.25, (0.5, 0.625), finish="abandoned", abandoned_at=0.75)


def test_abandoned_requests_are_counted_apart_from_failures() -> None:
    measured = run(*TWO, GIVEN_UP, spec={"abandon": {"share": 0.1, "after": 0.5}})
    names = ("failed_requests", "abandoned_requests", "abandoned_output_tokens")
    assert [value(measured, name) for name in names] == [0, 1, 2]
    assert errors_by_kind(measured) == {}


def test_abandoned_requests_are_neither_met_nor_missed_objectives() -> None:
    spec = {"slo": {"ttft": 100.0}}
    failed = record(3, 0.5, (), finish="error", error_kind="http-500")
    assert value(run(*TWO, GIVEN_UP, spec=spec), "slo_attainment") == 1.0
    assert value(run(*TWO, GIVEN_UP, failed, spec=spec), "slo_attainment") == pytest.approx(2 / 3)
    goodputs = {value(run(*TWO, *more, spec=spec), "goodput_requests_per_second")
                for more in ((), (GIVEN_UP,))}  # fmt: skip
    assert len(goodputs) == 1


def test_the_latencies_of_abandoned_requests_do_not_count_and_their_tokens_do() -> None:
    alone, both = run(*TWO), run(*TWO, GIVEN_UP)
    for name in ("ttft_mean", "e2e_p99", "itl_p50", "tpot_p50", "requests_per_second"):
        assert value(both, name) == value(alone, name)
    rates = [value(each, "output_tokens_per_second") for each in (alone, both)]
    assert rates == [2.0, 4.0]


def test_without_abandonment_its_numbers_are_unavailable() -> None:
    assert summarize(run(*TWO))["abandoned_requests"].reason == "the scenario sets no `abandon`"


def test_nothing_is_judged_if_every_request_is_abandoned() -> None:
    measured = run(GIVEN_UP, spec={"slo": {"ttft": 100.0}})
    assert summarize(measured)["slo_attainment"].reason == "no requests"
    assert (RecordArrays(measured.records).failed, RecordArrays(measured.records).judged) == (0, 0)

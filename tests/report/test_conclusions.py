"""The sentences at the top claim no more than the intervals allow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llmbench.report.conclusions import answer, completeness
from llmbench.report.results import Results
from llmbench.runs.run import Failure, PlannedRun, Run, records_table


def failed(make: Any, plan: PlannedRun) -> Run:
    run: Run = make.run_of(
        plan, make.serve(1), records=records_table([]), series=(), failure=Failure("error", "x")
    )
    return run


def test_intervals_that_do_not_overlap_name_the_best_and_by_how_much(results: Results) -> None:
    assert answer(results)[0] == (
        "swift has the lowest TTFT p50: 21.5 ms (95 % interval 20.8 to 22.3 ms), "
        "5.6 % lower than stalling (22.8 ms)."
    )


def servers(make: Any, folder: Path, **spec: Any) -> Results:
    """Three processes of each simulated server."""
    cases = ("swift", "steady", "stalling")
    plan = [make.planned(case, repeat, **spec) for repeat in (1, 2, 3) for case in cases]
    return Results(make.store_run_set(folder / "set", plan, make.sample_runs(plan)))


def test_overlapping_intervals_are_no_significant_difference(make: Any, tmp_path: Path) -> None:
    assert answer(servers(make, tmp_path, load="closed"))[0] == (
        "No significant difference in output tokens/s between swift (184 tokens/s), "
        "stalling (183 tokens/s) and steady (178 tokens/s)."
    )


def test_cases_slower_than_all_of_a_tie_are_named(make: Any, tmp_path: Path) -> None:
    prefill = {"a": 0.02, "b": 0.02, "slow": 0.05}
    plan = [make.planned(case, repeat) for repeat in (1, 2, 3) for case in prefill]
    runs = [make.run_of(p, make.serve(p.repeat, prefill=prefill[p.case.name])) for p in plan]
    assert answer(Results(make.store_run_set(tmp_path / "set", plan, runs)))[0] == (
        "No significant difference in TTFT p50 between a (21.5 ms) and b (21.5 ms); both are "
        "faster than slow (53.6 ms)."
    )


def test_under_an_open_load_the_throughput_is_not_claimed(make: Any, tmp_path: Path) -> None:
    said = " ".join(answer(servers(make, tmp_path)))
    assert "tokens/s" not in said
    assert "E2E p50" in said


def test_without_intervals_no_case_is_called_faster(make: Any, tmp_path: Path) -> None:
    plan = [make.planned(case, 1) for case in ("swift", "steady")]
    results = Results(make.store_run_set(tmp_path / "set", plan, make.sample_runs(plan)))
    assert all("too few processes for intervals" in sentence for sentence in answer(results))


def test_a_single_case_is_only_described(make: Any, tmp_path: Path) -> None:
    plan = [make.planned("swift", repeat) for repeat in (1, 2, 3)]
    results = Results(make.store_run_set(tmp_path / "set", plan, make.sample_runs(plan)))
    assert answer(results)[0] == ("TTFT p50 of swift is 21.5 ms (95 % interval 20.8 to 22.3 ms).")


def test_cases_are_compared_within_a_point_of_the_sweep(make: Any, tmp_path: Path) -> None:
    plan = [
        make.planned(f"{backend}, load.rate={rate}", repeat, {"load.rate": rate})
        for backend in ("a", "b")
        for rate in (2, 8)
        for repeat in (1, 2, 3)
    ]
    speeds = {"a": 0.005, "b": 0.01}
    runs = [
        make.run_of(
            p, make.serve(p.repeat, p.case.point["load.rate"], prefill=4 * speeds[p.case.name[0]])
        )
        for p in plan
    ]
    said = answer(Results(make.store_run_set(tmp_path / "set", plan, runs)))
    assert len(said) == 6
    assert said[0].startswith("At load.rate=2: a has the lowest TTFT p50")
    assert said[3].startswith("At load.rate=8: a has the lowest TTFT p50")


def test_points_of_one_backend_are_compared_with_each_other(make: Any, tmp_path: Path) -> None:
    plan = [make.planned(f"a, load.rate={rate}", 1, {"load.rate": rate}) for rate in (2, 8)]
    runs = [make.run_of(p, make.serve(1, p.case.point["load.rate"])) for p in plan]
    said = answer(Results(make.store_run_set(tmp_path / "set", plan, runs)))
    assert [sentence.startswith("At ") for sentence in said] == [False] * 3


def test_a_rate_that_has_no_window_is_not_known(make: Any, tmp_path: Path) -> None:
    plan = make.planned("only", 1, load="closed")
    results = Results(
        make.store_run_set(tmp_path / "set", [plan], [make.run_of(plan, make.serve(1, requests=1))])
    )
    assert answer(results)[0].startswith("Output throughput is unknown: no steady window")


def test_runs_that_all_failed_give_no_results(make: Any, tmp_path: Path) -> None:
    plan = make.planned("only", 1)
    results = Results(make.store_run_set(tmp_path / "set", [plan], [failed(make, plan)]))
    assert answer(results) == ["No results: every run failed."]


def test_a_run_set_without_results_says_so(make: Any, tmp_path: Path) -> None:
    results = Results(make.store_run_set(tmp_path / "set", [make.planned("only", 1)], []))
    assert answer(results) == ["No results yet."]


def test_completeness_counts_measured_failed_and_waiting_runs(make: Any, tmp_path: Path) -> None:
    plan = [make.planned("swift", repeat) for repeat in (1, 2, 3)]
    runs = [*make.sample_runs(plan[:1]), failed(make, plan[1])]
    results = Results(make.store_run_set(tmp_path / "set", plan, runs))
    assert completeness(results) == "1 of 3 runs measured, 1 failed, 1 not measured yet."


def test_an_empty_plan_says_so(make: Any, tmp_path: Path) -> None:
    empty = Results(make.store_run_set(tmp_path / "set", [], []))
    assert completeness(empty) == "No runs planned."


# -- what fitted in memory ------------------------------------------------------------------------

OUT = Failure("out-of-memory", "memory ran out while warming up")


Ends = Mapping[str, Mapping[int, Failure | None]]


def fitted(make: Any, folder: Path, key: str, ends: Ends) -> list[str]:
    """Store a sweep in which each point of each backend ends as given; return what fit."""
    plan, runs = [], []
    served = make.serve(1)
    for backend, points in ends.items():
        for value, failure in points.items():
            planned = make.planned(f"{backend}, {key}={value}", 1, {key: value})
            records = {"records": records_table([])} if failure else {}
            plan.append(planned)
            runs.append(make.run_of(planned, served, failure=failure, **records))
    said = answer(Results(make.store_run_set(folder / "set", plan, runs)))
    return [sentence for sentence in said if "in memory" in sentence]


@pytest.mark.parametrize("key", ["engine.slots", "load.concurrency"])
def test_the_largest_value_that_fit_is_named(make: Any, tmp_path: Path, key: str) -> None:
    ends = {"eager": {256: OUT, 16: None, 64: None, 128: OUT}}
    assert fitted(make, tmp_path, key, ends) == [f"eager: {key}=64 fit in memory, 128 did not."]


def test_no_value_is_named_if_not_even_the_smallest_fits(make: Any, tmp_path: Path) -> None:
    ends = {"eager": {16: OUT, 64: OUT}}
    assert fitted(make, tmp_path, "engine.slots", ends) == [
        "eager: engine.slots=16 did not fit in memory; no smaller value was measured."
    ]


def test_each_backend_has_a_largest_of_its_own(make: Any, tmp_path: Path) -> None:
    ends = {"eager": {16: None, 64: OUT}, "onnx": {16: None, 64: None, 256: OUT}}
    assert fitted(make, tmp_path, "engine.slots", ends) == [
        "eager: engine.slots=16 fit in memory, 64 did not.",
        "onnx: engine.slots=64 fit in memory, 256 did not.",
    ]


def test_other_failures_and_full_sweeps_say_nothing(make: Any, tmp_path: Path) -> None:
    killed = Failure("killed", "by SIGKILL")
    ends: Ends = {"eager": {16: None, 64: killed}, "onnx": {16: None}}
    assert fitted(make, tmp_path, "engine.slots", ends) == []

"""The sentences at the top say what was measured and what fitted in memory."""

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

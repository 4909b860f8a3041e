"""Where memory ran out in a sweep, the largest batch that fitted is named."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llmbench.report.memory_limits import fitted
from llmbench.report.results import Results
from llmbench.runs.record import records_table
from llmbench.runs.run import Failure

OUT = Failure("out-of-memory", "memory ran out while warming up")


Ends = Mapping[str, Mapping[int, Failure | None]]


def told(make: Any, folder: Path, key: str, ends: Ends) -> list[str]:
    """Store a sweep in which each point of each backend ended so, and say what fitted."""
    plan, runs = [], []
    served = make.serve(1)
    for backend, points in ends.items():
        for value, failure in points.items():
            planned = make.planned(f"{backend}, {key}={value}", 1, {key: value})
            records = {"records": records_table([])} if failure else {}
            plan.append(planned)
            runs.append(make.run_of(planned, served, failure=failure, **records))
    return list(fitted(Results(make.store_run_set(folder / "set", plan, runs))))


@pytest.mark.parametrize("key", ["engine.slots", "load.concurrency"])
def test_the_largest_that_fitted_is_named(make: Any, tmp_path: Path, key: str) -> None:
    ends = {"eager": {256: OUT, 16: None, 64: None, 128: OUT}}
    assert told(make, tmp_path, key, ends) == [f"eager: {key}=64 fitted in memory, 128 did not."]


def test_where_not_even_the_least_fits_nothing_is_named(make: Any, tmp_path: Path) -> None:
    ends = {"eager": {16: OUT, 64: OUT}}
    assert told(make, tmp_path, "engine.slots", ends) == [
        "eager: engine.slots=16 did not fit in memory, and no smaller one was measured."
    ]


def test_each_backend_has_a_largest_of_its_own(make: Any, tmp_path: Path) -> None:
    ends = {"eager": {16: None, 64: OUT}, "onnx": {16: None, 64: None, 256: OUT}}
    assert told(make, tmp_path, "engine.slots", ends) == [
        "eager: engine.slots=16 fitted in memory, 64 did not.",
        "onnx: engine.slots=64 fitted in memory, 256 did not.",
    ]


def test_other_failures_and_full_sweeps_say_nothing(make: Any, tmp_path: Path) -> None:
    killed = Failure("killed", "by SIGKILL")
    ends: Ends = {"eager": {16: None, 64: killed}, "onnx": {16: None}}
    assert told(make, tmp_path, "engine.slots", ends) == []

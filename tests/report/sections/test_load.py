"""How a load went, what each part of it got, and latency against load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmbench.report.charts import Chart
from llmbench.report.results import Results
from llmbench.report.sections import load


@pytest.fixture
def parted(make: Any, tmp_path: Path) -> Results:
    """One case with two classes of requests, of which one is a session."""
    plan = [make.planned("swift", 1)]
    records = [
        replace(r, request_class=("chat", "batch")[n % 2], session=None if n % 2 else n, turn=n % 3)
        for n, r in enumerate(make.serve(1))
    ]
    facts = {"stopped_by": ["precision"], "schedule_sha256": "abcdef0123456789"}
    run = make.run_of(plan[0], records, facts=facts)
    return Results(make.store_run_set(tmp_path / "parted", plan, [run]))


def test_each_class_of_requests_has_a_row(parted: Results) -> None:
    rows = load.request_classes(parted).rows
    assert [row[0].text for row in rows] == ["swift, class batch", "swift, class chat"]


def test_each_turn_of_sessions_has_a_row(parted: Results) -> None:
    rows = load.turns(parted).rows
    assert [row[0].text for row in rows] == ["swift, turn 0", "swift, turn 1", "swift, turn 2"]


def test_each_replica_has_a_row_with_the_time_of_its_engine(make: Any, tmp_path: Path) -> None:
    plan = [make.planned("swift", 1)]
    records = [replace(r, replica=n % 2) for n, r in enumerate(make.serve(1))]
    steps = {
        "seconds": {"prefill": 1.0, "decode": 2.0, "idle": 1.0},
        "counts": {"prefill": 1, "decode": 2, "idle": 1},
        "decoded_sequences": 4,
    }
    run = make.run_of(plan[0], records)
    run = replace(run, backend_report={"replicas": [{"engine_steps": steps}, None]})
    table = load.replicas(Results(make.store_run_set(tmp_path / "replicas", plan, [run])))
    shown = [dict(zip((c.label for c in table.columns), row, strict=True)) for row in table.rows]
    assert [row[0].text for row in table.rows] == ["swift, replica 0", "swift, replica 1"]
    assert [row["idle"].text for row in shown] == ["25.0 %", "—"]


def test_without_classes_and_sessions_there_are_no_rows(results: Results) -> None:
    assert load.request_classes(results).rows == load.turns(results).rows == ()
    assert load.replicas(results).rows == ()


def test_hits_and_misses_of_the_servers_cache_have_a_row_each(make: Any, tmp_path: Path) -> None:
    plan = [make.planned("swift", 1)]
    records = [replace(r, cached_tokens=(16, 0, None)[n % 3]) for n, r in enumerate(make.serve(1))]
    stored = make.store_run_set(tmp_path / "cached", plan, [make.run_of(plan[0], records)])
    rows = load.prompt_cache(Results(stored)).rows
    names = ["swift, cache hit", "swift, cache miss", "swift, cache not reported"]
    assert [row[0].text for row in rows] == names


def test_without_reported_hits_there_are_no_rows(results: Results) -> None:
    assert load.prompt_cache(results).rows == ()


def test_a_row_says_how_the_load_went(parted: Results) -> None:
    table = load.sent(parted)
    texts = dict(zip((c.label for c in table.columns), table.rows[0], strict=True))
    assert texts["stopped by"].text == "precision"
    assert texts["schedule"].text == "abcdef012345"


def test_the_schedules_of_several_repeats_are_listed(make: Any, tmp_path: Path) -> None:
    plan = [make.planned("swift", repeat) for repeat in (1, 2, 3)]
    runs = [
        make.run_of(p, make.serve(1), facts={"schedule_sha256": 16 * f"{p.repeat}"}) for p in plan
    ]
    table = load.sent(Results(make.store_run_set(tmp_path / "set", plan, runs)))
    cell = dict(zip((c.label for c in table.columns), table.rows[0], strict=True))["schedule"]
    assert cell.text == "111111111111 and 2 more"
    assert cell.note == "111111111111 / 222222222222 / 333333333333"


def attempted(make: Any, folder: Path, *attempts: dict[str, Any]) -> Results:
    plan = [make.planned("swift", 1)]
    run = make.run_of(plan[0], make.serve(1), facts={"discarded_attempts": [*attempts]})
    return Results(make.store_run_set(folder, plan, [run]))


def test_discarded_attempts_are_counted_with_what_disturbed_them(make: Any, tmp_path: Path) -> None:
    attempts = [
        {"caveats": [{"kind": "other-load", "percent": percent}], "failure": None}
        for percent in (20.0, 31.0)
    ]
    failed = {"caveats": [], "failure": "did not finish within 5 s"}
    table = load.sent(attempted(make, tmp_path / "set", *attempts, failed))
    cell = dict(zip((c.label for c in table.columns), table.rows[0], strict=True))["discarded"]
    assert cell.value == 3
    assert cell.detail == (
        "Other programs used 20 to 31 % of the machine's CPU time during this run. "
        "Failed: did not finish within 5 s."
    )


def test_without_discarded_attempts_the_table_says_so(parted: Results) -> None:
    table = load.sent(parted)
    assert "discarded" not in [column.label for column in table.columns]
    assert "no run was measured again" in table.note


# -- latency against load --------------------------------------------------------------------------


def results(make: Any, tmp_path: Path, loads: list[float], **spec: Any) -> Results:
    """A run set with one run a load, each slower than the one before."""
    plan, runs = [], []
    for number, rate in enumerate(loads):
        planned = make.planned(f"fake, load.rate={rate}", 1, point={"load.rate": rate}, **spec)
        plan.append(planned)
        runs.append(make.run_of(planned, make.serve(number, per_token=0.005 * (number + 1))))
    return Results(make.store_run_set(tmp_path / "set", plan, runs))


def load_curve(found: Results) -> Chart:
    return load.load_curves(found, ["ttft"])["ttft"]


def test_every_backend_has_its_p99_and_its_p50_by_load(make: Any, tmp_path: Path) -> None:
    chart = load_curve(results(make, tmp_path, [4, 1, 2], slo={}))
    assert [line.name for line in chart.figure.data] == ["fake p99", "fake p50"]
    assert list(chart.figure.data[0].x) == [1, 2, 4]


def test_the_knee_is_the_highest_load_that_meets_the_objectives(make: Any, tmp_path: Path) -> None:
    generous = load_curve(results(make, tmp_path / "a", [1, 2], slo={"ttft_p50": "60 s"}))
    assert generous.figure.layout.shapes[0].x0 == 2
    strict = load_curve(results(make, tmp_path / "b", [1, 2], slo={"ttft_p50": "1 us"}))
    assert strict.figure.layout.shapes == ()


def test_an_objective_is_a_level_line_in_the_chart_of_its_latency(
    make: Any, tmp_path: Path
) -> None:
    slo = {"ttft_p95": "200 ms", "chat.ttft": "1 s", "tpot_p99": "20 ms"}
    figure = load_curve(results(make, tmp_path, [1, 2], slo=slo)).figure
    levels = {line.name: (line.x, line.y) for line in figure.data[2:]}
    assert levels == {
        "p95 ≤ 200 ms": ((1, 2), (0.2, 0.2)),
        "chat: p99 ≤ 1.00 s": ((1, 2), (1.0, 1.0)),
    }


def test_one_load_is_no_curve(make: Any, tmp_path: Path) -> None:
    assert load.load_curves(results(make, tmp_path, [4]), ["ttft"]) == {}

"""Tables have values, or the reasons why there are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmbench.report.results import Results
from llmbench.report.sections import environment, overview
from llmbench.report.table import MISSING, UNSUPPORTED, Cell, Table, show
from llmbench.runs.run_set import RunSet
from llmbench.runs.series import Series


def cell(table: Table, row: str, column: str) -> Cell:
    place = [c.label for c in table.columns].index(column)
    return next(cells[place] for cells in table.rows if cells[0].text == row)


def one_run(make: Any, folder: Path, **more: Any) -> Results:
    plan = make.planned("only", 1)
    return Results(
        make.store_run_set(folder / "set", [plan], [make.run_of(plan, make.serve(1), **more)])
    )


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0213, "s", "21.3 ms"),
        (1536.0, "B", "1.50 KiB"),
        (1234.5, "tokens/s", "1,234"),
        (3.0, "requests", "3"),
        (0.987, "share", "98.7 %"),
    ],
)
def test_a_number_is_shown_in_the_unit_that_fits(value: float, unit: str, text: str) -> None:
    assert show(value, unit) == text


def test_a_case_that_never_ran_has_dashes_with_their_reason_and_no_zeros(results: Results) -> None:
    table = overview.headline(results)
    shown = cell(table, "broken", "TTFT p50")
    assert (shown.text, shown.value) == (MISSING, None)
    assert shown.note == "no run of this case finished"
    assert f"{MISSING} no run of this case finished (broken)." in table.note


def test_a_column_that_no_case_has_is_left_out_and_named(results: Results) -> None:
    table = overview.headline(results)
    assert "GPU peak" not in [column.label for column in table.columns]
    assert "No GPU peak: needs a GPU." in table.note


def test_a_percentile_with_too_few_samples_is_marked(results: Results) -> None:
    table = overview.headline(results)
    assert cell(table, "swift", "TTFT p99").text.endswith(UNSUPPORTED)
    assert "60 samples per process; needs 662" in cell(table, "swift", "TTFT p99").note
    assert UNSUPPORTED not in cell(table, "swift", "TTFT p50").text
    assert UNSUPPORTED not in cell(table, "swift", "ITL p99").text


def test_three_processes_give_an_interval_and_fewer_give_none(
    make: Any, results: Results, tmp_path: Path
) -> None:
    assert " – " in cell(overview.headline(results), "swift", "output tokens/s").detail
    assert cell(overview.headline(one_run(make, tmp_path)), "only", "output tokens/s").detail == ""


def test_processes_that_agree_to_the_last_digit_are_all_equal(results: Results) -> None:
    assert cell(overview.memory(results), "swift", "weights").detail == "all equal"


def test_failed_requests_are_counted_by_kind(results: Results) -> None:
    failed = cell(overview.headline(results), "stalling", "failed")
    assert (failed.value, failed.note) == (9, "9 timeout")


def test_cold_start_is_the_mean_of_each_stage(results: Results) -> None:
    table = overview.cold_start(results)
    assert cell(table, "swift", "load").value == pytest.approx(0.7)
    assert cell(table, "swift", "compile").value == 2.5
    total = cell(overview.headline(results), "swift", "cold start")
    assert total.value == pytest.approx(1.5 + 0.7 + 2.5 + 0.05)


def test_the_result_of_the_self_check_is_with_the_cold_start(
    make: Any, results: Results, tmp_path: Path
) -> None:
    column = "checked against the model"
    checked = cell(overview.cold_start(results), "swift", column)
    assert (checked.text, checked.detail) == ("equal", "50 tokens in sequences of up to 68")
    off = {"cold_start": {"self_check": None, "load": 1.0}, "reasons": {"self_check": "it is off"}}
    table = overview.cold_start(one_run(make, tmp_path, backend_report=off))
    assert "No self-check, checked against the model: it is off." in table.note


def test_a_setting_shows_what_was_effective_and_marks_what_differs(results: Results) -> None:
    table = environment.settings(results)
    assert cell(table, "dtype", "swift") == Cell("float32", detail="requested auto")
    assert cell(table, "attention", "swift") == Cell("eager", detail="≠ requested sdpa")
    assert cell(table, "threads", "swift") == Cell("2")


def test_a_series_that_was_not_to_be_had_is_named_with_its_reason(results: Results) -> None:
    table = environment.machine(results)
    assert [row[0].text for row in table.rows] == ["cpu busy share", "memory resident"]
    reason = "GPU 0 power, average: no NVIDIA driver (NVML) on this machine."
    assert table.note.endswith(reason)


def test_a_series_is_averaged_over_the_steady_window(make: Any, tmp_path: Path) -> None:
    times = tuple(float(t) for t in range(-5, 100))
    values = tuple(7.0 if t >= 2 else 1e9 for t in times)
    results = one_run(make, tmp_path, series=(Series.measured("load", "W", times, values),))
    begin, _ = results.measured[0].observed[0].window or (0.0, 0.0)
    assert begin < 2
    expected = [v for t, v in zip(times, values, strict=True) if in_window(results, t)]
    assert cell(environment.machine(results), "load", "only").value == pytest.approx(
        sum(expected) / len(expected)
    )


def test_a_series_that_has_no_reading_in_the_steady_window_says_so(
    make: Any, tmp_path: Path
) -> None:
    series = Series.measured("wall_power_watts", "W", (-5.0, 100.0), (90.0, 90.0))
    table = environment.machine(one_run(make, tmp_path, series=(series,)))
    assert table.note.endswith(" wall power: no reading lies in the steady window.")


def test_a_running_total_is_shown_by_what_it_rose_by(make: Any, tmp_path: Path) -> None:
    times = (-5.0, 100.0)
    series = Series.measured("wall_energy_joules", "J", times, (0.0, 1050.0))
    results = one_run(make, tmp_path, series=(series,))
    begin, end = results.measured[0].observed[0].window or (0.0, 0.0)
    shown = cell(environment.machine(results), "wall energy", "only")
    assert shown.value == pytest.approx(10 * (end - begin))
    assert shown.text.endswith(" J")


def in_window(results: Results, time: float) -> bool:
    begin, end = results.measured[0].observed[0].window or (0.0, 0.0)
    return begin <= time < end


def test_facts_that_differ_between_runs_are_all_given(sample: RunSet) -> None:
    first, *others = sample.runs
    odd = replace(first, environment={"cpu": {"model": "Another CPU"}})
    table = environment.environment(Results(replace(sample, runs=(odd, *others))))
    fact = next(value for name, value in table.rows if name.text == "cpu.model")
    assert fact.text == "Another CPU (1 runs) / Simulated CPU (8 runs)"
    assert fact.detail == "differs between runs"


def test_an_empty_plan_gives_an_empty_table(make: Any, tmp_path: Path) -> None:
    results = Results(make.store_run_set(tmp_path / "set", [], []))
    assert overview.headline(results).rows == ()
    assert environment.environment(results).rows == ()

"""The roofline holds what was counted, under the peaks that were measured."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from analysis.roofline.test_efficiency import PEAKS
from analysis.roofline.test_work import COSTS

from llmbench.analysis.roofline.peaks import DevicePeaks
from llmbench.report import pages
from llmbench.report.results import Results
from llmbench.report.sections import findings, overview, roofline
from llmbench.report.table import show

H200 = replace(PEAKS, hardware="NVIDIA H200", precision="bfloat16", device="cuda", threads=None)
HOSTILE = "<img src=x onerror=alert(2)>"


def results_of(
    make: Any, folder: Path, roof: DevicePeaks | None = PEAKS, name: str = "only"
) -> Results:
    planned = make.planned(name, 1)
    run = make.run_of(planned, make.serve(1))
    counted = {"model_costs": asdict(COSTS), "device_peaks": asdict(roof) if roof else None}
    run = replace(run, backend_report={**run.backend_report, **counted})
    return Results(make.store_run_set(folder / "set", [planned], [run]))


def value(results: Results, metric: str) -> float:
    found = results.measured[0].estimates[metric].value
    assert found is not None
    return found


def test_a_case_has_a_point_for_each_phase(make: Any, tmp_path: Path) -> None:
    results = results_of(make, tmp_path)
    drawn = {trace.name: trace for trace in roofline.chart(results).figure.data}
    for phase in ("decode", "prefill"):
        flops, moved, seconds = (
            value(results, f"{phase}_step_{what}") for what in ("flops", "bytes", "seconds")
        )
        point = drawn[f"only, {phase}"]
        assert (list(point.x), list(point.y)) == ([flops / moved], [flops / seconds])
        assert point.meta == {"case": 0}
    assert drawn["only, decode"].marker.symbol != drawn["only, prefill"].marker.symbol


def test_a_roof_rises_with_the_bandwidth_and_is_flat_from_its_ridge(
    make: Any, tmp_path: Path
) -> None:
    chart = roofline.chart(results_of(make, tmp_path))
    line = next(trace for trace in chart.figure.data if "measured" in trace.name)
    low, ridge, high = line.x
    assert ridge == PEAKS.flops_per_second / PEAKS.bytes_per_second
    assert list(line.y) == [low * PEAKS.bytes_per_second, *[PEAKS.flops_per_second] * 2]
    assert low < ridge < high
    assert (line.line.dash, len(chart.figure.data)) == ("solid", 3)
    assert (chart.figure.layout.xaxis.type, chart.figure.layout.yaxis.type) == ("log", "log")


def test_the_makers_roof_is_dashed_where_it_is_known(make: Any, tmp_path: Path) -> None:
    chart = roofline.chart(results_of(make, tmp_path, H200))
    dashes = {trace.name: trace.line.dash for trace in chart.figure.data if trace.mode == "lines"}
    assert dashes == {
        "NVIDIA H200, bfloat16, measured": "solid",
        "NVIDIA H200, bfloat16, datasheet": "dash",
    }


def test_of_several_roofs_of_one_machine_the_highest_is_drawn(make: Any, tmp_path: Path) -> None:
    results = results_of(make, tmp_path)
    (run,) = results.run_set.runs
    busy = replace(PEAKS, bytes_per_second=1e3, flops_per_second=2e6)
    other = replace(run, backend_report={**run.backend_report, "device_peaks": asdict(busy)})
    both = Results(replace(results.run_set, runs=(run, other)))
    (line,) = (t for t in roofline.chart(both).figure.data if t.mode == "lines")
    assert line.x[1] == busy.flops_per_second / PEAKS.bytes_per_second


def test_points_are_drawn_without_a_roof_too(make: Any, tmp_path: Path) -> None:
    chart = roofline.chart(results_of(make, tmp_path, roof=None))
    assert [trace.mode for trace in chart.figure.data] == ["markers", "markers"]


def test_uncounted_work_is_not_drawn_and_has_a_reason(results: Results) -> None:
    chart = roofline.chart(results)
    assert chart.empty == "Unknown: this backend does not report the required data."
    assert list(chart.figure.data) == []


def test_the_table_has_both_kinds_of_shares_and_names_the_peaks(make: Any, tmp_path: Path) -> None:
    results = results_of(make, tmp_path, H200)
    table = roofline.table(results)
    row = dict(zip([c.label for c in table.columns], table.rows[0], strict=True))
    assert row["MBU decode"].value == value(results, "mbu")
    assert row["MFU of the datasheet"].value == value(results, "mfu_datasheet")
    assert row["decode step FLOPs"].text == show(value(results, "decode_step_flops"), "FLOP")
    assert "copy bandwidth 10.0 kB/s, matrix products in bfloat16 1.00 MFLOP/s." in table.note


def test_hardware_without_a_datasheet_has_no_such_column(make: Any, tmp_path: Path) -> None:
    table = roofline.table(results_of(make, tmp_path))
    assert "MBU of the datasheet" not in [column.label for column in table.columns]
    assert "no datasheet peaks of a processor in float32 are known" in table.note
    assert "with 2 threads" in table.note


def test_the_memory_table_has_planned_and_used_memory(make: Any, tmp_path: Path) -> None:
    results = results_of(make, tmp_path)
    table = overview.memory(results)
    labels = [column.label for column in table.columns]
    assert labels[:4] == ["case", "weights", "KV cache", "KV cache used"]
    assert table.rows[0][3].value == value(results, "memory_kv_used_bytes")


def test_a_share_above_the_roof_is_a_reason_to_doubt(make: Any, tmp_path: Path) -> None:
    low = replace(PEAKS, bytes_per_second=1.0, flops_per_second=1e15)
    found = findings.find(results_of(make, tmp_path, low))
    assert [f.caveat.kind for f in found if f.caveat.kind == "above-roof"] == ["above-roof"]
    high = replace(PEAKS, bytes_per_second=1e12, flops_per_second=1e15)
    found = findings.find(results_of(make, tmp_path / "high", high))
    assert "above-roof" not in {f.caveat.kind for f in found}


@pytest.mark.parametrize("counted", [True, False])
def test_the_page_shows_it_where_there_is_something_to_show(
    make: Any, tmp_path: Path, results: Results, *, counted: bool
) -> None:
    page = pages.report((results_of(make, tmp_path) if counted else results).run_set)
    assert ('<div class="plot" id="roofline"' in page) is counted
    assert ("Hardware utilization" in page) is counted


def test_names_in_it_are_no_markup(make: Any, tmp_path: Path) -> None:
    hostile = results_of(make, tmp_path, replace(PEAKS, hardware=HOSTILE), name=HOSTILE)
    text = roofline.chart(hostile).figure.to_json().replace("\\u003c", "<")
    assert "<img" not in text

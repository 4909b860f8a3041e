"""Figures hold exactly what they are to draw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_sets

from llmbench.report import charts, palette
from llmbench.report.charts import thin
from llmbench.report.results import Results
from llmbench.report.sections.timeline import FIRST, POINTS, REQUESTS, timeline
from llmbench.runs.record import Record
from llmbench.runs.run import PlannedRun
from llmbench.runs.run_set import RunSet
from llmbench.runs.series import Series

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"


def record(number: int, due: float, started: float | None, *times: float, **more: Any) -> Record:
    plain: dict[str, Any] = {"phase": "measured", "finish": "length"}
    return Record(
        request_id=number,
        due=due,
        sent=due,
        started=started,
        token_times=times,
        token_counts=(1,) * len(times),
        prompt_tokens=4,
        max_new_tokens=9,
        **{**plain, **more},
    )


RECORDS = [
    record(0, 0.0, 0.25, 0.5, 1.0, phase="warmup"),
    record(1, 1.0, 1.5, 2.0, 4.0),
    record(2, 2.0, 2.25, 3.0, finish="error", error_kind="timeout", error_message=HOSTILE),
    record(3, 3.0, None, 5.0, 6.0),
]


def results_of(
    make: Any, folder: Path, records: list[Record], name: str = "only", **more: Any
) -> Results:
    plan = make.planned(name, 1)
    run = make.run_of(plan, records, **{"series": (), **more})
    return Results(make.store_run_set(folder / "set", [plan], [run]))


def traces(results: Results) -> dict[str, Any]:
    return traces_of(timeline(results.measured[0]))


def traces_of(chart: charts.Chart) -> dict[str, Any]:
    return {trace.name: trace for trace in chart.figure.data}


@pytest.mark.parametrize(
    ("segment", "begins", "seconds"),
    [
        ("in the queue", [0.0, 1.0, 2.0], [0.25, 0.5, 0.25]),
        ("prefill", [0.25, 1.5, 2.25], [0.25, 0.5, 0.75]),
        ("decode", [0.5, 2.0, 3.0, 5.0], [0.5, 2.0, 0.0, 1.0]),
        ("until the first token", [3.0], [2.0]),
    ],
)
def test_a_request_is_split_into_its_spans(
    make: Any, tmp_path: Path, segment: str, begins: list[float], seconds: list[float]
) -> None:
    bar = traces(results_of(make, tmp_path, RECORDS))[segment]
    assert (list(bar.base), list(bar.x)) == (begins, seconds)


def test_warm_up_is_pale_and_failures_are_marked(make: Any, tmp_path: Path) -> None:
    drawn = traces(results_of(make, tmp_path, RECORDS))
    assert list(drawn["decode"].marker.opacity) == [0.4, 1.0, 1.0, 1.0]
    assert (list(drawn["failed or not finished"].x), drawn["failed or not finished"].y) == (
        [3.0],
        (2,),
    )


def test_spans_differ_in_thickness(make: Any, tmp_path: Path) -> None:
    drawn = traces(results_of(make, tmp_path, RECORDS))
    names = ("in the queue", "until the first token", "decode", "prefill")
    assert [drawn[name].width for name in names] == pytest.approx([0.2975, 0.2975, 0.5525, 0.85])


def test_throttling_is_shaded_and_named(make: Any, tmp_path: Path) -> None:
    reasons = Series.measured(
        "gpu0_throttle_reasons", "bits", (0.0, 1.0, 2.0, 3.0), (0.0, 4.0, 4.0, 1.0)
    )
    chart = timeline(results_of(make, tmp_path, RECORDS, series=(reasons,)).measured[0])
    *_, shade = chart.figure.layout.shapes
    assert (shade.type, shade.x0, shade.x1) == ("rect", 1.0, 3.0)
    assert "throttled (power)" in traces_of(chart)
    assert chart.caption.endswith("Shaded areas between dotted lines: gpu0 was throttled.")
    assert [row[0].text for row in chart.data[-1].rows] == ["gpu0"]
    assert "yaxis4" not in chart.figure.layout.to_plotly_json()


def test_the_steady_window_is_bounded_by_lines(make: Any, tmp_path: Path) -> None:
    figure = timeline(results_of(make, tmp_path, RECORDS).measured[0]).figure
    assert [shape.x0 for shape in figure.layout.shapes] == [1.0, 3.0]


def test_a_request_that_got_no_token_is_drawn_as_queued_and_failed(
    make: Any, tmp_path: Path
) -> None:
    drawn = traces(results_of(make, tmp_path, [*RECORDS, record(4, 4.0, 4.5, finish="unfinished")]))
    assert list(drawn["in the queue"].base)[-1] == 4.0
    assert list(drawn["failed or not finished"].x) == [3.0, 4.0]


def test_a_long_run_is_thinned_and_says_so(make: Any, tmp_path: Path) -> None:
    records = [record(i, i / 10, i / 10, i / 10 + 1, i / 10 + 2) for i in range(1000)]
    times = tuple(np.arange(5000) / 50)
    series = Series.measured("cpu", "%", times, times)
    chart = timeline(results_of(make, tmp_path, records, series=(series,)).measured[0])
    _, _, decode, *_, strip = chart.figure.data
    assert REQUESTS <= len(decode.x) <= REQUESTS + FIRST
    assert POINTS <= len(strip.x) <= POINTS + 4 * FIRST
    assert chart.downsampling == (
        f"{len(decode.x)} of 1,000 requests are drawn: the first 80, and others sampled evenly. "
        "Each series is drawn with about 1,000 readings."
    )


def test_strips_share_the_time_axis_of_the_requests(results: Results) -> None:
    figure = timeline(results.measured[0]).figure
    assert figure.layout.xaxis.matches == figure.layout.xaxis2.matches == "x5"
    texts = [note.text for note in figure.layout.annotations]
    assert texts[-4:-2] == ["requests waiting", "requests in progress"]
    assert texts[-2:] == ["cpu busy share (%)", "memory resident (MiB)"]


def many_records(number: int) -> list[Record]:
    return [record(i, i / 10, i / 10, i / 10 + 1, i / 10 + 2) for i in range(number)]


def test_of_a_long_run_the_first_requests_are_in_view(make: Any, tmp_path: Path) -> None:
    chart = timeline(results_of(make, tmp_path, many_records(1000)).measured[0])
    view = chart.figure.layout.meta["first"]
    begin, end = view["x"]
    assert view["y"] == [FIRST - 0.5, -0.5]
    assert begin < 0.0 < 7.9 + 2 < end < 11
    decode = traces_of(chart)["decode"]
    assert list(decode.base[:FIRST]) == pytest.approx([i / 10 + 1 for i in range(FIRST)])
    assert chart.figure.layout.meta["whole"]["x"][1] > 99.9 + 2


def test_a_request_that_never_started_is_in_view(make: Any, tmp_path: Path) -> None:
    never = record(1, 5.0, None, finish="error")
    chart = timeline(results_of(make, tmp_path, [RECORDS[0], never]).measured[0])
    begin, end = chart.figure.layout.meta["whole"]["x"]
    assert begin < 0.0
    assert end > 5.0


def test_a_short_run_is_whole_in_view(make: Any, tmp_path: Path) -> None:
    chart = timeline(results_of(make, tmp_path, many_records(100)).measured[0])
    assert "first" not in chart.figure.layout.meta


def test_waiting_requests_and_those_in_progress_are_drawn_as_steps(
    make: Any, tmp_path: Path
) -> None:
    drawn = traces(results_of(make, tmp_path, RECORDS[:2]))
    waiting, running = drawn["requests waiting"], drawn["requests in progress"]
    assert waiting.line.shape == running.line.shape == "hv"
    assert dict(zip(waiting.x, waiting.y, strict=True)) == {0.0: 1, 0.25: 0, 1.0: 1, 1.5: 0}
    assert dict(zip(running.x, running.y, strict=True)) == {0.25: 1, 1.0: 0, 1.5: 1, 4.0: 0}


def test_bytes_are_drawn_in_mebibytes(results: Results) -> None:
    strip = timeline(results.measured[0]).figure.data[-1]
    assert strip.y[0] == 256.0


@pytest.mark.parametrize(
    ("values", "dtick"),
    [((1.0, 3.0), None), ((1.0, 5.0), "D2"), ((0.001, 5.0), 1), ((0.0, 1.0), None), ((), None)],
)
def test_labels_of_a_logarithmic_axis_suit_its_span(
    values: tuple[float, ...], dtick: str | int | None
) -> None:
    assert charts.log_axis("E2E (s)", values)["dtick"] == dtick


def test_whiskers_reach_to_the_ends_of_the_interval(results: Results) -> None:
    case = results.measured[0]
    estimate = case.estimates["requests_per_second"]
    bar = charts.throughput(results, "requests_per_second").figure.data[0]
    assert bar.x[0] - bar.error_x.arrayminus[0] == pytest.approx(estimate.low)
    assert bar.x[0] + bar.error_x.array[0] == pytest.approx(estimate.high)


def test_cold_start_is_stacked_by_stage(results: Results) -> None:
    figure = charts.cold_start(results).figure
    assert figure.layout.barmode == "stack"
    assert {bar.name: bar.x[0] for bar in figure.data} == pytest.approx(
        {
            "import": 1.5,
            "load": 0.7,
            "compile": 2.5,
            "first token": 0.05,
            "until steady": 0.75,
            "self-check": 0.25,
        }
    )


def test_a_chart_with_nothing_to_draw_says_why(make: Any, tmp_path: Path) -> None:
    results = results_of(make, tmp_path, [record(0, 0.0, 0.0, 1.0)])
    assert charts.latency_ecdf(results, "tpot").empty == "No measured request has this latency."
    rate = charts.throughput(results, "requests_per_second")
    assert rate.empty.startswith("Unknown: no steady window")


@pytest.fixture(scope="module")
def many() -> Results:
    """Seventy cases of one process each."""
    runs = [small_sets.run_of(small_sets.planned(f"server {n}", 1)) for n in range(70)]
    plan = tuple(PlannedRun(run.case, run.repeat) for run in runs)
    return Results(
        RunSet(Path("many"), "many", "", small_sets.BEGAN, "", (), {}, plan, tuple(runs))
    )


def test_of_many_cases_sixty_are_drawn_in_each_chart_and_it_says_so(many: Results) -> None:
    for chart in (charts.latency_ecdf(many, "e2e"), charts.throughput(many, "tpot_p50")):
        drawn = {trace.name for trace in chart.figure.data}
        assert len(drawn) == 60
        assert {"server 0", "server 69"} <= drawn
        assert chart.downsampling == "60 of 70 cases are drawn, sampled evenly."


def test_the_data_of_a_chart_have_all_cases(many: Results) -> None:
    (processes,) = charts.throughput(many, "tpot_p50").data
    assert len(processes.rows) == 70


def test_long_latencies_are_drawn_in_seconds(make: Any, tmp_path: Path) -> None:
    chart = charts.latency_ecdf(
        results_of(make, tmp_path, [record(0, 0.0, 0.0, 20.0, 40.0)]), "e2e"
    )
    assert list(chart.figure.data[0].x) == [40.0, 40.0]
    assert chart.figure.layout.xaxis.title.text == "E2E (s)"


@pytest.mark.parametrize(("length", "most"), [(1, 10), (10, 10), (11, 10), (1_000_000, 1000)])
def test_thinning_keeps_the_ends_and_at_most_the_given_number(length: int, most: int) -> None:
    kept = thin(length, most)
    assert (kept[0], kept[-1]) == (0, length - 1)
    assert len(kept) == min(length, most)


def test_no_two_of_32_cases_look_alike() -> None:
    looks = {(palette.case_color(i), palette.case_dash(i)) for i in range(32)}
    assert len(looks) == 32


def test_every_color_has_a_counterpart_in_the_dark() -> None:
    used = [palette.case_color(i) for i in range(8)]
    assert all(color in palette.SWAP for color in used)
    assert all(palette.pale(color) in palette.SWAP for color in used)


def test_names_in_charts_are_no_markup(make: Any, tmp_path: Path) -> None:
    results = results_of(make, tmp_path, RECORDS, name=HOSTILE)
    figures = [
        charts.latency_ecdf(results, "ttft").figure,
        charts.throughput(results, "requests_per_second").figure,
        timeline(replace_names(results).measured[0]).figure,
    ]
    assert not any("<img" in figure.to_json().replace("\\u003c", "<") for figure in figures)


def replace_names(results: Results) -> Results:
    run = results.run_set.runs[0]
    series = Series.measured(HOSTILE, HOSTILE, (0.0, 1.0), (1.0, 2.0))
    return Results(replace(results.run_set, runs=(replace(run, series=(series,)),)))

"""Speed and memory against quality."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.report.results import Results
from llmbench.report.sections import overview, tradeoffs
from llmbench.runs.run import QUALITY_SCHEMA, Answer, Quality
from llmbench.runs.series import Series

POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)


def quality(divergence: float, nll: float) -> Quality:
    row = {
        "nll": nll, "reference_nll": 1.0, "kl_divergence": divergence, "agrees": True,
        "logit_squared_error": 0.5,
    }  # fmt: skip
    return Quality("eager", pa.Table.from_pylist([row], QUALITY_SCHEMA), (Answer(4, 4),))


@pytest.fixture(scope="module")
def two(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Results:
    plan = [make.planned("exact", 1), make.planned("rough", 1)]
    runs = [
        make.run_of(plan[0], make.serve(1), quality=quality(0.0, 1.0)),
        make.run_of(plan[1], make.serve(1), quality=quality(0.25, 1.5)),
    ]
    return Results(make.store_run_set(tmp_path_factory.mktemp("two") / "set", plan, runs))


@given(points=POINTS, better=st.sampled_from(["higher", "lower"]))
def test_no_point_beats_one_of_the_frontier_and_every_other_is_beaten(
    points: list[tuple[float, float]], better: str
) -> None:
    sign = -1 if better == "higher" else 1

    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        costs = sign * one[0], sign * other[0]
        return costs[0] <= costs[1] and one[1] <= other[1] and one != other

    best = tradeoffs.frontier(points, better)
    assert not any(beats(point, kept) for point in points for kept in best)
    beaten = set(points) - set(best)
    assert all(any(beats(kept, point) for kept in best) for point in beaten)


def several(make: Any, folder: Path, **slower: tuple[float, float]) -> Results:
    """Three processes of each case: one of a server so much slower and so far off."""
    closed = {"load": "closed"}
    plan = [make.planned(case, repeat, **closed) for case in slower for repeat in (1, 2, 3)]
    runs = [
        make.run_of(
            p,
            make.serve(p.repeat, rate=50, per_token=slower[p.case.name][0]),
            quality=quality(slower[p.case.name][1], 1.0),
        )
        for p in plan
    ]
    return Results(make.store_run_set(folder / "set", plan, runs))


def test_a_case_is_beaten_where_another_is_better_beyond_the_intervals(
    make: Any, tmp_path: Path
) -> None:
    found = several(make, tmp_path, best=(0.01, 0.0), worse=(0.02, 0.25), rival=(0.005, 0.5))
    standing = tradeoffs.standings(found.measured, "output_tokens_per_second")
    assert [(case.name, how) for case, how in standing] == [
        ("best", "on the frontier"), ("worse", "dominated"), ("rival", "on the frontier"),
    ]  # fmt: skip
    chart = tradeoffs.pareto(found)
    marks = [trace for trace in chart.figure.data if trace.mode == "markers+text"]
    assert [mark.marker.symbol for mark in marks[:3]] == ["circle", "circle-open", "circle"]
    assert chart.data[0].rows[1][-2].text == "dominated"
    # all weigh the same, so none is smaller beyond doubt
    assert [mark.marker.symbol for mark in marks[3:]] == ["circle", *["circle-open-dot"] * 2]


def test_without_intervals_no_case_is_called_beaten(two: Results) -> None:
    standing = tradeoffs.standings(two.measured, "memory_weights_bytes")
    assert [how for _, how in standing] == ["on the frontier", "undecided"]


def test_under_an_open_load_speed_is_a_time(make: Any, two: Results, tmp_path: Path) -> None:
    closed = several(make, tmp_path, best=(0.01, 0.0))
    assert "left is faster" in tradeoffs.pareto(two).caption
    assert "right is faster" in tradeoffs.pareto(closed).caption
    titles = [tradeoffs.pareto(found).figure.layout.xaxis.title.text for found in (two, closed)]
    assert titles == ["TPOT p50 (s)", "output tokens/s (tokens/s)"]


def test_points_have_their_intervals_and_the_line_its_cases(make: Any, tmp_path: Path) -> None:
    found = several(make, tmp_path, best=(0.01, 0.0), rival=(0.005, 0.5))
    line, mark, *_ = tradeoffs.pareto(found).figure.data
    estimate = found.measured[0].estimates["output_tokens_per_second"]
    assert mark.x[0] + mark.error_x.array[0] == pytest.approx(estimate.high)
    assert line.meta == {"cases": [0, 1]}


def test_each_case_stands_at_its_cost_and_its_divergence(two: Results) -> None:
    marks = [trace for trace in tradeoffs.pareto(two).figure.data if trace.mode == "markers+text"]
    speeds = [case.estimates["tpot_p50"].value for case in two.measured]
    assert [(mark.x[0], mark.y[0]) for mark in marks[:2]] == [(speeds[0], 0.0), (speeds[1], 0.25)]
    assert {mark.x[0] for mark in marks[2:]} == {12 * 2**20}


def test_energy_is_a_third_panel_where_it_is_known(make: Any, tmp_path: Path) -> None:
    times = tuple(n / 10 for n in range(400))
    counter = Series.measured("gpu0_energy_joules", "J", times, tuple(90 * t for t in times))
    plan = make.planned("metered", 1)
    run = make.run_of(plan, make.serve(1), quality=quality(0.1, 1.0), series=(counter,))
    chart = tradeoffs.pareto(Results(make.store_run_set(tmp_path / "set", [plan], [run])))
    marks = [trace for trace in chart.figure.data if trace.mode == "markers+text"]
    assert len(marks) == 3
    assert "third" in chart.caption


def test_without_energy_there_is_no_panel_for_it(two: Results) -> None:
    assert "no case measured energy" in tradeoffs.pareto(two).caption


def test_the_table_of_quality_names_the_reference(two: Results) -> None:
    table = overview.quality(two)
    labels = [column.label for column in table.columns]
    rough = dict(zip(labels, table.rows[1], strict=True))
    assert rough["perplexity ratio"].value == pytest.approx(1.6487212707)
    assert rough["exact match"].text == "100.0 %"
    assert table.note.startswith("Compared with eager on the same tokens.")


def test_without_quality_the_chart_says_why_there_is_none(results: Results) -> None:
    standing = tradeoffs.pareto(results).empty
    assert standing == "Unknown: the scenario sets no `quality`."
    assert [column.label for column in overview.quality(results).columns] == ["case"]


def test_names_in_the_chart_are_not_read_as_markup(make: Any, tmp_path: Path) -> None:
    plan = make.planned("<b>bold</b>", 1)
    run = make.run_of(plan, make.serve(1), quality=quality(0.1, 1.0))
    chart = tradeoffs.pareto(Results(make.store_run_set(tmp_path / "set", [plan], [run])))
    assert "<b>bold" not in chart.figure.to_json()

"""The interactivity front in the report, its chart, table and data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmbench.analysis.stats import percentile
from llmbench.report import pages
from llmbench.report.frames import summary
from llmbench.report.interactivity import lines, rows
from llmbench.report.results import Results
from llmbench.report.sections.interactivity import interactivity

LOADS = (4, 1, 2)


def swept(
    make: Any,
    folder: Path,
    keys: dict[str, Any] | None = None,
    loads: tuple[int, ...] = LOADS,
    **spec: Any,
) -> Results:
    """A run set with three processes per load; a higher load has slower tokens."""
    plan, runs = [], []
    for rate in loads:
        for repeat in (1, 2, 3):
            point = {"load.rate": rate, **(keys or {})}
            name = ", ".join(["fake", *(f"{key}={value}" for key, value in point.items())])
            planned = make.planned(name, repeat, point=point, **spec)
            plan.append(planned)
            served = make.serve(repeat, rate=float(rate), per_token=0.005 * rate)
            runs.append(make.run_of(planned, served))
    return Results(make.store_run_set(folder / "set", plan, runs))


def test_a_line_has_a_point_per_load_and_its_label(make: Any, tmp_path: Path) -> None:
    ((chart, _),) = interactivity(swept(make, tmp_path, price_per_hour=None))
    (line,) = chart.figure.data
    assert (line.name, list(line.text)) == ("fake", ["1/s", "2/s", "4/s"])
    assert line.x[0] == pytest.approx(200, rel=0.05)
    assert line.x[2] == pytest.approx(50, rel=0.25)
    assert chart.figure.layout.yaxis.title.text == "output tokens/s per machine"
    assert len(line.error_y.array) == 3


def test_an_axis_is_logarithmic_if_its_values_span_over_a_decade(make: Any, tmp_path: Path) -> None:
    ((few, _),) = interactivity(swept(make, tmp_path / "few", price_per_hour=None))
    assert (few.figure.layout.xaxis.type, few.figure.layout.yaxis.type) == (None, None)
    assert few.figure.layout.xaxis.range[0] == 0
    many = swept(make, tmp_path / "many", loads=(1, 4, 40), price_per_hour=None)
    ((chart, _),) = interactivity(many)
    assert chart.figure.layout.xaxis.type == "log"
    users = chart.figure.data[0].x
    assert max(users) > 10 * min(users)


def test_money_per_token_has_a_chart_if_the_price_is_known(make: Any, tmp_path: Path) -> None:
    charts = interactivity(swept(make, tmp_path, price_per_hour=2.0))
    assert [chart.title for chart, _ in charts] == [
        "Output tokens/s per machine against tokens/s per user",
        "Cost per 1M output tokens against tokens/s per user",
    ]


def test_values_at_round_rates_are_interpolated_between_loads(make: Any, tmp_path: Path) -> None:
    results = swept(make, tmp_path)
    ((_, asked),) = interactivity(results)[:1]
    heads = [column.label for column in asked.columns]
    cells = dict(zip(heads, asked.rows[0], strict=True))
    measured = [case.estimates["output_tokens_per_second"].value for case in results.measured]
    throughput = [value for value in measured if value is not None]
    assert cells["at 20/s"].is_missing
    assert "outside the measured range" in cells["at 20/s"].note
    assert "outside the measured range" in asked.note
    between = cells["at 100/s"].value
    assert between is not None
    assert min(throughput) < between < max(throughput)
    assert cells["at 100/s"].detail


def test_settings_have_a_line_each(make: Any, tmp_path: Path) -> None:
    results = swept(make, tmp_path, {"engine.slots": 8})
    assert [line.name for line in lines(results)] == ["fake, engine.slots=8"]


def test_a_sweep_of_settings_alone_has_points_without_lines(make: Any, tmp_path: Path) -> None:
    plan = [make.planned(f"fake, engine.slots={n}", 1, {"engine.slots": n}) for n in (2, 8)]
    runs = [make.run_of(planned, make.serve(1)) for planned in plan]
    results = Results(make.store_run_set(tmp_path / "set", plan, runs))
    ((chart, asked), *_) = interactivity(results)
    assert [list(line.hovertext) for line in chart.figure.data] == [
        ["fake, engine.slots=2"], ["fake, engine.slots=8"],
    ]  # fmt: skip
    assert asked.rows == ()


def test_without_a_sweep_there_is_no_front(results: Results) -> None:
    assert interactivity(results) == []
    assert rows(results) == []


def test_json_has_the_measured_and_the_interpolated_points(make: Any, tmp_path: Path) -> None:
    results = swept(make, tmp_path)
    points = summary(results.run_set)["interactivity"]
    throughput = [p for p in points if p["metric"] == "output_tokens_per_second"]
    assert [p["load"] for p in throughput][:3] == ["1/s", "2/s", "4/s"]
    assert {p["per"] for p in throughput} == {"machine"}
    at = {p["tokens_per_second_per_user"]: p for p in throughput if p["load"] is None}
    assert at[20.0]["value"] is None
    assert at[20.0]["reason"].startswith("outside the measured range")
    energy = [p for p in points if p["metric"] == "energy_joules_per_output_token"]
    assert [(p["load"], p["value"]) for p in energy] == [
        ("1/s", None),
        ("2/s", None),
        ("4/s", None),
    ]
    assert all(p["reason"] for p in energy)
    assert at[100.0]["low"] < at[100.0]["value"] < at[100.0]["high"]


def test_the_page_has_the_section(make: Any, tmp_path: Path) -> None:
    page = pages.report(swept(make, tmp_path).run_set)
    assert '<h2 id="interactivity">Interactivity</h2>' in page
    assert "Output tokens/s per machine at fixed tokens/s per user" in page


def test_tokens_per_second_per_user_are_the_reciprocal_of_the_median_tpot(
    make: Any, tmp_path: Path
) -> None:
    results = swept(make, tmp_path)
    point = next(point for point in lines(results)[0].points("output_tokens_per_second"))
    case = next(case for case in results.measured if case.point["load.rate"] == 1)
    tpot = case.observed[0].tpot
    assert point.per_user[1] == pytest.approx(1 / percentile(tpot[~np.isnan(tpot)], 50))

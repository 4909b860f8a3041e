"""A run set in a notebook: its table of results, and the figures of its report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmbench.errors import InputError
from llmbench.report import charts, figures
from llmbench.report.charts import Chart
from llmbench.report.frames import RunSet
from llmbench.report.results import Results
from llmbench.report.sections import overview, tradeoffs
from llmbench.report.sections.load import load_curves
from llmbench.report.sections.timeline import timeline
from llmbench.runs.run_set import RunSet as Stored

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def found(sample: Stored) -> RunSet:
    return RunSet(sample)


def test_it_shows_the_table_of_results(found: RunSet, results: Results) -> None:
    html = found._repr_html_()
    values = [cell.value for row in overview.headline(results).rows for cell in row]
    assert [value for value in values if value is not None and f'"{value}"' not in html] == []
    assert "9 of 12 runs measured, 3 failed." in html


def test_its_texts_are_escaped(make: Any, tmp_path: Path) -> None:
    plan = make.planned(HOSTILE, 1)
    stored = make.store_run_set(
        tmp_path / "set", [plan], [make.run_of(plan, make.serve(1))], name=HOSTILE
    )
    html = RunSet(stored)._repr_html_()
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)") > 1


@pytest.mark.parametrize("latency", ["ttft", "itl", "tpot", "e2e"])
def test_a_distribution_is_that_of_the_report(
    found: RunSet, results: Results, latency: str
) -> None:
    drawn = getattr(figures, f"{latency}_ecdf")(found)
    assert drawn == charts.latency_ecdf(results, latency).figure
    assert drawn == figures.ecdf(found, latency)


@pytest.mark.parametrize(
    ("drawn", "shown"),
    [
        (figures.throughput, lambda r: charts.throughput(r, "output_tokens_per_second")),
        (figures.cold_start, charts.cold_start),
        (lambda f: figures.timeline(f, "steady"), lambda r: timeline(r.measured[1])),
    ],
    ids=["throughput", "cold start", "timeline"],
)
def test_a_figure_is_that_of_the_report(
    found: RunSet,
    results: Results,
    drawn: Callable[[RunSet], Any],
    shown: Callable[[Results], Chart],
) -> None:
    assert drawn(found).to_json() == shown(results).figure.to_json()


def test_latency_against_load_is_that_of_the_report(make: Any, tmp_path: Path) -> None:
    plan = [make.planned(f"fake, load.rate={r}", 1, {"load.rate": r}) for r in (2, 4)]
    runs = [make.run_of(each, make.serve(1)) for each in plan]
    stored = make.store_run_set(tmp_path / "set", plan, runs)
    assert figures.load_curve(RunSet(stored), "e2e") == (
        load_curves(Results(stored), ["e2e"])["e2e"].figure
    )


def test_what_is_not_there_is_one_clear_message(found: RunSet, results: Results) -> None:
    folder = found.stored.folder
    with pytest.raises(InputError, match="unknown latency 'speed'; known: ttft, "):
        figures.ecdf(found, "speed")
    with pytest.raises(InputError, match="unknown measured case 'x'; known: swift, "):
        figures.timeline(found, "x")
    with pytest.raises(InputError, match="unknown metric 'speed'; known: output_tokens"):
        figures.throughput(found, "speed")
    with pytest.raises(InputError, match=f"{folder}: no backend was measured at several loads"):
        figures.load_curve(found)
    with pytest.raises(InputError, match="nothing to draw: Unknown: the scenario sets no"):
        figures.quality(found)
    assert tradeoffs.pareto(results).empty


def test_of_nothing_there_is_no_figure(make: Any, tmp_path: Path) -> None:
    stored = make.store_run_set(tmp_path / "set", [make.planned("only", 1)], [])
    with pytest.raises(InputError, match="set: no run was measured"):
        figures.ttft_ecdf(RunSet(stored))
    assert "1 not measured yet" in RunSet(stored)._repr_html_()

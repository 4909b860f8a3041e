"""A comparison as one page: its charts show the verdicts, and nothing relies on color alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from llmbench import report
from llmbench.analysis.compare.comparison import compare
from llmbench.report.comparison.page import render
from llmbench.runs.run_set import RunSet

HOSTILE = "<script>alert(1)</script></script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def compared(make: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSet, RunSet]:
    """Two sets of one case and six processes each, the second of which is slower by a quarter."""
    folder = tmp_path_factory.mktemp("compared")
    return (
        stored(make, folder / "before", "eager", prefill=0.02, per_token=0.005),
        stored(make, folder / "after", "eager", prefill=0.025, per_token=0.005),
    )


def stored(make: Any, folder: Path, case: str, **server: float) -> RunSet:
    plan = [make.planned(case, repeat) for repeat in range(1, 7)]
    runs = [make.run_of(p, make.serve(p.repeat, **server)) for p in plan]
    run_set: RunSet = make.store_run_set(folder, plan, runs)
    return run_set


@pytest.fixture(scope="module")
def page(compared: tuple[RunSet, RunSet]) -> str:
    return render([compare(*compared)])


def chart_data(page: str) -> dict[str, Any]:
    stored = re.findall(r'<script type="application/json" data-for="([^"]+)">(.*?)</script>', page)
    return {key: json.loads(text)["data"] for key, text in stored}


def test_the_forest_has_each_change_with_its_interval_and_tolerance(
    page: str, compared: tuple[RunSet, RunSet]
) -> None:
    tolerance, *lines = chart_data(page)["forest-0"]
    names = [line["y"][0] for line in lines]
    assert names == ["eager · TTFT p50", "eager · TPOT p50", "eager · E2E p50",
                     "eager · output tokens/s"]  # fmt: skip
    assert tolerance["x"][:2] == [-3.0, 3.0]
    change = compare(*compared).cases[0].verdicts["ttft_p50"].change
    assert change is not None
    (middle,), (above,), (below,) = (
        lines[0]["x"], lines[0]["error_x"]["array"], lines[0]["error_x"]["arrayminus"],
    )  # fmt: skip
    assert middle == pytest.approx(100 * (change.ratio - 1))
    assert middle + above == pytest.approx(100 * (change.high - 1))
    assert middle - below == pytest.approx(100 * (change.low - 1))


def test_verdicts_differ_in_shape_and_not_in_color_alone(page: str) -> None:
    symbols = {line["y"][0]: line["marker"]["symbol"] for line in chart_data(page)["forest-0"][1:]}
    assert symbols["eager · TTFT p50"] == "x"
    assert symbols["eager · TPOT p50"] == "circle"
    assert "crosses are regressions, stars improvements" in page


def test_sides_are_drawn_under_their_names(page: str) -> None:
    bars = chart_data(page)["side-by-side-ttft_p50"]
    assert [bar["y"][0] for bar in bars if bar["type"] == "bar"] == ["before", "after"]


def test_every_chart_has_an_accessible_name_and_a_table_in_its_section(page: str) -> None:
    plots = re.findall(r'<div class="plot"[^>]*>', page)
    assert len(plots) == 3 + 1
    assert all('role="group"' in plot and 'aria-label="' in plot for plot in plots)
    sections = page.split("<section")
    assert all("<table>" in section for section in sections if 'class="plot"' in section)


def test_machines_are_shown_and_counted(page: str) -> None:
    assert "Simulated CPU" in page
    assert "Same hardware on all sides." in page


def test_hostile_names_are_text(make: Any, tmp_path: Path) -> None:
    hostile = stored(make, tmp_path / "<img src=x onerror=alert(3)>", HOSTILE, prefill=0.02)
    page = render([compare(hostile, hostile)])
    assert "<script>alert" not in page
    assert "<img" not in page


def test_sets_without_a_case_in_common_have_a_page(make: Any, tmp_path: Path) -> None:
    plans = [[make.planned(f"{side}{n}", 1) for n in range(2)] for side in "ab"]
    sets = [
        make.store_run_set(
            tmp_path / plan[0].case.name, plan, [make.run_of(p, make.serve(1)) for p in plan]
        )
        for plan in plans
    ]
    page = render([compare(*sets)])
    assert "Nothing was compared: the two sides have no case in common." in page
    assert "Nothing could be compared." in page


def test_a_page_that_is_written_leads_nowhere(
    compared: tuple[RunSet, RunSet], tmp_path: Path
) -> None:
    report.write([compare(*compared)], tmp_path / "page.html")
    references = re.findall(r'(?:href|src)="([^"]*)"', (tmp_path / "page.html").read_text())
    assert all(reference.startswith("#") for reference in references)

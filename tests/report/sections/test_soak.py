"""The section of long runs: slopes per hour, shifts, and their charts."""

from __future__ import annotations

import json
from pathlib import Path

import browsing
import numpy as np
import pytest
import small_sets
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from llmbench import report
from llmbench.analysis.drift import Drift
from llmbench.analysis.soak import Course
from llmbench.analysis.soak import Tested as Judged
from llmbench.report.frames import summary
from llmbench.report.results import Results
from llmbench.report.sections import soak
from llmbench.report.table import Cell
from llmbench.runs import store
from llmbench.runs.record import Record
from llmbench.runs.run import records_table
from llmbench.runs.run_set import RunSet
from llmbench.runs.series import Series

HOUR = 3600.0


def records(shift: float) -> list[Record]:
    """Return an hour of requests whose TTFT shifts after half of it."""
    due_times = np.arange(0, HOUR + 1, 6.0).tolist()
    firsts = [
        due + (0.1 if due < HOUR / 2 else 0.1 + shift) + 0.001 * np.sin(due * due) ** 2
        for due in due_times
    ]
    return [
        Record(n, "measured", due, due, due, (first, first + 0.02), (1, 1), 4, 2, "length")
        for n, (due, first) in enumerate(zip(due_times, firsts, strict=True))
    ]


def stored(folder: Path, shift: float) -> RunSet:
    times = np.arange(0, HOUR, 10.0)
    rise = 2e8 + 1e4 * times + 1e5 * np.sin(times * times)
    memory = Series.measured("harness_rss_bytes", "B", times, rise)
    plan = small_sets.planned("steady", 1)
    small_sets.begun(folder, [plan])
    run = small_sets.run_of(plan, records=records_table(records(shift)), series=(memory,))
    store.write_run(folder, run)
    return store.read(folder)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> RunSet:
    return stored(tmp_path_factory.mktemp("soak") / "shifted", 0.05)


def by_quantity(run_set: RunSet) -> dict[str, dict[str, Cell]]:
    table = soak.drifts(soak.tested_rows(Results(run_set)))
    labels = [column.label for column in table.columns]
    return {row[1].text: dict(zip(labels, row, strict=True)) for row in table.rows}


def test_a_shift_has_its_time_and_both_levels(shifted: RunSet) -> None:
    ttft = by_quantity(shifted)["TTFT p50"]
    assert ttft["verdict"].text == "shifts once"
    assert ttft["verdict"].detail.startswith("after 30")
    assert "from 101 ms to 151 ms" in ttft["verdict"].detail


def test_memory_has_its_slope_per_hour(shifted: RunSet) -> None:
    memory = by_quantity(shifted)["memory, the processes that measure"]
    assert memory["verdict"].text == "rises"
    assert memory["slope per hour"].value == pytest.approx(1e4 * HOUR, rel=0.02)
    assert memory["slope per hour"].text.startswith("+34.")
    assert memory["change over the run"].text.startswith("+16.")


def test_what_stays_has_no_drift(shifted: RunSet) -> None:
    itl = by_quantity(shifted)["ITL p50"]
    assert itl["verdict"].text == "no drift found"
    assert itl["verdict"].detail == ""


def test_too_few_effective_spans_are_undecided_with_their_number() -> None:
    drift = Drift(slope=0.0, low=-1.0, high=1.0, p=0.5, is_shift=False, inflation=15, effective=4)
    tested = Judged(Course("ttft", "s", np.arange(60.0), np.arange(60.0)), drift)
    assert soak._verdict(tested) == "undecided"
    assert soak._detail(tested) == "60 spans are worth 4.0 independent ones"


def test_each_quantity_has_a_chart_with_its_values(shifted: RunSet) -> None:
    charts = soak.charts(soak.tested_rows(Results(shifted)))
    assert [chart.title for chart in charts] == [
        "TTFT p50", "ITL p50", "output tokens/s", "memory, the processes that measure",
    ]  # fmt: skip
    line, mark = charts[0].figure.data
    assert len(line.x) == len(charts[0].data[0].rows) == 60
    assert list(mark.x) == [pytest.approx(30.5)]
    assert len({chart.key for chart in charts}) == 4


def test_the_page_has_the_section_only_for_long_runs(shifted: RunSet, tmp_path: Path) -> None:
    report.write(shifted, tmp_path / "long.html")
    assert '<h2 id="soak">Soak</h2>' in (tmp_path / "long.html").read_text("utf-8")
    short = store.read(small_sets.stored(tmp_path / "short"))
    report.write(short, tmp_path / "short.html")
    assert "Soak</h2>" not in (tmp_path / "short.html").read_text("utf-8")


def test_json_has_slopes_per_hour_and_shifts(shifted: RunSet) -> None:
    rows = {row["quantity"]: row for row in json.loads(json.dumps(summary(shifted)))["soak"]}
    assert rows["harness_rss_bytes"]["slope_per_hour"] == pytest.approx(1e4 * HOUR, rel=0.02)
    assert rows["ttft"]["drifts"] is True
    (shift,) = rows["ttft"]["shifts"]
    assert shift["seconds"] == pytest.approx(HOUR / 2 + 30)
    assert summary(store.read(shifted.folder))["soak"] == summary(shifted)["soak"]


def test_equal_values_are_not_tested_and_say_so(shifted: RunSet) -> None:
    rate = by_quantity(shifted)["output tokens/s"]
    assert rate["slope per hour"].is_missing
    assert rate["verdict"].text == "not tested"
    assert rate["verdict"].detail == "needs 20 spans with different values; has 60"


@browsing.needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_section_fits_wide_and_narrow_pages(
    shifted: RunSet, tmp_path: Path, browser: Chrome, width: int
) -> None:
    report.write(shifted, tmp_path / "page.html")
    browsing.load(browser, browsing.keep_charts(tmp_path / "page.html", "soak-ttft"), width)
    section = browser.find_element(By.CSS_SELECTOR, "[aria-labelledby=soak]")
    assert "shifts once" in section.text
    assert browsing.ask(browser, "document.documentElement.scrollWidth") == width

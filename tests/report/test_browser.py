"""The page in a real browser, from file:// and with the network blocked."""

from __future__ import annotations

import base64
import gzip
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from browsing import ask, console, keep_charts, load, needs_browser, show, wait
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from llmbench import report
from llmbench.analysis.compare.comparison import compare
from llmbench.analysis.metrics import METRICS, across
from llmbench.report.table import show as shown
from llmbench.runs.run import Failure, records_table
from llmbench.runs.run_set import RunSet

WIDTHS = (1280, 768, 390)
OPEN_FOLDS = "document.querySelectorAll('details').forEach((fold) => fold.open = true)"
HOSTILE = "</script><img src=x onerror=document.title='owned'><b>x"

pytestmark = needs_browser


def write(run_set: RunSet, folder: Path) -> Path:
    report.write(run_set, folder / "page.html")
    return folder / "page.html"


DRAWN = (
    "[...document.querySelectorAll('.plot')].filter((plot) => plot.checkVisibility())"
    ".map((plot) => plot.querySelectorAll('svg.main-svg .trace').length)"
)
RESOURCES = "performance.getEntriesByType('resource').map((entry) => entry.name)"
HEADLINE = (
    "[...document.querySelectorAll('[aria-labelledby=results] tbody tr')].flatMap((row) =>"
    " [...row.closest('table').querySelectorAll('th[data-metric]')].map((head) => ["
    " row.cells[0].textContent, head.dataset.metric, row.cells[head.cellIndex].dataset.value,"
    " row.cells[head.cellIndex].firstChild.textContent]))"
)
FIGURES = (
    "[...document.querySelectorAll('.plot')].filter((plot) => plot.id !== 'waterfall')"
    ".map((plot) => {"
    " const figure = plot.closest('figure');"
    " return [plot.getAttribute('role'), plot.getAttribute('aria-label'),"
    " figure.querySelector('figcaption strong').textContent,"
    " figure.querySelector('figcaption span').textContent,"
    " figure.querySelectorAll('details.data tbody tr').length]; })"
)


def picture_of_all(browser: Chrome) -> bytes:
    """Return a picture of the whole page as PNG."""
    everything = {"captureBeyondViewport": True, "format": "png", "optimizeForSpeed": True}
    return base64.b64decode(browser.execute_cdp_cmd("Page.captureScreenshot", everything)["data"])


@dataclass(frozen=True)
class Opened:
    """What a page is like at a width, from one load of it."""

    width: int
    console: list[Any]
    drawn: list[int]
    resources: list[str]
    headline: list[list[Any]]
    figures: list[list[Any]]
    picture: bytes
    scroll_width: int


@pytest.fixture(scope="session", params=WIDTHS)
def opened(browser: Chrome, page: Path, request: pytest.FixtureRequest) -> Opened:
    console(browser)
    load(browser, page, request.param)
    drawn, resources, headline, figures = (
        ask(browser, expression) for expression in (DRAWN, RESOURCES, HEADLINE, FIGURES)
    )
    written, picture = console(browser), picture_of_all(browser)
    ask(browser, OPEN_FOLDS)
    scroll_width = ask(browser, "document.documentElement.scrollWidth")
    return Opened(
        request.param, written, drawn, resources, headline, figures, picture, scroll_width
    )


def test_it_opens_without_a_console_message(opened: Opened) -> None:
    assert opened.console == []


def test_the_page_never_scrolls_sideways(opened: Opened) -> None:
    assert opened.scroll_width <= opened.width


def test_every_visible_chart_is_drawn(opened: Opened) -> None:
    latencies, rates = 4, 3
    others = 6  # ratios, a timeline, the latency budget, the cold start, a profile, a history
    assert len(opened.drawn) == latencies + rates + others
    assert min(opened.drawn) > 0


def test_a_picture_of_the_whole_page_can_be_taken(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / f"{opened.width}.png").write_bytes(opened.picture)
    assert int.from_bytes(opened.picture[16:20]) == opened.width


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_a_picture_of_the_dark_page_can_be_taken(browser: Chrome, page: Path, width: int) -> None:
    show(browser, page, width, "#?theme=dark")
    assert int.from_bytes(picture_of_all(browser)[16:20]) == width


def test_nothing_is_requested_from_a_network(opened: Opened) -> None:
    assert [name for name in opened.resources if not name.startswith(("blob:", "data:"))] == []


def test_every_chart_has_a_title_a_name_a_sentence_and_its_data(opened: Opened) -> None:
    assert len(opened.figures) == 16
    for role, name, title, sentence, rows in opened.figures:
        assert role == "group"
        assert name.startswith(f"{title}. ")
        assert sentence.endswith(".")
        assert rows > 1


def test_every_number_of_the_headline_is_that_of_the_metrics(
    opened: Opened, sample: RunSet
) -> None:
    estimates = {case: across(runs) for case, runs in sample.by_case().items() if runs}
    measured = [row for row in opened.headline if row[0] in estimates]
    assert len(measured) == 3 * 11
    for case, metric, value, text in measured:
        expected = estimates[case][metric].value
        assert expected is not None
        assert float(value) == expected
        assert text.removesuffix(" †") == shown(expected, METRICS[metric].unit)


@pytest.fixture(scope="module")
def comparison(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    sets = []
    for name, prefill in (("before", 0.02), ("after", 0.03)):
        plan = [make.planned("eager", repeat) for repeat in range(1, 5)]
        runs = [make.run_of(p, make.serve(p.repeat, prefill=prefill)) for p in plan]
        sets.append(make.store_run_set(folder / name, plan, runs))
    path = folder / "comparison.html"
    report.write([compare(*sets)], path)
    return path


@pytest.mark.parametrize("width", WIDTHS)
def test_a_comparison_opens_without_a_console_message_and_draws_its_charts(
    browser: Chrome, comparison: Path, width: int
) -> None:
    console(browser)
    load(browser, comparison, width)
    drawn = ask(browser, DRAWN)
    assert len(drawn) == 3 + 1
    assert min(drawn) > 0
    assert ask(browser, "document.documentElement.scrollWidth") <= width
    assert console(browser) == []


def test_hostile_names_run_nothing(browser: Chrome, make: Any, tmp_path: Path) -> None:
    plan = make.planned(HOSTILE, 1, model=HOSTILE)
    run = make.run_of(plan, make.failing(make.serve(1), 7, HOSTILE), facts={"x": HOSTILE})
    run_set = make.store_run_set(
        tmp_path / "set", [plan], [run], name=HOSTILE, description=HOSTILE, scenario_text=HOSTILE
    )
    show(browser, write(run_set, tmp_path))
    ask(browser, OPEN_FOLDS)
    assert browser.title == f"{HOSTILE} · llmbench report"
    assert ask(browser, "document.querySelectorAll('main img').length") == 0
    name = ask(browser, "document.querySelector('#ecdf-ttft').data[0].name")
    assert name == HOSTILE.replace("<", "&lt;").replace(">", "&gt;")


@pytest.mark.parametrize("outcome", ["nothing planned", "nothing yet", "failed", "half", "one"])
def test_what_is_not_whole_is_a_page_without_a_console_message(
    browser: Chrome, make: Any, tmp_path: Path, outcome: str
) -> None:
    plan = [make.planned("swift", repeat) for repeat in (1, 2)]
    failure = Failure("killed", HOSTILE, HOSTILE)
    failed = make.run_of(plan[0], make.serve(1), records=records_table([]), failure=failure)
    runs = {
        "nothing planned": [],
        "nothing yet": [],
        "failed": [failed],
        "half": make.sample_runs(plan[:1]),
        "one": [make.run_of(plan[0], make.serve(1, requests=1))],
    }[outcome]
    stored = make.store_run_set(
        tmp_path / "set", [] if outcome == "nothing planned" else plan, runs
    )
    path = write(stored, tmp_path)
    console(browser)
    load(browser, path)
    assert console(browser) == []
    assert browser.title == "sample · llmbench report"


def test_the_button_turns_page_and_figures_dark_and_back(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page)
    colors = (
        "[getComputedStyle(document.body).backgroundColor,"
        " document.querySelector('#ecdf-ttft').data[0].line.color]"
    )
    light = ask(browser, colors)
    browser.find_element(By.ID, "theme").click()
    wait(browser, lambda: ask(browser, colors)[1] != light[1])
    dark = ask(browser, colors)
    assert (dark[0] != light[0], dark[1]) == (True, "#71b0f2")
    browser.find_element(By.ID, "theme").click()
    wait(browser, lambda: ask(browser, colors) == light)


def test_a_dark_system_gets_a_dark_page(browser: Chrome, quick_page: Path) -> None:
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    try:
        load(browser, quick_page)
        assert ask(browser, "document.querySelector('#ecdf-ttft').data[0].line.color") == "#71b0f2"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_case_named_like_a_part_of_the_language_is_dark_as_well(
    browser: Chrome, make: Any, tmp_path: Path
) -> None:
    plan = make.planned("constructor", 1)
    stored = make.store_run_set(tmp_path / "set", [plan], [make.run_of(plan, make.serve(1))])
    written = keep_charts(write(stored, tmp_path), "ecdf-ttft")
    show(browser, written, fragment="#?theme=dark")
    assert ask(browser, "document.querySelector('#ecdf-ttft').data[0].name") == "constructor"


def test_unticking_a_case_takes_it_out_of_every_chart(browser: Chrome, page: Path) -> None:
    show(browser, page)
    browser.find_element(By.CSS_SELECTOR, "[data-case='1']").click()
    visible = "document.querySelector('#ecdf-ttft').data.map((line) => line.visible)"
    wait(browser, lambda: ask(browser, visible) == [True, False, True])
    bars = "[...document.querySelectorAll('#{0} .ytick text')].map((tick) => tick.textContent)"
    rates = ask(browser, bars.format("bars-requests_per_second"))
    assert [text[:5] for text in rates] == ["swift", "stall"]
    assert sorted(ask(browser, bars.format("cold-start"))) == ["stalling", "swift"]


def test_the_scale_can_be_linear(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page)
    kind = "document.querySelector('#ecdf-e2e')._fullLayout.xaxis.type"
    assert ask(browser, kind) == "log"
    browser.find_element(By.ID, "log").click()
    wait(browser, lambda: ask(browser, kind) == "linear")


def test_a_picked_latency_has_the_room_of_all_four(browser: Chrome, page: Path) -> None:
    show(browser, page)
    width = "document.querySelector('#ecdf-itl .main-svg').getBoundingClientRect().width"
    before = ask(browser, width)
    Select(browser.find_element(By.ID, "metric")).select_by_visible_text("ITL")
    wait(browser, lambda: ask(browser, width) > 1.8 * before)
    there = "[...document.querySelectorAll('.plot')].filter((plot) => plot.checkVisibility())"
    assert ask(browser, f"{there}.map((plot) => plot.id)")[:3] == [
        "ratios",
        "ecdf-itl",
        "bars-output_tokens_per_second",
    ]


def test_scale_cases_and_latency_act_on_the_curve_against_load(
    browser: Chrome, make: Any, tmp_path: Path
) -> None:
    plan = [make.planned(f"fake, load.rate={r}", 1, {"load.rate": r}) for r in (1, 2, 4)]
    runs = [make.run_of(each, make.serve(1)) for each in plan]
    stored = make.store_run_set(tmp_path / "set", plan, runs)
    written = keep_charts(write(stored, tmp_path), "load-ttft", "load-e2e")
    show(browser, written, fragment="#?scale=linear&hide=1&metric=e2e")
    curve = "document.querySelector('#load-e2e')"
    assert ask(browser, f"[{curve}._fullLayout.yaxis.type, {curve}.data[0].x]") == [
        "linear",
        [1, 4],
    ]
    assert not browser.find_element(By.ID, "load-ttft").is_displayed()


def test_another_case_can_be_picked_for_the_timeline(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page)
    Select(browser.find_element(By.ID, "pick")).select_by_visible_text("stalling, run 1")
    drawn = "document.querySelectorAll('#timeline-2 svg.main-svg .trace').length"
    wait(browser, lambda: ask(browser, drawn) > 0)
    assert not browser.find_element(By.ID, "timeline-0").is_displayed()


def test_the_raw_data_can_be_downloaded(browser: Chrome, quick_page: Path, downloads: Path) -> None:
    show(browser, quick_page)
    allow = {"behavior": "allow", "downloadPath": str(downloads)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", allow)
    browser.find_element(By.ID, "download").click()
    path = downloads / "sample-records.csv.gz"
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gzip.decompress(path.read_bytes()).startswith(b"case,repeat,request_id,phase,due,sent")


def test_on_paper_the_page_is_light_and_its_folds_are_open(
    browser: Chrome, quick_page: Path
) -> None:
    show(browser, quick_page, fragment="#?theme=dark")
    ask(browser, "dispatchEvent(new Event('beforeprint'))")
    fold = "document.querySelector('details:not(.data)').open"
    paper = f"[document.documentElement.dataset.theme, {fold}]"
    assert ask(browser, paper) == ["light", True]
    ask(browser, "dispatchEvent(new Event('afterprint'))")
    assert ask(browser, paper) == ["dark", False]


def test_on_paper_every_table_fits(browser: Chrome, page: Path) -> None:
    show(browser, page, 794)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        ask(browser, "dispatchEvent(new Event('beforeprint'))")
        widths = "[...document.querySelectorAll('table')].map((each) => each.scrollWidth)"
        assert max(ask(browser, widths)) <= 794
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_key_to_the_lines_is_printed_without_what_is_hidden(
    browser: Chrome, quick_page: Path
) -> None:
    show(browser, quick_page, fragment="#?hide=1")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.find_element(By.CSS_SELECTOR, ".controls").text.split() == [
            "swift", "stalling",
        ]  # fmt: skip
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_it_prints(browser: Chrome, page: Path) -> None:
    show(browser, page)
    pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert 3 < len(re.findall(rb"/Type\s*/Page\b", pdf)) < 30


def test_without_scripts_the_tables_are_there(browser: Chrome, quick_page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(quick_page.as_uri())
        table = browser.find_element(By.CSS_SELECTOR, "[aria-labelledby=results] table").text
        buttons = browser.find_elements(By.CSS_SELECTOR, "button")
        offered = [button.text for button in buttons if button.is_displayed()]
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "swift" in table
    assert "21.5 ms" in table
    assert offered == []


# -- many cases: what is large is folded, and text until it is unfolded ----------------------------

RESULTS = "document.querySelector('[aria-labelledby=results] table')"
BARS = "document.querySelector('#bars-requests_per_second')"
TRACES = ".querySelectorAll('svg.main-svg .trace').length"


@pytest.fixture(scope="module")
def of_many_cases(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    served = [make.serve(seed, requests=4) for seed in (1, 2)]
    plan = [make.planned(f"fake, seed={seed}", 1, {"seed": seed}) for seed in range(70)]
    runs = [make.run_of(planned, served[n % 2], series=()) for n, planned in enumerate(plan)]
    folder = tmp_path_factory.mktemp("many")
    written = write(make.store_run_set(folder / "set", plan, runs), folder)
    return keep_charts(written, "bars-requests_per_second", "waterfall")


def unfold(browser: Chrome, summary: str) -> None:
    path = f"//summary[starts-with(normalize-space(), '{summary}')]"
    ask(browser, "arguments[0].click()", browser.find_element(By.XPATH, path))


def test_a_large_table_is_made_and_offered_when_it_is_unfolded(
    browser: Chrome, of_many_cases: Path
) -> None:
    load(browser, of_many_cases)
    assert ask(browser, RESULTS) is None
    unfold(browser, "Results: 70 rows")
    wait(browser, lambda: ask(browser, f"{RESULTS}?.tBodies[0].rows.length") == 70)
    assert ask(browser, f"{RESULTS}.querySelectorAll('th .sort').length") > 1
    assert ask(browser, f"{RESULTS}.querySelectorAll('td[tabindex=\"0\"]').length") == 1


def test_a_large_chart_is_drawn_when_it_is_unfolded(browser: Chrome, of_many_cases: Path) -> None:
    load(browser, of_many_cases)
    assert ask(browser, BARS + TRACES) == 0
    unfold(browser, "requests/s: the chart")
    wait(browser, lambda: ask(browser, BARS + TRACES) == 60 * 2)


def test_a_request_of_a_folded_table_can_be_opened(browser: Chrome, of_many_cases: Path) -> None:
    show(browser, of_many_cases)
    unfold(browser, "Slowest by TTFT: 280 rows")
    opens = "[aria-labelledby=slow] .open"
    wait(browser, lambda: ask(browser, f"document.querySelectorAll('{opens}').length") == 280)
    browser.find_element(By.CSS_SELECTOR, opens).click()
    wait(browser, lambda: ask(browser, "document.querySelector('#request').open"))


def test_verifying_unfolds_the_results(browser: Chrome, of_many_cases: Path) -> None:
    show(browser, of_many_cases)
    ask(browser, "document.querySelector('#verify').click()")
    wait(browser, lambda: ask(browser, "document.querySelector('#verified').children.length"))
    figures = browser.find_elements(By.CSS_SELECTOR, "#verified p")[1].text
    assert figures.startswith(f"✓ {70 * 8} of {70 * 8} figures of the results match")
    assert ask(browser, f"{RESULTS}.checkVisibility()")


def test_what_is_folded_is_on_paper(browser: Chrome, of_many_cases: Path) -> None:
    load(browser, of_many_cases)
    printed = (
        "(async () => { dispatchEvent(new Event('beforeprint'));"
        " for (let turn = 0; turn < 1e4; turn++) await null;"  # no task runs before a page prints
        f" return [{RESULTS}.tBodies[0].rows.length, {BARS}{TRACES}]; }})()"
    )
    assert ask(browser, printed) == [70, 60 * 2]
    ask(browser, "dispatchEvent(new Event('afterprint'))")
    assert not ask(browser, f"{RESULTS}.checkVisibility()")


def test_without_scripts_a_folded_table_is_there(browser: Chrome, of_many_cases: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(of_many_cases.as_uri())
        fold = "[aria-labelledby=results] details"
        browser.find_element(By.CSS_SELECTOR, f"{fold} summary").click()
        assert "fake, seed=69" in browser.find_element(By.CSS_SELECTOR, f"{fold} table").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})

"""The page in a real browser, from file:// and with the network blocked."""

from __future__ import annotations

import gzip
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from llmbench import report
from llmbench.comparison import compare
from llmbench.report.comparison_page import write_comparison
from llmbench.store import RunSet

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMEDRIVER = shutil.which("chromedriver")
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]  # fmt: skip
WIDTHS = (1280, 390)

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="no chromium with chromedriver on this machine"
)


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, downloads: Path) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(sample: RunSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.write(sample, path)
    return path


def show(browser: Chrome, page: Path, width: int = 1280) -> None:
    """Open a page at a width and wait until its charts are drawn."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    WebDriverWait(browser, 30).until(lambda b: ask(b, "document.documentElement.dataset.ready"))


def ask(browser: Chrome, expression: str) -> Any:
    return browser.execute_script(f"return {expression}")


@pytest.mark.parametrize("width", WIDTHS)
def test_it_opens_without_a_console_message(browser: Chrome, page: Path, width: int) -> None:
    show(browser, page, width)
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_never_scrolls_sideways(browser: Chrome, page: Path, width: int) -> None:
    show(browser, page, width)
    ask(browser, "document.querySelectorAll('details').forEach((fold) => fold.open = true)")
    assert ask(browser, "document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_every_visible_chart_is_drawn(browser: Chrome, page: Path, width: int) -> None:
    show(browser, page, width)
    drawn = ask(
        browser,
        "[...document.querySelectorAll('.plot')].filter((plot) => !plot.closest('[hidden]'))"
        ".map((plot) => plot.querySelectorAll('svg.main-svg .trace').length)",
    )
    assert len(drawn) == 4 + 3 + 1 + 1
    assert min(drawn) > 0


def test_nothing_is_asked_of_a_network(browser: Chrome, page: Path) -> None:
    show(browser, page)
    names = ask(browser, "performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in names if not name.startswith(("blob:", "data:"))] == []


@pytest.fixture(scope="module")
def comparison(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    sets = []
    for name, prefill in (("before", 0.02), ("after", 0.03)):
        plan = [make.planned("eager", repeat) for repeat in range(1, 5)]
        runs = [make.run_of(p, make.serve(p.repeat, prefill=prefill)) for p in plan]
        sets.append(make.store_run_set(folder / name, plan, runs))
    path = folder / "comparison.html"
    write_comparison([compare(*sets)], path)
    return path


@pytest.mark.parametrize("width", WIDTHS)
def test_a_comparison_opens_without_a_console_message_and_draws_its_charts(
    browser: Chrome, comparison: Path, width: int
) -> None:
    show(browser, comparison, width)
    drawn = ask(
        browser,
        "[...document.querySelectorAll('.plot')]"
        ".map((plot) => plot.querySelectorAll('svg.main-svg .trace').length)",
    )
    assert len(drawn) == 3 + 1
    assert min(drawn) > 0
    assert ask(browser, "document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


def test_hostile_names_run_nothing(browser: Chrome, make: Any, tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror=document.title='owned'><b>x"
    plan = make.planned(hostile, 1)
    run_set = make.store_run_set(
        tmp_path / "set", [plan], [make.run_of(plan, make.serve(1))], name=hostile
    )
    report.write(run_set, tmp_path / "page.html")
    show(browser, tmp_path / "page.html")
    assert browser.title == f"{hostile} · llmbench report"
    assert ask(browser, "document.querySelectorAll('main img').length") == 0
    shown = ask(browser, "document.querySelector('#ecdf-ttft').data[0].name")
    assert shown == hostile.replace("<", "&lt;").replace(">", "&gt;")


def test_the_button_turns_page_and_figures_dark_and_back(browser: Chrome, page: Path) -> None:
    show(browser, page)
    colours = (
        "[getComputedStyle(document.body).backgroundColor,"
        " document.querySelector('#ecdf-ttft').data[0].line.color]"
    )
    light = ask(browser, colours)
    browser.find_element(By.ID, "theme").click()
    WebDriverWait(browser, 10).until(lambda b: ask(b, colours)[1] != light[1])
    dark = ask(browser, colours)
    assert (dark[0] != light[0], dark[1]) == (True, "#71b0f2")
    browser.find_element(By.ID, "theme").click()
    WebDriverWait(browser, 10).until(lambda b: ask(b, colours) == light)


def test_a_dark_system_gets_a_dark_page(browser: Chrome, page: Path) -> None:
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    try:
        show(browser, page)
        assert ask(browser, "document.querySelector('#ecdf-ttft').data[0].line.color") == "#71b0f2"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_unticking_a_case_hides_it_in_the_charts(browser: Chrome, page: Path) -> None:
    show(browser, page)
    browser.find_element(By.CSS_SELECTOR, "[data-case='1']").click()
    shown = "document.querySelector('#ecdf-ttft').data.map((line) => line.visible)"
    WebDriverWait(browser, 10).until(lambda b: ask(b, shown) == [True, False, True])


def test_the_scale_can_be_linear(browser: Chrome, page: Path) -> None:
    show(browser, page)
    kind = "document.querySelector('#ecdf-e2e')._fullLayout.xaxis.type"
    assert ask(browser, kind) == "log"
    browser.find_element(By.ID, "log").click()
    WebDriverWait(browser, 10).until(lambda b: ask(b, kind) == "linear")


def test_another_case_can_be_picked_for_the_timeline(browser: Chrome, page: Path) -> None:
    show(browser, page)
    Select(browser.find_element(By.ID, "pick")).select_by_visible_text("stalling, run 1")
    drawn = "document.querySelectorAll('#timeline-2 svg.main-svg .trace').length"
    WebDriverWait(browser, 10).until(lambda b: ask(b, drawn) > 0)
    assert not browser.find_element(By.ID, "timeline-0").is_displayed()


def test_the_raw_data_can_be_downloaded(browser: Chrome, page: Path, downloads: Path) -> None:
    show(browser, page)
    allow = {"behavior": "allow", "downloadPath": str(downloads)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", allow)
    browser.find_element(By.ID, "download").click()
    path = downloads / "sample-records.csv.gz"
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gzip.decompress(path.read_bytes()).startswith(b"case,repeat,request_id,phase,due,sent")


def test_without_scripts_the_tables_are_there(browser: Chrome, page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(page.as_uri())
        table = browser.find_element(By.CSS_SELECTOR, "table").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert "swift" in table
    assert "21.5 ms" in table

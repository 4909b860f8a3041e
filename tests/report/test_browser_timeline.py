"""The timeline of a long run: its first requests at first, the whole run on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import ask, keep_charts, load, needs_browser, wait
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from llmbench import report

pytestmark = needs_browser

RANGES = (
    "(({xaxis, xaxis2, yaxis}) => [xaxis.range, xaxis2.range, yaxis.range])"
    "(document.querySelector('#timeline-0')._fullLayout)"
)
WHOLE = [150 + 5 - 0.5, -0.5]


@pytest.fixture(scope="module")
def long_run(make: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    plan = make.planned("swift", 1)
    run = make.run_of(plan, make.serve(1, requests=150))
    report.write(make.store_run_set(folder / "set", [plan], [run]), folder / "page.html")
    return keep_charts(folder / "page.html", "timeline-0")


def test_the_first_requests_are_in_view_on_every_time_axis(browser: Chrome, long_run: Path) -> None:
    load(browser, long_run)
    requests, counts, rows = ask(browser, RANGES)
    assert rows == [79.5, -0.5]
    assert requests == counts


def test_the_whole_run_is_a_choice_that_the_address_keeps(browser: Chrome, long_run: Path) -> None:
    load(browser, long_run)
    (_, end), *_ = ask(browser, RANGES)
    Select(browser.find_element(By.ID, "view")).select_by_value("whole")
    wait(browser, lambda: ask(browser, RANGES)[2] == WHOLE)
    assert ask(browser, RANGES)[0][1] > end
    assert browser.current_url.endswith("#?view=whole")
    load(browser, long_run, fragment="#?view=whole")
    assert ask(browser, RANGES)[2] == WHOLE


def test_a_double_click_zooms_out_to_the_whole_run(browser: Chrome, long_run: Path) -> None:
    load(browser, long_run)
    area = browser.find_element(By.CSS_SELECTOR, "#timeline-0 .nsewdrag")
    ask(browser, "arguments[0].scrollIntoView({block: 'center'})", area)
    ActionChains(browser).double_click(area).perform()
    wait(browser, lambda: max(ask(browser, RANGES)[2]) > 150)

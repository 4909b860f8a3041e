"""The served pages in a real browser: found, filtered, picked and compared by clicking."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pytest
from browsing import READY, ask, console, needs_browser, resize, wait
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from small_sets import stored

from llmbench.report.serve.server import started
from llmbench.report.serve.site import Site

pytestmark = needs_browser


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("results")
    stored(folder / "monday", 0.100, 0.101, 0.102, 0.103)
    stored(folder / "tuesday", 0.200, 0.201, 0.202, 0.203)
    with started(Site(folder), "127.0.0.1", 0) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


def begin(browser: Chrome, url: str) -> None:
    """Open the index, with what other pages wrote to the console forgotten."""
    resize(browser, 1280)
    browser.get(url)
    wait(browser, lambda: ask(browser, READY))
    console(browser)


def opened(browser: Chrome, title: str) -> None:
    wait(browser, lambda: browser.title == title)
    wait(browser, lambda: ask(browser, READY))


@pytest.mark.parametrize("width", [1280, 390])
def test_the_index_opens_without_a_console_message_and_fits(
    browser: Chrome, url: str, width: int
) -> None:
    console(browser)
    resize(browser, width)
    browser.get(url)
    wait(browser, lambda: ask(browser, READY))
    assert ask(browser, "document.documentElement.scrollWidth") <= width
    assert console(browser) == []


def test_a_report_is_a_click_away_and_leads_back(browser: Chrome, url: str) -> None:
    begin(browser, url)
    browser.find_element(By.LINK_TEXT, "small").click()
    opened(browser, "small · llmbench report")
    browser.find_element(By.LINK_TEXT, "llmbench").click()
    wait(browser, lambda: browser.current_url == url)


def test_what_is_picked_is_compared(browser: Chrome, url: str) -> None:
    begin(browser, url)
    browser.find_element(By.CSS_SELECTOR, "[name=baseline][value=monday]").click()
    browser.find_element(By.CSS_SELECTOR, "[name=candidate][value=tuesday]").click()
    browser.find_element(By.XPATH, "//button[.='Compare']").click()
    opened(browser, "small compared · llmbench comparison")
    assert "tuesday against monday" in browser.find_element(By.TAG_NAME, "main").text
    assert console(browser) == []


def test_a_filter_shows_what_has_its_words(browser: Chrome, url: str) -> None:
    begin(browser, url)
    browser.find_element(By.ID, "filter").send_keys("tues\n")
    wait(browser, lambda: "filter=tues" in browser.current_url)
    assert len(browser.find_elements(By.LINK_TEXT, "small")) == 1
    assert console(browser) == []

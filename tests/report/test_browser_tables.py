"""Tables in the browser: sorted by their headings, numbers copied with their units."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import ask, needs_browser, said, show, wait
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

pytestmark = needs_browser

TABLE = "document.querySelector('[aria-labelledby=results] table')"
NAMES = f"[...{TABLE}.tBodies[0].rows].map((row) => row.cells[0].textContent)"
FIRST = ["swift", "steady", "stalling", "broken"]


def heading(browser: Chrome, label: str) -> WebElement:
    return browser.find_element(
        By.XPATH, f"//*[@aria-labelledby='results']//th[normalize-space()='{label}']"
    )


def sort(browser: Chrome, label: str) -> str | None:
    """Press a heading and return the order of its column."""
    heading(browser, label).find_element(By.TAG_NAME, "button").click()
    return heading(browser, label).get_attribute("aria-sort")


def test_a_heading_sorts_up_then_down_then_not_at_all(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page)
    assert sort(browser, "ITL p50") == "ascending"
    assert ask(browser, NAMES) == ["swift", "stalling", "steady", "broken"]
    assert sort(browser, "ITL p50") == "descending"
    assert ask(browser, NAMES) == ["steady", "stalling", "swift", "broken"]
    assert sort(browser, "ITL p50") == "none"
    assert ask(browser, NAMES) == FIRST


def test_rows_that_are_alike_stay_in_their_order(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page)
    sort(browser, "runs")
    sort(browser, "runs")
    assert ask(browser, NAMES) == FIRST


def test_names_are_sorted_as_texts(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page)
    sort(browser, "case")
    assert ask(browser, NAMES) == sorted(FIRST)
    assert said(browser) == "Sorted by case, ascending."


def test_one_column_at_a_time_is_sorted(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page)
    sort(browser, "runs")
    sort(browser, "case")
    assert heading(browser, "runs").get_attribute("aria-sort") == "none"


def number(browser: Chrome) -> WebElement:
    """The TTFT p50 of the first case."""
    index = ask(browser, f"{TABLE}.querySelector('[data-metric=ttft_p50]').cellIndex")
    cell: WebElement = ask(browser, f"{TABLE}.tBodies[0].rows[0].cells[{index}]")
    return cell


@pytest.fixture
def allowed(browser: Chrome, quick_page: Path) -> Chrome:
    """The page in a browser that lets it use the clipboard."""
    permissions = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.execute_cdp_cmd("Browser.grantPermissions", permissions)
    show(browser, quick_page)
    return browser


def clipboard(browser: Chrome) -> str:
    script = "navigator.clipboard.readText().then(arguments[0])"
    text: str = browser.execute_async_script(script)
    return text


def test_a_click_copies_a_number_in_full_with_its_unit(allowed: Chrome) -> None:
    cell = number(allowed)
    expected = f"{cell.get_attribute('data-value')} s"
    cell.click()
    wait(allowed, lambda: said(allowed) == f"Copied: {expected} (swift, TTFT p50)")
    assert clipboard(allowed) == expected


def test_arrows_go_from_number_to_number_and_enter_copies(allowed: Chrome) -> None:
    first = ask(allowed, f"{TABLE}.querySelector('td[tabindex=\"0\"]')")
    ask(allowed, "arguments[0].focus()", first)
    keys = [Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_UP, Keys.ENTER]
    ActionChains(allowed).send_keys(*keys).perform()
    wait(allowed, lambda: "output tokens/s" in said(allowed))
    value = ask(allowed, f"{TABLE}.tBodies[0].rows[0].cells[3].dataset.value")
    assert clipboard(allowed) == f"{value} tokens/s"


def test_if_copying_is_refused_the_number_is_shown(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page)
    ask(browser, "navigator.clipboard.writeText = () => Promise.reject(new Error('no'))")
    number(browser).click()
    wait(browser, lambda: said(browser).startswith("The browser does not allow copying."))
    assert said(browser).endswith(f": {number(browser).get_attribute('data-value')} s")
    ask(browser, "delete navigator.clipboard.writeText")

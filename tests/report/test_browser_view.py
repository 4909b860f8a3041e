"""What is shown is kept in the address, and comes back from it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browsing import ask, load, needs_browser, said, show, wait
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

pytestmark = needs_browser

SHOWN = (
    "[document.documentElement.dataset.theme, document.querySelector('#log').checked,"
    " [...document.querySelectorAll('[data-case]')].map((box) => box.checked),"
    " document.querySelector('#metric').value, document.querySelector('#pick').value]"
)
FIRST = ["light", True, [True, True, True], "all", "timeline-0"]
OTHER = ["dark", False, [True, False, True], "e2e", "timeline-2"]
FRAGMENT = "?theme=dark&scale=linear&hide=1&metric=e2e&pick=timeline-2"


def fragment(browser: Chrome) -> str:
    return urlsplit(browser.current_url).fragment


def test_what_is_chosen_is_in_the_address(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page)
    assert fragment(browser) == ""
    browser.find_element(By.ID, "theme").click()
    browser.find_element(By.ID, "log").click()
    browser.find_element(By.CSS_SELECTOR, "[data-case='1']").click()
    Select(browser.find_element(By.ID, "metric")).select_by_value("e2e")
    Select(browser.find_element(By.ID, "pick")).select_by_value("timeline-2")
    assert fragment(browser) == FRAGMENT
    assert ask(browser, SHOWN) == OTHER


def test_an_address_brings_back_what_was_shown(browser: Chrome, quick_page: Path) -> None:
    load(browser, quick_page, fragment=f"#{FRAGMENT}")
    assert ask(browser, SHOWN) == OTHER
    assert ask(browser, "document.querySelector('#ecdf-e2e').data.map((line) => line.visible)") == [
        True, False, True,
    ]  # fmt: skip


def test_another_address_changes_what_is_shown(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page)
    ask(browser, "location.hash = arguments[0]", FRAGMENT)
    wait(browser, lambda: ask(browser, SHOWN) == OTHER)
    ask(browser, "location.hash = '?'")
    wait(browser, lambda: ask(browser, SHOWN) == FIRST)


def test_a_plain_anchor_leads_there_and_leaves_what_is_shown(
    browser: Chrome, quick_page: Path
) -> None:
    show(browser, quick_page, fragment="#?hide=1")
    browser.find_element(By.CSS_SELECTOR, "a[href='#caveats']").click()
    wait(browser, lambda: fragment(browser) == "caveats?hide=1")
    assert ask(browser, SHOWN)[2] == [True, False, True]
    assert 0 <= ask(browser, "document.querySelector('#caveats').getBoundingClientRect().top") < 300


def test_an_address_may_name_a_place_and_what_is_shown(browser: Chrome, quick_page: Path) -> None:
    load(browser, quick_page, fragment="#throughput?hide=2")
    assert ask(browser, SHOWN)[2] == [True, True, False]
    top = "document.querySelector('#throughput').getBoundingClientRect().top"
    assert 0 <= ask(browser, top) < 300


@pytest.mark.parametrize(
    "wrong",
    [
        "?theme=pink&scale=x&hide=99&metric=nothing&pick=../x",
        "?request=<img src=x onerror=document.title='owned'>",
        "?=&&&%",
    ],
)
def test_an_address_that_makes_no_sense_is_the_first_view(
    browser: Chrome, quick_page: Path, wrong: str
) -> None:
    show(browser, quick_page, fragment=f"#{wrong}")
    assert ask(browser, SHOWN) == FIRST
    assert browser.title == "sample · llmbench report"


def test_a_change_of_the_view_is_announced(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page)
    browser.find_element(By.CSS_SELECTOR, "[data-case='1']").click()
    assert said(browser) == (
        "Shown: 2 of 3 cases, all, swift, run 1, TTFT p50; logarithmic latency."
    )


def test_a_chart_without_a_change_stays_zoomed(browser: Chrome, quick_page: Path) -> None:
    load(browser, quick_page)
    zoomed = "document.querySelector('#ecdf-ttft').layout.xaxis.range"
    browser.execute_async_script(
        "Plotly.relayout('ecdf-ttft', {'xaxis.range': [-1, 1]}).then(arguments[0])"
    )
    Select(browser.find_element(By.ID, "pick")).select_by_value("timeline-2")
    wait(browser, lambda: ask(browser, "document.querySelector('#timeline-2').data"))
    assert ask(browser, zoomed) == [-1, 1]
    browser.find_element(By.CSS_SELECTOR, "[data-case='1']").click()
    wait(browser, lambda: ask(browser, zoomed) != [-1, 1])

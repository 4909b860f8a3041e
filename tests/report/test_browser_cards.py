"""No table is cut off: one that is too wide for its page becomes cards."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import ask, load, needs_browser, show
from selenium.webdriver import Chrome

pytestmark = needs_browser

UNFOLD = (
    "document.querySelectorAll('details').forEach((fold) => { fold.open = true; unfold(fold); })"
)
CUT = (
    "[...document.querySelectorAll('.scroll')]"
    ".filter((region) => region.scrollWidth > region.clientWidth).map((region) => region.ariaLabel)"
)
REGION = "document.querySelector('[aria-labelledby={}] .scroll')"


def is_cards(browser: Chrome, section: str) -> bool:
    return bool(ask(browser, f"{REGION.format(section)}.classList.contains('cards')"))


@pytest.mark.parametrize("width", [1280, 390])
def test_no_table_is_cut_off(browser: Chrome, quick_page: Path, width: int) -> None:
    load(browser, quick_page, width)
    ask(browser, UNFOLD)
    ask(browser, "dispatchEvent(new Event('resize'))")
    assert ask(browser, CUT) == []


def test_a_table_that_fits_stays_a_table(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page)
    assert not is_cards(browser, "machine")


@pytest.mark.parametrize("section", ["results", "not-measured"])
def test_a_table_is_cards_on_a_narrow_page(browser: Chrome, quick_page: Path, section: str) -> None:
    show(browser, quick_page, 390)
    assert is_cards(browser, section)


def test_a_line_of_a_card_has_the_name_of_its_column(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page, 390)
    cell = f"{REGION.format('results')}.querySelector('tbody td')"
    assert ask(browser, f"getComputedStyle({cell}, '::before').content") == '"runs: "'


def test_a_card_is_a_row_to_screen_readers(browser: Chrome, quick_page: Path) -> None:
    show(browser, quick_page, 390)
    nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    headings = {
        node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == "rowheader"
    }
    assert {"swift", "steady", "stalling"} <= headings

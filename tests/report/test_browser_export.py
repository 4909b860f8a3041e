"""Every chart can be saved as PNG and as SVG, without a network."""

from __future__ import annotations

from pathlib import Path

import pytest
from browsing import ask, console, needs_browser, show, wait
from selenium.webdriver import Chrome

pytestmark = needs_browser

BUTTON = "document.querySelector('#{} .modebar-btn[data-title=\"Download as {}\"]')"


def saved(browser: Chrome, downloads: Path, chart: str, suffix: str) -> bytes:
    """Save a chart by its button and return the file."""
    path = downloads / f"sample-{chart}.{suffix}"
    path.unlink(missing_ok=True)
    allow = {"behavior": "allow", "downloadPath": str(downloads)}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", allow)
    click = "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    ask(browser, click, ask(browser, BUTTON.format(chart, suffix.upper())))
    wait(browser, lambda: path.exists() and path.stat().st_size)
    return path.read_bytes()


@pytest.mark.parametrize("chart", ["ecdf-ttft", "timeline-0", "ratios"])
def test_a_chart_is_saved_as_png_under_its_name(
    browser: Chrome, page: Path, downloads: Path, chart: str
) -> None:
    show(browser, page)
    console(browser)
    assert saved(browser, downloads, chart, "png").startswith(b"\x89PNG")
    assert console(browser) == []


def test_a_chart_is_saved_as_svg_with_its_title_and_the_names_of_its_lines(
    browser: Chrome, page: Path, downloads: Path
) -> None:
    show(browser, page)
    picture = saved(browser, downloads, "ecdf-ttft", "svg").decode()
    assert picture.startswith("<svg")
    for text in ("TTFT", "swift", "steady", "stalling"):
        assert f">{text}</text>" in picture


def test_every_chart_has_both_buttons(browser: Chrome, page: Path) -> None:
    show(browser, page)
    drawn = "[...document.querySelectorAll('.plot')].filter((plot) => plot.checkVisibility())"
    titles = ask(
        browser,
        f"{drawn}.map((plot) => [...plot.querySelectorAll('.modebar-btn')].slice(0, 2)"
        ".map((button) => button.dataset.title))",
    )
    assert titles
    assert all(each == ["Download as PNG", "Download as SVG"] for each in titles)

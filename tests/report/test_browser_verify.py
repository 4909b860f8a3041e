"""The page computes its results again from its raw data, and sees what was tampered with."""

from __future__ import annotations

import base64
import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import ask, keep_charts, load, needs_browser, wait
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from llmbench import report

pytestmark = needs_browser

RAW = re.compile(r'(?<=id="raw-data">)[^<]*')
NUMBERS = "(output tokens/s, requests/s, TTFT p50, TTFT p99, ITL p50, ITL p99, E2E p50, E2E p99)"


def verified(browser: Chrome, page: Path) -> list[str]:
    """Press the button and return what the page says."""
    load(browser, page)
    browser.find_element(By.ID, "verify").click()
    wait(browser, lambda: ask(browser, "document.querySelector('#verified').children.length"))
    lines: list[str] = ask(
        browser, "[...document.querySelectorAll('#verified p')].map((line) => line.textContent)"
    )
    return lines


def doubted(browser: Chrome) -> list[list[str]]:
    """Return case, metric and mark of every number that does not match."""
    marks: list[list[str]] = ask(
        browser,
        "[...document.querySelectorAll('td .checked.fails')].map((mark) => {"
        " const cell = mark.closest('td');"
        " const head = cell.closest('table').querySelectorAll('thead th')[cell.cellIndex];"
        " return [cell.parentElement.cells[0].textContent, head.textContent, mark.textContent]; })",
    )
    return marks


def tampered(page: Path, folder: Path, change: Callable[[str], str]) -> Path:
    before = page.read_text("utf-8")
    after = change(before)
    assert after != before
    (folder / "page.html").write_text(after, "utf-8")
    return keep_charts(folder / "page.html")


def with_raw(change: Callable[[str], str]) -> Callable[[str], str]:
    """Change the CSV inside a page."""

    def changed(packed: re.Match[str]) -> str:
        text = gzip.decompress(base64.b64decode(packed[0])).decode()
        return base64.b64encode(gzip.compress(change(text).encode())).decode()

    return lambda page: RAW.sub(changed, page)


def test_every_figure_of_a_page_as_it_was_made_holds(browser: Chrome, page: Path) -> None:
    assert verified(browser, page) == [
        "✓ The raw data match the hash above.",
        f"✓ 24 of 24 figures of the results match the raw data {NUMBERS}.",
    ]
    assert doubted(browser) == []
    assert ask(browser, "document.querySelectorAll('td .checked.holds').length") == 24


def test_another_text_of_a_figure_is_seen(browser: Chrome, page: Path, tmp_path: Path) -> None:
    shown = re.search(r'data-metric="ttft_p50".*?>(2\d\.\d) ms', page.read_text(), re.DOTALL)
    assert shown is not None
    path = tampered(page, tmp_path, lambda text: text.replace(f">{shown[1]} ms<", ">9.5 ms<", 1))
    _, lines = verified(browser, path)
    assert lines.startswith("✗ 23 of 24 figures")
    ((case, metric, mark),) = doubted(browser)
    assert (case, metric) == ("swift", "TTFT p50")
    assert mark.startswith("✗ raw data: 0.02")


def test_another_exact_number_is_seen(browser: Chrome, page: Path, tmp_path: Path) -> None:
    def change(text: str) -> str:
        head, results = text.split('aria-label="Results, table"', 1)
        return f'{head}aria-label="Results, table"' + re.sub(
            r'(?<=data-value="0\.)\d(\d+)(?=" data-unit="s")', r"9\1", results, count=1
        )

    lines = verified(browser, tampered(page, tmp_path, change))
    assert lines[1].startswith("✗ 23 of 24 figures")


def test_other_raw_data_are_seen_by_hash_and_by_figures(
    browser: Chrome, page: Path, tmp_path: Path
) -> None:
    def earlier(text: str) -> str:
        return re.sub(r"(\nswift,1,\d+,measured,)([\d.]+)", r"\g<1>0.5", text)

    hash_, figures = verified(browser, tampered(page, tmp_path, with_raw(earlier)))
    assert hash_.startswith("✗ The raw data do not match the hash above: ")
    assert figures.startswith("✗ ")
    assert {case for case, _, _ in doubted(browser)} == {"swift"}


def test_raw_data_without_a_case_are_seen(browser: Chrome, page: Path, tmp_path: Path) -> None:
    def without(text: str) -> str:
        return "".join(
            line for line in text.splitlines(keepends=True) if not line.startswith("swift,")
        )

    _, figures = verified(browser, tampered(page, tmp_path, with_raw(without)))
    assert figures.startswith("✗ 16 of 24 figures")
    assert {mark for _, _, mark in doubted(browser)} == {"✗ raw data: none"}


@pytest.mark.parametrize(
    "broken",
    [lambda page: RAW.sub("AAAA", page), with_raw(lambda text: text.rpartition('"')[0])],
    ids=["no gzip", "cut short"],
)
def test_raw_data_that_cannot_be_read_verify_nothing(
    browser: Chrome, page: Path, tmp_path: Path, broken: Callable[[str], str]
) -> None:
    lines = verified(browser, tampered(page, tmp_path, broken))
    assert lines[-1].startswith("✗ The raw data cannot be read: ")
    assert all(line.startswith("✗") for line in lines)


def test_unknown_timestamps_are_counted_as_in_the_metrics(
    browser: Chrome, make: Any, tmp_path: Path
) -> None:
    plan = make.planned("swift", 1)
    served = [make.forgetting(record) for record in make.serve(1)]
    run_set = make.store_run_set(tmp_path / "set", [plan], [make.run_of(plan, served)])
    report.write(run_set, tmp_path / "page.html")
    _, lines = verified(browser, keep_charts(tmp_path / "page.html"))
    assert lines.startswith("✓ 6 of 6 figures")


def test_a_single_request_has_no_rates_to_verify(
    browser: Chrome, make: Any, tmp_path: Path
) -> None:
    plan = make.planned("swift", 1)
    run_set = make.store_run_set(
        tmp_path / "set", [plan], [make.run_of(plan, make.serve(1, requests=1))]
    )
    report.write(run_set, tmp_path / "page.html")
    _, lines = verified(browser, keep_charts(tmp_path / "page.html"))
    assert lines.startswith("✓ 6 of 6 figures")

"""The page by keyboard alone, and as a screen reader is given it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from browsing import ask, console, load, needs_browser, show, wait
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from llmbench import report
from llmbench.analysis.compare.comparison import compare
from llmbench.runs.run_set import RunSet

pytestmark = needs_browser

AXE = "axe-core@4.14.1"
OPEN_FOLDS = "document.querySelectorAll('details').forEach((fold) => fold.open = true)"
FOCUSABLE = (
    "window.stops = [...document.querySelectorAll("
    "'a[href], button, input, select, summary, [tabindex=\"0\"]')]"
    ".filter((each) => each.checkVisibility({visibilityProperty: true}) && !each.closest('dialog'))"
)


RECORD_FOCUS = (
    "(window.reached = [],"
    " addEventListener('focusin', ({target}) => reached.push(stops.indexOf(target))))"
)


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, from the npm registry."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm on this machine, which axe-core comes from")
    folder = tmp_path_factory.mktemp("axe")
    subprocess.run(
        [npm, "install", "--no-save", "--no-audit", "--no-fund", "--prefix", folder, AXE],
        check=True,
        capture_output=True,
    )
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8")


def violations(browser: Chrome, axe: str, within: str = "html") -> list[Any]:
    """Return each violated rule with its elements."""
    browser.execute_script(axe)
    broken: list[Any] = browser.execute_async_script(
        "const [within, done] = arguments;"
        "axe.run(within, {resultTypes: ['violations']}).then(({violations}) => done(violations.map("
        "({id, impact, nodes}) => [id, impact, nodes.map(({html}) => html.slice(0, 200))])))",
        within,
    )
    return broken


@pytest.mark.parametrize(
    ("width", "theme"),
    [
        (1280, "light"),
        pytest.param(1280, "dark", marks=pytest.mark.slow),
        pytest.param(390, "light", marks=pytest.mark.slow),
        (390, "dark"),
    ],
)
def test_axe_finds_nothing(browser: Chrome, page: Path, axe: str, theme: str, width: int) -> None:
    show(browser, page, width, f"#?theme={theme}")
    ask(browser, OPEN_FOLDS)
    browser.find_element(By.ID, "verify").click()
    wait(browser, lambda: ask(browser, "document.querySelectorAll('.checked').length"))
    assert violations(browser, axe) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_a_waterfall(
    browser: Chrome, quick_page: Path, axe: str, theme: str
) -> None:
    show(browser, quick_page, fragment=f"#?theme={theme}&request=swift/1/9")
    assert violations(browser, axe, "#request") == []


def test_axe_finds_nothing_in_an_empty_page(
    browser: Chrome, make: Any, tmp_path: Path, axe: str
) -> None:
    stored = make.store_run_set(tmp_path / "set", [make.planned("only", 1)], [])
    report.write(stored, tmp_path / "page.html")
    show(browser, tmp_path / "page.html")
    assert violations(browser, axe) == []


def test_axe_finds_nothing_in_a_comparison(
    browser: Chrome, sample: RunSet, tmp_path: Path, axe: str
) -> None:
    report.write([compare(sample, sample)], tmp_path / "page.html")
    console(browser)
    load(browser, tmp_path / "page.html")
    assert violations(browser, axe) == []
    assert console(browser) == []


def test_tab_reaches_everything_in_the_order_of_the_page(browser: Chrome, quick_page: Path) -> None:
    load(browser, quick_page)
    ask(browser, OPEN_FOLDS)
    ask(browser, FOCUSABLE)
    ask(browser, RECORD_FOCUS)
    count = ask(browser, "window.stops.length")
    ActionChains(browser).send_keys(Keys.TAB * count).perform()
    assert ask(browser, "window.reached") == list(range(count))


def test_the_first_stop_leads_to_the_results(browser: Chrome, quick_page: Path) -> None:
    load(browser, quick_page)
    ActionChains(browser).send_keys(Keys.TAB, Keys.ENTER).perform()
    wait(browser, lambda: browser.current_url.endswith("#results"))

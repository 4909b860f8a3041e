"""A page in Chromium, driven from tests: from file:// or this machine, with the network blocked."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CHROMEDRIVER = shutil.which("chromedriver")
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
PLOT = re.compile(r'(?<=<div class=")plot(?=" id="([^"]+)")')
READY = "document.documentElement.dataset.ready"
PATIENCE = 30  # seconds; only a broken page takes that long
RESTORED = """
const [fragment, done] = arguments;
all("details[open]").forEach((fold) => fold.open = false);
for (const button of all("th:is([aria-sort=ascending], [aria-sort=descending]) .sort"))
  while (button.parentElement.ariaSort !== "none") button.click();
say("");
scrollTo(0, 0);
document.activeElement.blur();
history.replaceState(null, "", fragment || location.pathname);
restore().then(done);
"""

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="no chromium with chromedriver on this machine"
)


def start(profile: Path, downloads: Path) -> Chrome:
    """Start a browser that keeps its console."""
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in [*FLAGS, f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return Chrome(options=options, service=Service(str(CHROMEDRIVER)))


def keep_charts(page: Path, *names: str) -> Path:
    """Leave out the other charts of a page: drawing them takes most of the time of a load."""
    text = page.read_text("utf-8")
    page.write_text(
        PLOT.sub(lambda plot: "plot" if plot[1] in names else "left-out", text), "utf-8"
    )
    return page


def resize(browser: Chrome, width: int) -> None:
    """Set the width of the window."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def load(browser: Chrome, page: Path, width: int = 1280, fragment: str = "") -> None:
    """Load a page at a width, at a fragment, and wait until its charts are drawn."""
    resize(browser, width)
    browser.get("about:blank")
    browser.get(page.as_uri() + fragment)
    wait(browser, lambda: ask(browser, READY))


def show(browser: Chrome, page: Path, width: int = 1280, fragment: str = "") -> None:
    """Show a page as its address has it; what is open already is reset instead of loaded."""
    is_open = browser.current_url.partition("#")[0] == page.as_uri() and ask(browser, READY)
    if is_open and ask(browser, "innerWidth") == width:
        browser.execute_async_script(RESTORED, fragment)
    else:
        load(browser, page, width, fragment)


def ask(browser: Chrome, expression: str, *arguments: Any) -> Any:
    """Evaluate an expression in the page."""
    return browser.execute_script(f"return {expression}", *arguments)


def wait(browser: Chrome, until: Callable[[], Any]) -> None:
    """Wait until something holds."""
    WebDriverWait(browser, PATIENCE, poll_frequency=0.02).until(lambda _: until())


def console(browser: Chrome) -> list[Any]:
    """Return what was written to the console since the last call."""
    messages: list[Any] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return messages


def said(browser: Chrome) -> str:
    """Return the page's last message to screen readers."""
    selector = "dialog[open] .said, .said:not(dialog *)"
    message: str = ask(browser, f"document.querySelector('{selector}').textContent")
    return message

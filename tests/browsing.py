"""A page in Chromium, driven from tests: opened from file:// with the network blocked."""

from __future__ import annotations

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
    "--host-resolver-rules=MAP * ~NOTFOUND",
]  # fmt: skip
PATIENCE = 30  # seconds, which only a page that is wrong takes

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="no chromium with chromedriver on this machine"
)


def start(profile: Path, downloads: Path) -> Chrome:
    """Start a browser whose console is kept."""
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in [*FLAGS, f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return Chrome(options=options, service=Service(str(CHROMEDRIVER)))


def show(browser: Chrome, page: Path, width: int = 1280, fragment: str = "") -> None:
    """Open a page at a width, at a fragment, and wait until its charts are drawn."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("about:blank")
    browser.get(page.as_uri() + fragment)
    wait(browser, lambda: ask(browser, "document.documentElement.dataset.ready"))


def ask(browser: Chrome, expression: str, *arguments: Any) -> Any:
    """Evaluate an expression in the page."""
    return browser.execute_script(f"return {expression}", *arguments)


def wait(browser: Chrome, until: Callable[[], Any]) -> None:
    """Wait until something holds."""
    WebDriverWait(browser, PATIENCE, poll_frequency=0.05).until(lambda _: until())


def console(browser: Chrome) -> list[Any]:
    """Give what was written to the console since it was last asked."""
    messages: list[Any] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return messages


def said(browser: Chrome) -> str:
    """Give what the page told last."""
    place = "dialog[open] .said, .said:not(dialog *)"
    told: str = ask(browser, f"document.querySelector('{place}').textContent")
    return told

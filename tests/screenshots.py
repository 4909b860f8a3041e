"""Take pictures of every kind of page, wide and narrow, light and dark: `nox -s screenshots`.

The pages show runs that are measured for it, in about two minutes; the pictures are in
build/screenshots/.
"""

from __future__ import annotations

import argparse
import base64
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import browsing
from selenium.webdriver import Chrome

from llmbench.cli import main as llmbench

WIDTHS, THEMES = (1280, 390), ("light", "dark")
FEW = ("--set", "requests=20", "--set", "repeats=2", "--set", "warmup=2")
SWEPT = ("--set", "sweep={load.rate: [2, 32]}", "--set", "repeats=1")
BACKENDS = "backends=[{{kind: fake, name: large, per_token: {} ms}}, {{kind: fake, name: small}}]"
PORT = re.compile(r"http://127\.0\.0\.1:\d+/")


def measure(results: Path) -> dict[str, str]:
    """Measure what the pages show, and return their addresses by name."""
    _done("run", "default", "--out", str(results / "run"), *FEW)
    for name, per_token in (("sweep", 10), ("slower", 14)):
        backends = ("--set", BACKENDS.format(per_token))
        _done("run", "default", "--out", str(results / name), *SWEPT, *backends)
    _done("profile", "default", "--out", str(results / "profile"), "--steps", "5")
    compared = results / "comparison.html"
    _done("compare", str(results / "sweep"), str(results / "slower"), "--out", str(compared))
    pages = {name: results / name / "report.html" for name in ("run", "sweep")}
    pages |= {"profile": next((results / "profile").glob("*.html")), "comparison": compared}
    return {name: path.as_uri() for name, path in pages.items()}


def _done(*arguments: str) -> None:
    if code := llmbench([*arguments, *(["--quiet"] if arguments[0] != "compare" else [])]):
        raise SystemExit(code)


@contextmanager
def served(results: Path) -> Iterator[str]:
    """Serve the index of the results, and yield its address."""
    command = [sys.executable, "-m", "llmbench", "serve", str(results), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield next(found[0] for line in process.stdout if (found := PORT.search(line)))
        process.terminate()


def take(browser: Chrome, name: str, address: str, folder: Path) -> None:
    """Take the pictures of a page."""
    for width in WIDTHS:
        for theme in THEMES:
            browsing.resize(browser, width)
            browser.get("about:blank")
            browser.get(f"{address}#?theme={theme}")
            browsing.wait(browser, lambda: browsing.ask(browser, browsing.READY))
            whole = {"captureBeyondViewport": True, "format": "png"}
            png = browser.execute_cdp_cmd("Page.captureScreenshot", whole)["data"]
            path = folder / f"{name}-{width}-{theme}.png"
            path.write_bytes(base64.b64decode(png))
            print(path, flush=True)  # noqa: T201 (a command)


def main() -> None:
    """Measure, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/screenshots"))
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="llmbench-") as temporary:
        results = Path(temporary) / "results"
        pages = measure(results)
        browser = browsing.start(Path(temporary) / "profile", Path(temporary))
        with served(results) as index:
            for name, address in {**pages, "index": index}.items():
                take(browser, name, address, folder)
        browser.quit()


if __name__ == "__main__":
    main()

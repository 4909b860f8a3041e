"""Check that a built site needs nobody else: no script, style, font or picture from elsewhere.

`python tools/check_site.py build/site` lists what is loaded, and fails where there is any.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

__all__ = ["remote"]

REMOTE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
STYLE_LOADS = re.compile(r"(?:url\(|@import)\s*[\"']?([^\"')\s;]+)")


class _Loads(HTMLParser):
    """Notes the address of everything that a page loads; links that readers follow are none."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what the tag loads."""
        loading = {"src", "data", "poster"} | ({"href"} if tag == "link" else set())
        self.addresses += [value or "" for name, value in attrs if name in loading]


def remote(site: Path) -> list[str]:
    """List what the pages and styles of a site load from elsewhere, as ``file: address``."""
    found = [(page, address) for page in site.rglob("*.html") for address in _of_page(page)]
    found += [(style, address) for style in site.rglob("*.css") for address in _of_style(style)]
    return sorted(f"{path.relative_to(site)}: {to}" for path, to in found if REMOTE.match(to))


def _of_page(page: Path) -> Iterator[str]:
    loads = _Loads()
    loads.feed(page.read_text("utf-8"))
    yield from loads.addresses


def _of_style(style: Path) -> Iterator[str]:
    yield from STYLE_LOADS.findall(style.read_text("utf-8"))


def main() -> int:
    """Check the site named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    site: Path = parser.parse_args().site
    if not (site / "index.html").is_file():
        print(f"{site}: no site; build it with `nox -s docs`", file=sys.stderr)
        return 2
    found = remote(site)
    print("\n".join(found) or f"{site}: nothing is loaded from elsewhere")
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())

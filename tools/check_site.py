"""Check that a built site is self-contained: no script, style, font or image from another host.

`python tools/check_site.py build/site` lists remote resources and exits with 1 if there are any.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

REMOTE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
STYLE_LOADS = re.compile(r"(?:url\(|@import)\s*[\"']?([^\"')\s;]+)")


class _Loads(HTMLParser):
    """Collects the address of every resource that a page loads; plain links do not count."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the resources of one tag."""
        loading = {"src", "data", "poster"} | ({"href"} if tag == "link" else set())
        self.addresses += [value or "" for name, value in attrs if name in loading]


def remote(site: Path) -> list[str]:
    """Return the remote resources of a site's pages and styles, as ``file: address``."""
    loaded = [(page, address) for page in site.rglob("*.html") for address in _of_page(page)]
    loaded += [(style, address) for style in site.rglob("*.css") for address in _of_style(style)]
    return sorted(f"{path.relative_to(site)}: {to}" for path, to in loaded if REMOTE.match(to))


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
        print(f"{site}: has no index.html; build the site with `nox -s docs`", file=sys.stderr)
        return 2
    resources = remote(site)
    print("\n".join(resources) or f"{site}: self-contained")
    return int(bool(resources))


if __name__ == "__main__":
    raise SystemExit(main())

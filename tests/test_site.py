"""The site built from the docs: without warnings, and self-contained."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from check_site import remote

DOCS = Path(__file__).parent.parent / "docs"


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build as `nox -s docs` does."""
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "--fresh-env", "--fail-on-warning", source, site],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder of docs with our settings and two pages."""
    source = tmp_path / "project" / "docs"
    source.mkdir(parents=True)
    (source.parent / "llmbench").mkdir()
    (source.parent / "llmbench" / "__init__.py").write_text('__version__ = "1.0"\n')
    shutil.copy(DOCS / "conf.py", source)
    shutil.copytree(DOCS / "_static", source / "_static")
    (source / "index.md").write_text("# Index\n\n```{toctree}\nlisted\n```\n")
    (source / "listed.md").write_text("# Listed\n\n[index](index.md)\n")
    return source


def test_the_docs_build_without_a_warning_and_load_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = build(DOCS, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "llmbench" in (tmp_path / "index.html").read_text("utf-8")
    assert remote(tmp_path) == []


def test_an_unlisted_page_and_broken_links_fail_the_build(small: Path, tmp_path: Path) -> None:
    assert build(small, tmp_path / "before").returncode == 0
    (small / "unlisted.md").write_text("# Unlisted\n")
    (small / "listed.md").write_text("# Listed\n\n[page](gone.md)\n\n[place](index.md#missing)\n")
    done = build(small, tmp_path / "after")
    assert done.returncode == 1
    assert "document isn't included in any toctree" in done.stderr
    assert "'gone.md'" in done.stderr
    assert "'missing'" in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "address"),
    [
        ("a.html", '<script src="https://cdn.example/a.js"></script>', "https://cdn.example/a.js"),
        ("a.html", '<link rel="stylesheet" href="//fonts.example/a">', "//fonts.example/a"),
        ("a.html", '<img src="http://example.org/a.png">', "http://example.org/a.png"),
        ("a.css", "@import 'https://fonts.example/b';", "https://fonts.example/b"),
        ("a.css", "a {background: url(https://example.org/c.png)}", "https://example.org/c.png"),
    ],
)
def test_remote_resources_are_reported(tmp_path: Path, name: str, text: str, address: str) -> None:
    (tmp_path / name).write_text(text)
    assert remote(tmp_path) == [f"{name}: {address}"]


def test_links_and_own_files_are_not_remote(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="https://example.org">out</a><img src="own.png">')
    (tmp_path / "a.css").write_text("a {background: url(data:image/png;base64,AA)}")
    assert remote(tmp_path) == []

"""The site that is built of the docs: strictly, and with all that it needs."""

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


@pytest.mark.parametrize(
    ("page", "text", "warning"),
    [
        ("unlisted.md", "# Unlisted\n", "document isn't included in any toctree"),
        ("listed.md", "# Listed\n\n[gone](gone.md)\n", "'gone.md'"),
        ("listed.md", "# Listed\n\n[gone](index.md#gone)\n", "'gone'"),
    ],
)
def test_an_unlisted_page_and_a_broken_link_fail_the_build(
    small: Path, tmp_path: Path, page: str, text: str, warning: str
) -> None:
    assert build(small, tmp_path / "before").returncode == 0
    (small / page).write_text(text)
    done = build(small, tmp_path / "after")
    assert done.returncode == 1
    assert warning in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.html", '<script src="https://cdn.example/a.js"></script>', "https://cdn.example/a.js"),
        ("a.html", '<link rel="stylesheet" href="//fonts.example/a">', "//fonts.example/a"),
        ("a.html", '<img src="http://example.org/a.png">', "http://example.org/a.png"),
        ("a.css", "@import 'https://fonts.example/b';", "https://fonts.example/b"),
        ("a.css", "a {background: url(https://example.org/c.png)}", "https://example.org/c.png"),
    ],
)
def test_what_is_loaded_from_elsewhere_is_found(
    tmp_path: Path, name: str, text: str, found: str
) -> None:
    (tmp_path / name).write_text(text)
    assert remote(tmp_path) == [f"{name}: {found}"]


def test_links_that_readers_follow_and_own_files_are_not_remote(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="https://example.org">out</a><img src="own.png">')
    (tmp_path / "a.css").write_text("a {background: url(data:image/png;base64,AA)}")
    assert remote(tmp_path) == []

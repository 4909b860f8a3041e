"""One self-contained HTML file: no network when it is looked at, and every text in it escaped."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from llmbench.errors import InputError
from llmbench.report import findings, tables
from llmbench.report.answer import answer, completeness
from llmbench.report.results import Results
from llmbench.store import RunSet, atomic_write

__all__ = ["render", "write_page"]


def write_page(run_set: RunSet, path: Path) -> None:
    """Write the page whole or not at all; raises InputError when the file cannot be written."""
    text = render(run_set)
    try:
        atomic_write(path, text)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror}; choose another file with --out"
        ) from error


def render(run_set: RunSet) -> str:
    """Make the page's text."""
    results = Results(run_set)
    return (
        _templates()
        .get_template("page.html.j2")
        .render(
            run_set=run_set,
            answer=answer(results),
            completeness=completeness(results),
            findings=findings.find(results),
            tables=[
                tables.headline(results),
                tables.settings(results),
                tables.environment(results),
            ],
        )
    )


def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("llmbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

"""Stored results as pages, tables and files.

Renderers are pure functions of stored data, so a report can be regenerated at any time.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from llmbench.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RENDERERS", "render", "show", "write"]

# By name: importing most renderers would slow `llmbench --help`.
RENDERERS = {
    ("RunSet", "html"): "llmbench.report.pages:report",
    ("RunSet", "terminal"): "llmbench.report.terminal:run_set",
    ("RunSet", "markdown"): "llmbench.report.text:headline_as_markdown",
    ("RunSet", "pytest-benchmark"): "llmbench.report.pytest_benchmark:as_pytest_benchmark",
    ("RunSet", "llm-d"): "llmbench.report.benchmark_report:as_benchmark_reports",
    ("Profile", "html"): "llmbench.report.pages:profile",
    ("Profile", "terminal"): "llmbench.report.terminal:profile",
    ("Comparison", "html"): "llmbench.report.comparison.page:render",
    ("Comparison", "terminal"): "llmbench.report.comparison.tables:as_rich",
    ("Comparison", "markdown"): "llmbench.report.comparison.tables:as_markdown",
    ("Comparison", "junit"): "llmbench.report.junit:as_junit",
    ("CapacityAnswer", "html"): "llmbench.report.capacity_page:render",
    ("CapacityAnswer", "terminal"): "llmbench.report.capacity_page:as_rich",
    ("DataFrame", "csv"): "llmbench.report.text:as_csv",
    ("DataFrame", "json"): "llmbench.report.text:as_json",
    ("DataFrame", "markdown"): "llmbench.report.text:frame_as_markdown",
    ("DataFrame", "parquet"): "llmbench.report.text:as_parquet",
}


def render(subject: Any, form: str, **options: Any) -> Any:
    """Render a run set, profile, data frame or list of comparisons in a format of RENDERERS.

    The result is text, except for ``terminal`` (a rich renderable) and ``parquet`` (bytes). The
    comparisons of a list share one baseline.
    """
    kind = type(subject[0] if isinstance(subject, list) else subject).__name__
    return resolve_name(RENDERERS[kind, form])(subject, **options)


def write(subject: Any, path: Path, **options: Any) -> None:
    """Write the HTML page of a run set, profile or list of comparisons to a file, atomically.

    Raise InputError if the file cannot be written.
    """
    from llmbench.runs.files import atomic_write  # noqa: PLC0415 (msgspec would slow `--help`)

    page = render(subject, "html", **options)
    try:
        atomic_write(path, page)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror}; choose another file with --out"
        ) from error


def show(subject: Any, **options: Any) -> None:
    """Print a run set, profile or list of comparisons in the terminal."""
    from llmbench.report.console import on_stdout  # noqa: PLC0415 (would slow `--help`)

    on_stdout().print(render(subject, "terminal", **options))

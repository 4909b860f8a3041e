"""What a run set is shown as: tables in the terminal, one self-contained HTML page, plain text.

Everything here is a pure function of what is stored, so a report can be made again at any time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmbench.report.attachments import NOTHING, Beside

if TYPE_CHECKING:
    from pathlib import Path

    from llmbench.runs.store import RunSet

__all__ = ["write"]


def write(run_set: RunSet, path: Path, beside: Beside = NOTHING) -> None:
    """Write the HTML report of a run set, whole or not at all, with what is shown beside it.

    Raises InputError when the file cannot be written.
    """
    from llmbench.report import html, pages  # noqa: PLC0415 (plotly and jinja2 would slow `--help`)

    html.write_text(path, pages.report(run_set, beside=beside))

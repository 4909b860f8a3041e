"""A run set as a notebook shows it: how much was measured, and the table of results."""

from __future__ import annotations

from llmbench.report import tables
from llmbench.report.conclusions import completeness
from llmbench.report.pages.page import render_macro
from llmbench.report.results import Results
from llmbench.runs.store import RunSet


def headline_html(run_set: RunSet) -> str:
    """Give the table of results as HTML in which every text is escaped."""
    results = Results(run_set)
    return render_macro("summary", run_set.name, completeness(results), tables.headline(results))

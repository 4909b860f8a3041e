"""One table has every renderer, and one call uses it."""

from __future__ import annotations

from pkgutil import resolve_name

import pytest

from llmbench import report
from llmbench.analysis.compare.comparison import compare
from llmbench.cli.export import FORMATS
from llmbench.report.frames import RunSet as Frames
from llmbench.runs.run_set import RunSet


@pytest.mark.parametrize("name", report.RENDERERS.values())
def test_every_renderer_is_there(name: str) -> None:
    assert callable(resolve_name(name))


def test_every_format_of_export_has_a_renderer() -> None:
    assert set(FORMATS) <= {form for _, form in report.RENDERERS}


def test_a_subject_finds_its_renderer_by_its_type(sample: RunSet) -> None:
    markdown = report.render(sample, "markdown")
    assert markdown.startswith("| case | runs |")
    assert report.render(Frames(sample).summary, "markdown").startswith("| case | metric |")
    comparison = compare(sample, sample)
    assert report.render([comparison], "markdown").startswith("## sample against sample")
    assert "Side by side" in report.render([comparison], "markdown", side_by_side=True)
    assert report.render([comparison], "junit").startswith("<?xml")
    assert report.render(Frames(sample).runs, "parquet")[:4] == b"PAR1"

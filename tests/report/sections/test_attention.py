"""Maps of attention in the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmbench.report import pages
from llmbench.report.results import Results
from llmbench.report.sections.attention import attention_charts
from llmbench.runs.run import Quality
from llmbench.runs.run_set import RunSet

MAP = [[1.0, 0.0], [0.25, 0.75]]
TOLD = {
    "tokens": ["·", "<script>"],
    "divergence": [[0.1, 0.2], None],
    "maps": [
        {"layer": 0, "head": 1, "candidate": MAP, "reference": MAP},
        {"layer": 1, "head": 0, "candidate": None, "reference": MAP},
    ],
}


def stored(make: Any, folder: Path, attention: dict[str, Any]) -> RunSet:
    plan = make.planned("only", 1)
    run = make.run_of(plan, make.serve(1), quality=Quality("eager", attention=attention))
    run_set: RunSet = make.store_run_set(folder / "set", [plan], [run])
    return run_set


def test_a_dropped_layer_is_a_gap_and_has_the_reference_alone(make: Any, tmp_path: Path) -> None:
    (chart,) = attention_charts(Results(stored(make, tmp_path, TOLD)))
    grid, *shown = chart.figure.data
    assert list(grid.z[0]) == [0.1, 0.2]
    assert [value != value for value in grid.z[1]] == [True, True]  # noqa: PLR0124 (NaN)
    assert len(shown) == 3


def test_tokens_are_not_read_as_markup(make: Any, tmp_path: Path) -> None:
    (chart,) = attention_charts(Results(stored(make, tmp_path, TOLD)))
    assert "<script>" not in str(chart.figure.data[1].x)


def test_a_case_without_maps_says_why(make: Any, tmp_path: Path) -> None:
    page = pages.report(
        stored(make, tmp_path, {"reason": "only torch models show their attention"})
    )
    assert "No attention maps: only torch models show their attention." in page


def test_a_report_without_attention_maps_has_no_such_section(sample: RunSet) -> None:
    assert 'id="attention"' not in pages.report(sample)

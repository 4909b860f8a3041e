"""A profile as sentences, tables, a chart and a page."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import profiles
from rich.console import Console

from llmbench import report
from llmbench.analysis.trace.categories import CATEGORIES
from llmbench.cli.output import as_dict
from llmbench.report import pages
from llmbench.report.sections import profiled
from llmbench.runs.profile import KernelUse

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
WHOLE = profiles.profile(Path("why"), profiles.case(), profiles.failed())


def test_a_sentence_says_what_takes_most() -> None:
    _, decode = profiled.answer(WHOLE)
    assert decode == (
        "eager, decode: a step takes 4.00 ms, most of it in GEMM 60.0 %, idle 30.0 %, "
        "sampling 10.0 %; 3.00 launches per token."
    )
    assert profiled.completeness(WHOLE) == "1 of 2 cases profiled."


def test_shares_have_a_column_a_category() -> None:
    table = profiled.shares(WHOLE)
    assert [column.label for column in table.columns[1:]] == list(CATEGORIES.values())
    assert [cell.text for cell in table.rows[1]] == [
        "eager", "60.0", "0.0", "0.0", "10.0", "0.0", "0.0", "30.0",
    ]  # fmt: skip


def test_steps_tell_time_ratio_and_launches() -> None:
    _, decode = profiled.phases(WHOLE).rows
    assert decode[0].detail == "4 rows, 11 – 40 tokens"
    assert [cell.text for cell in decode[1:]] == [
        "4.00 ms", "× 1.25", "3.50 ms", "1.50 ms", "13", "12.0", "3.00",
    ]  # fmt: skip


def test_kernels_come_with_what_the_rest_takes() -> None:
    case = profiles.case()
    table = profiled.uses(case, case.phases[1], 1)
    assert [cell.text for cell in table.rows[0]] == [
        "aten::mm", "GEMM", "12", "250 µs", "3.00 ms", "60.0 %",
    ]  # fmt: skip
    assert table.note == "1 more take 10.0 %."


def test_bars_sum_to_a_hundred() -> None:
    drawn = json.loads(profiled.chart(WHOLE).figure.to_json())["data"]
    assert len(drawn) == len(CATEGORIES)
    assert [round(sum(bar["x"][row] for bar in drawn), 9) for row in range(2)] == [100, 100]


def test_the_page_shows_failures_and_caveats_and_names_the_traces() -> None:
    page = pages.profile(WHOLE)
    for text in ("no such thing", "the end of stderr", "The profiler made decode steps 2.5 times"):
        assert text in page
    assert "traces/eager-decode.json.gz" in page


def test_a_profile_of_nothing_is_a_page_too() -> None:
    page = pages.profile(profiles.profile(Path("why")))
    assert "Nothing was profiled." in page
    assert 'id="plotly"' not in page


def test_hostile_texts_are_inert() -> None:
    use = KernelUse(HOSTILE, "gemm", 1, 0.001, 0.2)
    phase = profiles.phase()
    hostile = profiles.case(HOSTILE, settings={"x": HOSTILE}, phases=(phase,))
    object.__setattr__(phase.breakdown, "uses", (use,))
    page = pages.profile(
        profiles.profile(
            Path("why"), hostile, profiles.failed(HOSTILE, HOSTILE),
            name=HOSTILE, description=HOSTILE, scenario_text=HOSTILE, overrides=(HOSTILE,),
        )
    )  # fmt: skip
    assert "<script>alert" not in page
    assert not re.search(r"<img", page)


def test_the_terminal_has_every_share_at_80_columns() -> None:
    written = io.StringIO()
    Console(file=written, width=80).print(report.render(WHOLE, "terminal"))
    shown = written.getvalue()
    for label in CATEGORIES.values():
        assert label in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown


def test_json_has_what_follows_from_the_figures() -> None:
    stored = as_dict(WHOLE, Path("page"))["cases"][0]["phases"][1]
    assert (stored["seconds"], stored["launches_per_token"]) == (0.004, 3)

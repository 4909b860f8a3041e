"""What was not measured is in one place, with the reason and what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import small_sets

from llmbench.report import pages
from llmbench.report.results import Results
from llmbench.report.sections import environment
from llmbench.report.sections.not_measured import not_measured
from llmbench.report.sections.timeline import timeline
from llmbench.runs.run import CLOCK_ORIGIN


def rows(results: Results, **known: bool) -> dict[str, tuple[str, str]]:
    given = {"has_machine": True, "has_profile": True, **known}
    table = not_measured(results, **given)
    return {what.text: (why.text, how.text) for what, why, how in table.rows}


def test_each_quantity_without_a_value_has_its_reason_and_remedy(results: Results) -> None:
    assert rows(results)["quality"] == (
        "the scenario sets no `quality`", "Add `quality: {}` to the scenario.",
    )  # fmt: skip
    assert not {"memory", "objectives", "machine readings"} & rows(results).keys()


def test_a_page_has_no_section_that_only_says_that_there_is_nothing(tmp_path: Path) -> None:
    plan = small_sets.planned("only", 1)
    begun = small_sets.begun(tmp_path / "set", [plan])
    page = pages.report(replace(begun, runs=(small_sets.run_of(plan),)))
    for key in ("machine", "energy", "quality", "memory", "roofline-of-cases", "tradeoffs"):
        assert f'id="{key}"' not in page
    assert "Set `collect" not in page
    assert page.count('id="not-measured"') == 1
    assert "machine readings" in page


def test_readings_of_the_machine_are_hidden_when_the_clock_is_simulated(
    make: Any, tmp_path: Path
) -> None:
    plan = make.planned("swift", 1)
    run = make.run_of(plan, make.serve(1), facts={CLOCK_ORIGIN: None})
    results = Results(make.store_run_set(tmp_path / "set", [plan], [run]))
    assert environment.machine(results).rows == ()
    assert rows(results, has_machine=False)["machine readings"][0] == "the clock is simulated"
    names = [trace.name for trace in timeline(results.cases[0]).figure.data]
    assert "cpu busy share" not in names

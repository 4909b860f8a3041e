"""The section on answers that must have a form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import small_sets

from llmbench.report.results import Results
from llmbench.report.sections.structured import cost, structured
from llmbench.report.table import Table
from llmbench.runs import store
from llmbench.runs.record import Record
from llmbench.runs.run import records_table


def asking(constraint: str | None = "json_schema") -> list[Record]:
    """Return 12 requests, of which every second asks for JSON, and one of these does not get it."""
    return [
        replace(
            record,
            prompt_id=f"rows:{number // 2}",
            constraint=constraint if number % 2 else None,
            valid=number != 3 if constraint and number % 2 else None,
            invalid_reason="not JSON" if constraint and number == 3 else None,
        )
        for number, record in enumerate(small_sets.records())
    ]


def results(folder: Path, records: list[Record]) -> Results:
    path = small_sets.stored(folder / "set", 0.25, records=records_table(records))
    return Results(store.read(path))


def column(table: Table, label: str) -> list[Any]:
    place = [one.label for one in table.columns].index(label)
    return [row[place].text for row in table.rows]


def test_requests_are_listed_by_the_form_that_they_ask_for(tmp_path: Path) -> None:
    table = structured(results(tmp_path, asking()))
    assert [row[0].text for row in table.rows] == ["eager, form json_schema", "eager, form none"]
    assert column(table, "requests") == ["6", "6"]
    assert column(table, "valid") == ["83.3 %", "—"]
    assert column(table, "invalid answers") == ["1 not JSON", "—"]


def test_the_cost_compares_prompts_that_were_sent_both_ways(tmp_path: Path) -> None:
    table = cost(results(tmp_path, asking()))
    assert column(table, "prompts") == ["6"]
    assert column(table, "TTFT with / without constraint") == ["1.00"]


def test_without_constraints_there_are_no_rows(tmp_path: Path) -> None:
    plain = results(tmp_path, asking(None))
    assert (structured(plain).rows, cost(plain).rows) == ((), ())

"""How a load went, and what each part of it got."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmbench.report.results import Results
from llmbench.report.sections import load_tables


@pytest.fixture
def parted(make: Any, tmp_path: Path) -> Results:
    """One case with two classes of requests, of which one is a session."""
    plan = [make.planned("swift", 1)]
    records = [
        replace(r, request_class=("chat", "batch")[n % 2], session=None if n % 2 else n, turn=n % 3)
        for n, r in enumerate(make.serve(1))
    ]
    facts = {"stopped_by": ["precision"], "schedule_sha256": "abcdef0123456789"}
    run = make.run_of(plan[0], records, facts=facts)
    return Results(make.store_run_set(tmp_path / "parted", plan, [run]))


def test_each_class_of_requests_has_a_row(parted: Results) -> None:
    rows = load_tables.request_classes(parted).rows
    assert [row[0].text for row in rows] == ["swift, class batch", "swift, class chat"]


def test_each_turn_of_sessions_has_a_row(parted: Results) -> None:
    rows = load_tables.turns(parted).rows
    assert [row[0].text for row in rows] == ["swift, turn 0", "swift, turn 1", "swift, turn 2"]


def test_without_classes_and_sessions_there_are_no_rows(results: Results) -> None:
    assert load_tables.request_classes(results).rows == load_tables.turns(results).rows == ()


def test_how_the_load_went_is_told(parted: Results) -> None:
    table = load_tables.sent(parted)
    told = dict(zip((c.label for c in table.columns), table.rows[0], strict=True))
    assert told["stopped by"].text == "precision"
    assert told["schedule"].text == "abcdef012345"

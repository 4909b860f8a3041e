"""The points of a sweep are named in words, loads in order."""

from __future__ import annotations

import pytest
import small_sets

from llmbench.report.results import CaseResults
from llmbench.report.sweep import at_points, by_point
from llmbench.runs.run import PlannedRun
from llmbench.scenario.cases import Case


def case(**point: object) -> CaseResults:
    dotted = {key.replace("_", "."): value for key, value in point.items()}
    return CaseResults(0, PlannedRun(Case("x", "x", "fake", dotted, small_sets.SPEC), 1), ())


def test_loads_come_in_order_and_with_their_unit() -> None:
    cases = [case(load_rate=rate) for rate in ("8/s", 2, 4)]
    assert list(by_point(cases, ["load.rate"])) == ["2/s", "4/s", "8/s"]
    assert list(by_point([case(load_concurrency=4)], ["load.concurrency"])) == ["concurrency 4"]


def test_other_points_come_in_the_order_of_the_file() -> None:
    cases = [case(engine_slots=slots, load_rate=2) for slots in (8, 4)]
    assert list(by_point(cases, ["engine.slots"])) == ["engine.slots=8", "engine.slots=4"]


EVERY = [f"{rate}/s" for rate in range(1, 10)]


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (EVERY, "at every point"),
        (["1/s", "3/s"], "at 1/s and 3/s"),
        (EVERY[2:8], "from 3/s to 8/s"),
        ([*EVERY[:4], "9/s"], "at 5 of 9 points"),
    ],
)
def test_points_are_listed_bounded_or_counted(points: list[str], words: str) -> None:
    assert at_points(points, EVERY) == words

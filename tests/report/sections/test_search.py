"""The search for the best settings in the report, and in the JSON of a run set."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from llmbench.report import pages
from llmbench.report.conclusions import answer
from llmbench.report.frames import summary
from llmbench.report.results import Results
from llmbench.report.scenario_text import commands, overrides
from llmbench.report.sections.search import SearchSection, section
from llmbench.report.tuning import searched
from llmbench.runs import store
from llmbench.runs.run_set import RunSet
from llmbench.runs.search import Search

RATES = {"fake, engine.slots=1": 1.0, "fake, engine.slots=4": 4.0, "fake, engine.slots=8": 8.0}
SEARCH = Search(
    metric="requests_per_second",
    better="higher",
    settings=tuple(RATES),
    against=("e2e_p50",),
    seed=0,
    first=3,
    budget="20 min",
    runs=9,
    seconds=90.0,
)


@pytest.fixture(scope="module")
def tuned(make: Any, tmp_path_factory: pytest.TempPathFactory) -> RunSet:
    """A search over three settings, of which the last is the best."""
    folder = tmp_path_factory.mktemp("tuned") / "set"
    plan, runs = [], []
    for name, rate in RATES.items():
        for repeat in (1, 2, 3):
            planned = make.planned(name, repeat, point={"engine.slots": int(name[-1])})
            plan.append(planned)
            runs.append(make.run_of(planned, make.serve(repeat, requests=200, rate=rate)))
    over = "sweep.engine.slots=[1,4,8]"
    stored = make.store_run_set(
        folder, plan, runs, overrides=("seed=3", over),
        origins={"name": "chat.yaml:1", "sweep.engine.slots": "--over engine.slots=1,4,8"},
    )  # fmt: skip
    store.with_search(stored, SEARCH)
    return store.read(folder)


def section_of(run_set: RunSet) -> SearchSection:
    made = section(Results(run_set))
    assert made is not None
    return made


def test_a_run_set_without_a_search_has_no_section(sample: RunSet) -> None:
    assert section(Results(sample)) is None
    assert summary(sample)["search"] is None
    assert "search" not in json.loads((sample.folder / "runset.json").read_text("utf-8"))


def test_the_winner_leads_the_report(tuned: RunSet) -> None:
    first, *_ = answer(Results(tuned))
    assert first.startswith("The best is fake, engine.slots=8: requests/s 8")
    assert first.endswith(").")
    assert section_of(tuned).sentences[0] == first


def test_the_course_and_the_cost_are_in_words(tuned: RunSet) -> None:
    _, course, cost = section_of(tuned).sentences
    assert course.startswith("3 settings were compared by requests/s (higher is better), by succ")
    assert cost == (
        "The search took 9 runs and 90.0 s; the budget was 20 min. 24 runs of every setting would "
        "be 72."
    )


def test_a_beaten_setting_has_the_intervals_that_dropped_it(tuned: RunSet) -> None:
    table = section_of(tuned).settings
    assert [row[0].text for row in table.rows] == [*reversed(RATES)]
    results = [row[-1] for row in table.rows]
    assert [cell.text for cell in results] == ["best", *["beaten after rung 1"] * 2]
    own, best = results[1].detail.split("; best ")
    assert own.startswith(("3.", "4."))
    assert best.startswith(("7.", "8."))


def test_each_rung_has_its_runs_and_what_it_dropped(tuned: RunSet) -> None:
    (row,) = section_of(tuned).rungs.rows
    dropped = "fake, engine.slots=1; fake, engine.slots=4"
    assert [cell.text for cell in row] == ["1", "3", "9", "1", dropped]


def test_the_front_has_a_row_per_setting(tuned: RunSet) -> None:
    fronts = section_of(tuned).fronts
    assert [column.label for column in fronts.columns] == ["setting", "against E2E p50"]
    assert len(fronts.rows) == 3


def test_the_chart_fills_the_points_of_what_is_left(tuned: RunSet) -> None:
    points = section_of(tuned).chart.figure.data[::2]
    symbols = {trace.y[0]: trace.marker.symbol for trace in points}
    assert symbols == dict(zip(RATES, ("circle-open", "circle-open", "circle"), strict=True))
    assert all(trace.error_x.array for trace in points)


def test_the_page_has_the_section_and_its_link(tuned: RunSet) -> None:
    page = pages.report(tuned)
    assert '<h2 id="settings-search">Search for the best settings</h2>' in page
    assert '<a href="#settings-search">Which setting is best?</a>' in page


def test_the_command_of_the_search_is_on_the_page(tuned: RunSet) -> None:
    assert overrides(tuned) == ["--set seed=3", "--over engine.slots=1,4,8"]
    assert commands(tuned)[0] == (
        "llmbench tune chat.yaml --maximize requests_per_second --set seed=3 "
        "--over engine.slots=1,4,8 --against e2e_p50 --budget '20 min'"
    )


def test_the_json_has_the_search(tuned: RunSet) -> None:
    found = json.loads(json.dumps(summary(tuned)))["search"]
    assert (found["outcome"], found["best"]) == ("found", "fake, engine.slots=8")
    assert found["cost"] == {"runs": 9, "seconds": 90.0}
    assert found["rungs"][0]["runs_each"] == 3
    beaten = found["settings"][1]["beaten_by"]
    assert beaten["setting"] == "fake, engine.slots=8"
    assert beaten["own_interval"]["high"] < beaten["interval"]["low"]


def test_an_interrupted_search_says_so(tuned: RunSet) -> None:
    halted = replace(tuned, runs=tuned.runs[:4], search=replace(SEARCH, runs=None))
    settings = searched(halted)
    assert settings is not None
    assert settings.tuning.outcome == "interrupted"
    assert settings.conclusion.startswith("The search was interrupted. So far the best is ")
    assert not settings.is_decided


def test_runs_beyond_the_end_of_the_search_do_not_change_it(tuned: RunSet) -> None:
    ended = replace(tuned, search=replace(SEARCH, runs=4))
    settings = searched(ended)
    assert settings is not None
    assert (settings.tuning.outcome, settings.tuning.runs) == ("budget", 4)


def test_a_search_by_an_unknown_metric_is_left_out(tuned: RunSet) -> None:
    assert searched(replace(tuned, search=replace(SEARCH, metric="of_the_future"))) is None

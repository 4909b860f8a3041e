"""What moved with a change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from analysis.compare.test_comparison import SIX, TOLERATED, run, run_set, slower

from llmbench.analysis.compare.comparison import compare
from llmbench.analysis.compare.covariates import covariates
from llmbench.analysis.compare.differences import differences
from llmbench.report.comparison import tables
from llmbench.runs.record import Record
from llmbench.runs.run import Run, records_table
from llmbench.runs.series import Series


def side(**more: Any) -> list[Run]:
    """Return eight runs of a case with these fields."""
    return [run("x", n, 0.1 + n / 1e4, **more) for n in range(1, 9)]


def watched(name: str, *values: float) -> tuple[Series, ...]:
    times = tuple(float(n) for n in range(len(values)))
    return (Series.measured(name, "", times, values),)


def moved(baseline: list[Run], candidate: list[Run]) -> dict[str, tuple[str, str]]:
    listed = covariates(baseline, candidate, differences(baseline, candidate))
    return {covariate.what: (covariate.baseline, covariate.candidate) for covariate in listed}


@pytest.mark.parametrize(
    ("baseline", "candidate", "what"),
    [
        ({"backend_report": {"counters": {"compiles_in_window": 0}}},
         {"backend_report": {"counters": {"compiles_in_window": 2}}},
         {"compiles in window": ("0", "2")}),
        ({"facts": {"stolen_percent": 0.1}}, {"facts": {"stolen_percent": 9.0}},
         {"CPU steal time (%)": ("0.1", "9")}),
        ({"series": watched("gpu0_sm_clock_hertz", 2e9, 2e9)},
         {"series": watched("gpu0_sm_clock_hertz", 1e9, 2e9)},
         {"gpu0 SM clock (Hz)": ("2e+09", "1.5e+09")}),
        ({"series": watched("gpu0_throttle_reasons", 0, 1)},
         {"series": watched("gpu0_throttle_reasons", 4, 1)},
         {"gpu0 at its power cap (share)": ("0", "0.5")}),
        ({"series": watched("gpu0_throttle_reasons", 0, 4)},
         {"series": watched("gpu0_throttle_reasons", 0x44, 4)},
         {"gpu0 at its power cap (share)": ("0.5", "1"),
          "gpu0 throttled by other limits (share)": ("0", "0.5")}),
        ({}, {"environment": {"cpu": {"model": "A"}, "packages": {"torch": "2.14"}}},
         {"packages.torch": ("2.13", "2.14")}),
    ],
)  # fmt: skip
def test_what_moved_is_listed(baseline: Any, candidate: Any, what: dict[str, Any]) -> None:
    assert moved(side(**baseline), side(**candidate)) == what


def of_length(tokens: int) -> Run:
    """Return a run of requests that begin 0.5 s after they are due and take 0.1 s per token."""
    records = [
        Record(n, "measured", float(n), float(n), n + 0.5,
               tuple(n + 0.5 + 0.1 * k for k in range(1, tokens + 1)), (1,) * tokens, 4, tokens,
               "length")
        for n in range(20)
    ]  # fmt: skip
    return replace(run("x", 1, 0.1), records=records_table(records))


def test_longer_answers_and_fuller_batches_are_listed() -> None:
    shifted = moved([of_length(5)] * 8, [of_length(10)] * 8)
    assert shifted["output tokens per request"] == ("5", "10")
    # 20 requests of 0.5 s in 20 s, then of 1.0 s in 20.5 s
    assert shifted["mean sequences per step"] == ("0.5", "0.9756")


def test_what_only_some_runs_know_is_not_judged() -> None:
    known = side(facts={"stolen_percent": 5.0})
    assert moved(side(facts={"stolen_percent": 0.0}), [*known[:7], side()[7]]) == {}


def test_covariates_are_listed_where_a_metric_changed() -> None:
    baseline = run_set("a", x=SIX, y=SIX)
    candidate = run_set("b", x=slower(1.2), y=SIX)
    candidate = replace(
        candidate,
        runs=tuple(replace(r, environment={**r.environment, "packages": {"torch": "2.14"}})
                   for r in candidate.runs),
    )  # fmt: skip
    comparison = compare(baseline, candidate, TOLERATED)
    assert [[covariate.what for covariate in case.covariates] for case in comparison.cases] == [
        ["packages.torch"],
        [],
    ]
    assert [row[1].text for row in tables.covariates(comparison).rows] == ["packages.torch"]


def test_that_nothing_moved_is_stated() -> None:
    comparison = compare(run_set("a", x=SIX), run_set("b", x=slower(1.2)), TOLERATED)
    assert tables.covariates(comparison).note == "x: no recorded covariate changed."

"""What was attained of the objectives leads the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import small_sets

from llmbench.report.objectives import sentences
from llmbench.report.results import Results
from llmbench.runs.record import Record
from llmbench.runs.run import Failure, PlannedRun, records_table
from llmbench.scenario.cases import Case

SLO = {"ttft_p99": 0.5}


def served(ttft: float, rate: float, requests: int = 400, growth: float = 0.0) -> list[Record]:
    """Requests of this TTFT, which grows from request to request (exact in binary)."""
    dues = [i / rate for i in range(requests)]
    firsts = [due + ttft + i * growth for i, due in enumerate(dues)]
    return [
        Record(i, "measured", due, due, due, (first, first + 0.25), (1, 1), 4, 2, "length")
        for i, (due, first) in enumerate(zip(dues, firsts, strict=True))
    ]


def planned(backend: str, rate: float, slo: Mapping[str, float], *, swept: bool) -> PlannedRun:
    name = f"{backend}, load.rate={rate:g}" if swept else backend
    spec = {
        "load": {"kind": "poisson", "rate": rate}, "backends": [{"name": backend}], "slo": {**slo},
    }  # fmt: skip
    slug = name.replace(", load.rate=", "-")
    return PlannedRun(Case(name, slug, "fake", {"load.rate": rate} if swept else {}, spec), 1)


def said(
    folder: Path,
    cases: Mapping[tuple[str, float], Mapping[str, Any] | None],
    slo: Mapping[str, float] = SLO,
) -> list[str]:
    """Return the sentences about cases by backend and rate; without requests a case failed."""
    swept = len({rate for _, rate in cases}) > 1
    plan = {key: planned(*key, slo, swept=swept) for key in cases}
    runs = tuple(
        small_sets.run_of(
            plan[key],
            records=records_table(served(rate=key[1], **load) if load is not None else []),
            failure=None if load is not None else Failure("error", "x"),
        )
        for key, load in cases.items()
    )
    begun = small_sets.begun(folder / "set", [*plan.values()])
    return sentences(Results(replace(begun, runs=runs)))


GOOD, BAD = {"ttft": 0.125}, {"ttft": 0.875}
BEHIND = {"ttft": 0.125, "growth": 0.0625}


# -- at one load -----------------------------------------------------------------------------------


def test_an_overload_that_misses_the_objectives_leads(tmp_path: Path) -> None:
    assert said(tmp_path, {("eager", 8): BEHIND, ("compiled", 8): BAD}) == [
        "Neither case meets the objectives; eager answered 5.3 of 8 requests/s.",
        "TTFT p99 over all runs, objective 500 ms: eager 24.8 s and compiled 875 ms.",
    ]


def test_what_is_met_needs_no_figures(tmp_path: Path) -> None:
    assert said(tmp_path, {("a", 8): GOOD, ("b", 8): GOOD}) == ["Both cases meet the objectives."]


def test_cases_that_meet_miss_and_leave_open_are_told_apart(tmp_path: Path) -> None:
    few = {**GOOD, "requests": 2}
    assert said(tmp_path, {("a", 8): GOOD, ("b", 8): BAD, ("c", 8): few}) == [
        "a meets the objectives; b misses them; c is undecided.",
        (
            "TTFT p99 over all runs, objective 500 ms: b 875 ms and c 125 ms (95 % "
            "interval 125 ms or more)."
        ),
    ]


def test_of_too_few_requests_nothing_is_said_but_that(tmp_path: Path) -> None:
    assert said(tmp_path, {("a", 8): {**GOOD, "requests": 2}})[0] == (
        "It is undecided whether a meets the objectives: the percentiles need more requests."
    )


def test_many_cases_are_counted(tmp_path: Path) -> None:
    cases = {(name, 8.0): BAD for name in "abcdef"} | {("slowest", 8.0): {"ttft": 2.0}}
    assert said(tmp_path, cases) == [
        "None of the 7 cases meets the objectives.",
        (
            "TTFT p99 over all runs, objective 500 ms: not met by 7 cases, at worst slowest with "
            "2.00 s."
        ),
    ]


def test_failed_requests_have_no_figure(tmp_path: Path) -> None:
    plan = planned("a", 8, SLO, swept=False)
    records = [replace(r, finish="error", error_kind="timeout") for r in served(0.125, 8)]
    run = small_sets.run_of(plan, records=records_table(records))
    results = Results(replace(small_sets.begun(tmp_path / "set", [plan]), runs=(run,)))
    assert sentences(results)[1].endswith("a infinite by failed requests.")


def test_without_objectives_an_overload_is_said_and_nothing_else(tmp_path: Path) -> None:
    assert said(tmp_path, {("a", 8): GOOD, ("b", 8): BEHIND}, {}) == [
        "b does not keep up with the load: b answered 5.3 of 8 requests/s."
    ]
    assert said(tmp_path / "good", {("a", 8): GOOD}, {}) == []


# -- at several loads ------------------------------------------------------------------------------


def test_a_sweep_has_a_sentence_per_backend(tmp_path: Path) -> None:
    cases = {(b, r): GOOD for b in ("large", "small") for r in (4.0, 8.0, 16.0)}
    cases |= {("small", 8.0): BEHIND, ("small", 16.0): BEHIND}
    assert said(tmp_path, cases) == [
        "large meets the objectives up to 16/s, the highest tried.",
        (
            "small meets the objectives up to 4/s; at 8/s it misses TTFT p99 (24.8 s, objective "
            "500 ms) and answers 5.3 requests/s."
        ),
    ]


def test_a_backend_may_miss_its_objectives_at_the_lowest_load(tmp_path: Path) -> None:
    assert said(tmp_path, {("a", 2): BAD, ("a", 4): GOOD}) == [
        (
            "a does not meet the objectives at 2/s, the lowest measured: it misses TTFT p99 "
            "(875 ms, objective 500 ms); it meets the objectives again at 4/s."
        )
    ]


def test_loads_that_are_undecided_or_failed_are_named(tmp_path: Path) -> None:
    few = {**GOOD, "requests": 2}
    assert said(tmp_path, {("a", 2): GOOD, ("a", 4): few, ("a", 8): None}) == [
        "a meets the objectives up to 2/s; it is undecided at 4/s; no results at 8/s."
    ]
    assert said(tmp_path / "all", {("a", 2): few, ("a", 4): few}) == [
        (
            "It is undecided whether a meets the objectives at every point: the percentiles need "
            "more requests."
        )
    ]


def test_without_objectives_a_sweep_says_where_a_backend_falls_behind(tmp_path: Path) -> None:
    assert said(
        tmp_path, {("a", 2): GOOD, ("a", 8): BEHIND, ("b", 2): GOOD, ("b", 8): GOOD}, {}
    ) == ["a keeps up with the load up to 2/s; at 8/s it answers 5.3 requests/s."]

"""The headline claims no more than its runs support."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import small_sets

from llmbench.report.headline import headline
from llmbench.report.results import Results
from llmbench.runs.caveats import Caveat
from llmbench.runs.run import PlannedRun
from llmbench.scenario.cases import Case

BUSY = Caveat("other-load", percent=31.0)


def servers(
    make: Any,
    folder: Path,
    repeats: int = 5,
    cases: Collection[str] = ("swift", "steady", "stalling"),
    caveats: Mapping[str, Caveat] | None = None,
    **spec: Any,
) -> Results:
    """Results of simulated servers; the first process of a case has its caveat."""
    plan = [make.planned(c, repeat, **spec) for repeat in range(1, repeats + 1) for c in cases]
    runs = [
        replace(run, caveats=(*run.caveats, caveats[run.case.name]))
        if caveats and run.case.name in caveats and run.repeat == 1
        else run
        for run in make.sample_runs(plan)
    ]
    return Results(make.store_run_set(folder / "set", plan, runs))


def by_prefill(make: Any, folder: Path, prefill: Mapping[str, float], repeats: int = 5) -> Results:
    """Results of servers that differ only in the time of their prefill."""
    plan = [make.planned(case, repeat) for repeat in range(1, repeats + 1) for case in prefill]
    runs = [make.run_of(p, make.serve(p.repeat, prefill=prefill[p.case.name])) for p in plan]
    return Results(make.store_run_set(folder / "set", plan, runs))


# -- claims ----------------------------------------------------------------------------------------


def test_the_best_case_is_so_many_times_faster_than_each_other(make: Any, tmp_path: Path) -> None:
    assert headline(servers(make, tmp_path))[1] == (
        "swift (5.84 ms) is 1.12 to 1.35 times faster than stalling (7.16 ms) and 2.50 to 2.77 "
        "times faster than steady (15.4 ms) in TPOT p50."
    )


def test_a_figure_of_0_has_no_ratio(tmp_path: Path) -> None:
    plan = [small_sets.planned(case, 1, load={"kind": "poisson", "rate": 1}) for case in "ab"]
    runs = tuple(small_sets.run_of(planned, ttft=0.0) for planned in plan)
    ttft = headline(Results(replace(small_sets.begun(tmp_path / "set", plan), runs=runs)))[0]
    assert ttft.startswith("TTFT p50: a (0 s) and b (0 s); no claim")


def test_of_throughputs_it_is_the_ratio(make: Any, tmp_path: Path) -> None:
    cases, closed = ("swift", "steady"), {"kind": "closed", "concurrency": 4}
    plan = [make.planned(c, repeat, load=closed) for repeat in range(1, 6) for c in cases]
    rates = {"swift": 8.0, "steady": 4.0}
    runs = [make.run_of(p, make.serve(p.repeat, rates[p.case.name])) for p in plan]
    said = headline(Results(make.store_run_set(tmp_path / "set", plan, runs)))
    assert said[0] == (
        "swift (190 tokens/s) has 1.93 to 2.04 times the output throughput of steady "
        "(95.8 tokens/s)."
    )


def test_without_a_significant_difference_it_says_what_would_settle_it(
    make: Any, tmp_path: Path
) -> None:
    assert headline(servers(make, tmp_path, load="closed"))[0] == (
        "No significant difference in output tokens/s between swift (190 tokens/s), stalling "
        "(190 tokens/s, 0.987 to 1.007 times that) and steady (185 tokens/s, 0.93 to 1.02 times "
        "that); about 25 repeats would settle it."
    )


def test_cases_slower_than_all_of_a_tie_are_named(make: Any, tmp_path: Path) -> None:
    results = by_prefill(make, tmp_path, {"a": 0.02, "b": 0.02, "slow": 0.05})
    assert headline(results)[0] == (
        "No significant difference in TTFT p50 between a (21.8 ms) and b (21.8 ms, 1.00 times "
        "that); they are equal in every repeat. Both are at least 2.29 times faster than slow "
        "(54.7 ms)."
    )


def test_under_an_open_load_the_throughput_is_not_claimed(make: Any, tmp_path: Path) -> None:
    said = " ".join(headline(servers(make, tmp_path)))
    assert "tokens/s" not in said
    assert "E2E p50" in said


def test_cases_are_compared_within_a_point_of_the_sweep(make: Any, tmp_path: Path) -> None:
    speeds = {"a": 0.02, "b": 0.04}
    plan = [
        make.planned(f"{backend}, load.rate={rate}", repeat, {"load.rate": rate})
        for backend in speeds
        for rate in (2, 8)
        for repeat in range(1, 6)
    ]
    runs = [
        make.run_of(
            p, make.serve(p.repeat, p.case.point["load.rate"], prefill=speeds[p.case.name[0]])
        )
        for p in plan
    ]
    said = headline(Results(make.store_run_set(tmp_path / "set", plan, runs)))
    assert said == [
        "TTFT p50: a is 1.89 to 2.03 times faster than b at every point.",
        (
            "TPOT p50: no significant difference (about 64 repeats would settle it) at 2/s; "
            "a is 1.17 to 1.35 times faster than b at 8/s."
        ),
        "E2E p50: a is 1.16 to 1.55 times faster than b at every point.",
    ]


def swept(folder: Path, loads: Collection[int], ttfts: Mapping[str, float]) -> Results:
    """Results of a sweep of the rate, one run per case, whose TTFT grows with the rate."""
    plan = []
    for rate, backend in product(loads, ttfts):
        spec = {"load": {"kind": "poisson", "rate": rate}, "backends": [{"name": backend}]}
        name, slug = f"{backend}, load.rate={rate}", f"{backend}-{rate}"
        plan.append(PlannedRun(Case(name, slug, "fake", {"load.rate": rate}, spec), 1))
    runs = tuple(
        small_sets.run_of(p, ttft=ttfts[p.case.backend_name] * p.case.point["load.rate"])
        for p in plan
    )
    return Results(replace(small_sets.begun(folder / "set", plan), runs=runs))


def test_without_claims_a_sweep_has_the_range_of_each_backend(tmp_path: Path) -> None:
    assert headline(swept(tmp_path, (8, 2, 4), {"a": 0.1, "b": 0.2})) == [
        "TTFT p50 of a: 200 ms at 2/s to 800 ms at 8/s.",
        "TTFT p50 of b: 400 ms at 2/s to 1.60 s at 8/s.",
        "TTFT p50, TPOT p50 and E2E p50: no claim from 1 repeat: it takes at least 5.",
    ]


def test_the_only_backend_of_a_sweep_has_the_range_of_every_metric(tmp_path: Path) -> None:
    said = headline(swept(tmp_path, (2, 4), {"a": 0.1}))
    assert said[0] == "TTFT p50 of a: 200 ms at 2/s to 400 ms at 4/s."
    assert [sentence.partition(":")[0] for sentence in said] == [
        "TTFT p50 of a", "TPOT p50 of a", "E2E p50 of a",
    ]  # fmt: skip


# -- no claims -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repeats", "end"),
    [
        (1, "no claim from 1 repeat: it takes at least 5."),
        (3, "no claim from 3 repeats: it takes about 5."),
    ],
)
def test_too_few_repeats_give_figures_and_say_how_many_it_takes(
    make: Any, tmp_path: Path, repeats: int, end: str
) -> None:
    said = headline(servers(make, tmp_path, repeats))
    assert all(sentence.endswith(end) for sentence in said)
    assert "1.19 times that) and steady" in said[1] or "1.20 times that) and steady" in said[1]


def test_a_busy_run_supports_no_claim_about_its_case(make: Any, tmp_path: Path) -> None:
    ttft, *_, reason = headline(servers(make, tmp_path, caveats={"swift": BUSY}))
    assert ttft == (
        "stalling (23.2 ms) is 1.51 to 1.69 times faster than steady (37.1 ms) in TTFT p50. "
        "No claim about swift (21.8 ms)."
    )
    assert reason == (
        "swift is in doubt: Other programs used 31 % of the machine's CPU time during this run."
    )


def test_without_two_trusted_cases_there_is_no_claim(make: Any, tmp_path: Path) -> None:
    doubted = servers(make, tmp_path, cases=("swift", "steady"), caveats={"steady": BUSY})
    assert headline(doubted)[0] == (
        "TTFT p50: swift (21.8 ms) and steady (37.1 ms, 1.70 times that); no claim, since steady "
        "is in doubt."
    )


def test_the_reason_to_doubt_several_cases_is_said_once(make: Any, tmp_path: Path) -> None:
    caveats = dict.fromkeys(("swift", "steady", "stalling"), BUSY)
    said = headline(servers(make, tmp_path, caveats=caveats))
    assert len(said) == 4
    assert said[-1].startswith("all cases are in doubt: Other programs used 31 %")


def test_caveats_that_do_not_bear_on_a_claim_do_not_prevent_it(make: Any, tmp_path: Path) -> None:
    results = servers(make, tmp_path)
    assert any(run.caveats for run in results.run_set.runs)
    assert "faster" in headline(results)[0]


def test_a_percentile_of_too_few_requests_supports_no_claim(make: Any, tmp_path: Path) -> None:
    plan = [make.planned(case, repeat) for repeat in range(1, 6) for case in ("swift", "steady")]
    runs = [make.run_of(p, make.serve(p.repeat, requests=8)) for p in plan]
    said = headline(Results(make.store_run_set(tmp_path / "set", plan, runs)))
    assert said[0].endswith("no claim, since a process has 8 samples; the percentile needs 11.")


# -- a single case ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repeats", "end"),
    [
        (1, "22.2 ms (one process)."),
        (2, "21.8 ms (22.2 ms and 21.5 ms)."),
        (3, "21.5 ms (t interval 20.1 to 23.1 ms)."),
        (8, "21.7 ms (95 % interval 21.2 to 22.2 ms)."),
    ],
)
def test_a_single_case_is_only_described(make: Any, tmp_path: Path, repeats: int, end: str) -> None:
    said = headline(servers(make, tmp_path, repeats, ("swift",), {"swift": BUSY}))
    assert said[0] == f"TTFT p50 of swift is {end}"
    assert len(said) == 3


def test_a_rate_that_has_no_window_is_not_known(make: Any, tmp_path: Path) -> None:
    plan = make.planned("only", 1, load="closed")
    results = Results(
        make.store_run_set(tmp_path / "set", [plan], [make.run_of(plan, make.serve(1, requests=1))])
    )
    assert headline(results)[0].startswith("Output throughput is unknown: no steady window")


def test_of_many_cases_the_best_and_the_worst_are_named_without_a_claim(tmp_path: Path) -> None:
    plan = [small_sets.planned(f"server {n}", 1) for n in range(21)]
    runs = tuple(small_sets.run_of(p, ttft=n / 10) for n, p in enumerate(plan, start=1))
    results = Results(replace(small_sets.begun(tmp_path / "set", plan), runs=runs))
    assert headline(results)[1] == (
        "TTFT p50: best server 0 (100.0 ms), worst server 20 (2.10 s), of 21 cases; no claim, "
        "since at most 20 cases are compared."
    )

"""Two run sets side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmbench.analysis.compare.comparison import TOLERANCES, compare
from llmbench.analysis.compare.differences import differences, forbids
from llmbench.analysis.compare.judge import Processes
from llmbench.analysis.metrics import METRICS, Value
from llmbench.runs.record import Record
from llmbench.runs.run import PlannedRun, Run, records_table
from llmbench.runs.run_set import RunSet
from llmbench.scenario.cases import Case

SPEC: dict[str, Any] = {"load": {"kind": "closed"}, "model": {"source": "builtin:tiny"}}
TOLERATED = {"ttft_p50": 0.03}


def run(case: str, repeat: int, ttft: float, **more: Any) -> Run:
    """Return a run of 20 requests, one per second, each with this TTFT."""
    records = [
        Record(n, "measured", float(n), float(n), None, (n + ttft, n + ttft + 0.1), (1, 1), 4, 2,
               "length")
        for n in range(20)
    ]  # fmt: skip
    plain: dict[str, Any] = {
        "case": Case(case, case, "fake", {}, more.pop("spec", SPEC)), "repeat": repeat,
        "began_at": "2026-01-01T00:00:00+00:00", "records": records_table(records),
        "environment": {"cpu": {"model": "A"}, "packages": {"torch": "2.13"}},
    }  # fmt: skip
    return Run(**{**plain, **more})


def run_set(name: str, **ttfts: Sequence[float]) -> RunSet:
    runs = [run(case, n, ttft) for case, each in ttfts.items() for n, ttft in enumerate(each, 1)]
    plan = tuple(PlannedRun(run.case, run.repeat) for run in runs)
    return RunSet(Path(name), name, "", "2026-01-01T00:00:00+00:00", "", (), {}, plan, tuple(runs))


SIX = [0.100, 0.101, 0.102, 0.0995, 0.1005, 0.1015]


def slower(by: float) -> list[float]:
    return [by * value for value in SIX]


def outcomes(baseline: RunSet, candidate: RunSet) -> dict[str, str]:
    comparison = compare(baseline, candidate, TOLERATED)
    return {case.case: case.verdicts["ttft_p50"].outcome for case in comparison.cases}


def test_cases_of_one_name_are_compared() -> None:
    baseline, candidate = run_set("a", x=SIX, y=SIX), run_set("b", x=slower(1.2), y=SIX)
    assert outcomes(baseline, candidate) == {"x": "regression", "y": "equivalent"}


def test_two_sets_of_one_case_each_are_compared_whatever_their_names() -> None:
    comparison = compare(run_set("a", eager=SIX), run_set("b", compiled=slower(0.5)), TOLERATED)
    assert [case.case for case in comparison.cases] == ["eager → compiled"]
    assert comparison.cases[0].verdicts["ttft_p50"].outcome == "improvement"


def test_cases_that_one_side_lacks_are_listed() -> None:
    comparison = compare(run_set("a", x=SIX, y=SIX), run_set("b", x=SIX, z=SIX), TOLERATED)
    assert (comparison.missing, comparison.extra) == (("y",), ("z",))


def test_sets_without_a_case_in_common_give_no_verdict() -> None:
    assert compare(run_set("a", x=SIX, y=SIX), run_set("b", z=SIX), TOLERATED).cases == ()


def test_a_change_that_may_be_chance_among_many_is_inconclusive() -> None:
    names = [f"case{n}" for n in range(40)]
    baseline = run_set("a", **dict.fromkeys(names, SIX[:4]))
    candidate = run_set("b", **{**dict.fromkeys(names, SIX[:4]), "case0": slower(1.2)[:4]})
    verdict = compare(baseline, candidate, TOLERATED).cases[0].verdicts["ttft_p50"]
    assert verdict.outcome == "inconclusive"
    assert "among 40 comparisons" in verdict.reason


def test_another_scenario_is_not_comparable() -> None:
    baseline, candidate = run_set("a", x=SIX), run_set("b", x=SIX)
    burst = Case("x", "x", "fake", {}, {**SPEC, "load": {"kind": "burst"}})
    changed = tuple(replace(run, case=burst) for run in candidate.runs)
    verdict = (
        compare(baseline, replace(candidate, runs=changed), TOLERATED).cases[0].verdicts["ttft_p50"]
    )
    assert verdict.outcome == "not comparable"
    assert "load.kind: closed → burst" in verdict.reason


def test_other_hardware_is_compared_and_listed() -> None:
    baseline, candidate = run_set("a", x=SIX), run_set("b", x=slower(1.2))
    changed = tuple(replace(r, environment={"cpu": {"model": "B"}}) for r in candidate.runs)
    comparison = compare(baseline, replace(candidate, runs=changed), TOLERATED).cases[0]
    assert comparison.verdicts["ttft_p50"].outcome == "regression"
    assert ("hardware", "cpu.model", "A", "B") in {
        (d.kind, d.what, d.baseline, d.candidate) for d in comparison.differences
    }


def test_labels_of_a_scenario_are_no_difference() -> None:
    named = [run("x", 1, 0.1, spec={**SPEC, "name": "other", "repeats": 9, "slo": {"ttft": 1}})]
    assert differences([run("x", 1, 0.1)], named) == []


def scheduled(**schedules: str) -> list[Run]:
    """Runs with a schedule each, by repeat: ``scheduled(r1="a", r2="b")``."""
    return [
        run("x", int(repeat[1:]), 0.1, facts={"schedule_sha256": schedule})
        for repeat, schedule in schedules.items()
    ]


def test_the_self_check_before_a_load_is_no_difference() -> None:
    unchecked = {**SPEC, "model": {**SPEC["model"], "self_check": False}}
    assert differences([run("x", 1, 0.1)], [run("x", 1, 0.1, spec=unchecked)]) == []


def test_repeats_with_schedules_of_their_own_are_comparable() -> None:
    assert differences(scheduled(r1="a", r2="b"), scheduled(r2="b", r1="a", r3="c")) == []


def test_another_schedule_of_the_same_repeat_is_not_comparable() -> None:
    differing = differences(scheduled(r1="a", r2="b", r3="c"), scheduled(r1="a", r2="x", r3="y"))
    assert [str(difference) for difference in differing] == ["schedule of repeat 2: b → x"]
    assert forbids(differing)


def test_a_value_that_varies_within_a_side_has_all_its_values() -> None:
    mixed = [run("x", n, 0.1, environment={"cpu": {"model": m}}) for n, m in enumerate("AB")]
    (difference,) = (d for d in differences([mixed[0]], mixed) if d.what == "cpu.model")
    assert difference.candidate == "A / B"


def test_many_differences_are_shortened() -> None:
    other = {"name": "s", "load": {"kind": "burst"}, "model": "other", "requests": 3, "seed": 4}
    differing = differences([run("x", 1, 0.1)], [run("x", 1, 0.1, spec=other)])
    assert forbids(differing).endswith("and 3 more)")


def test_a_percentile_that_its_sample_cannot_support_is_not_judged() -> None:
    values, reason = Processes((), ({"ttft_p99": Value(0.1, 661)},)).values("ttft_p99")
    assert (values, reason) == ([], "a process has 661 samples; the percentile needs 662")


@pytest.mark.parametrize("value", [Value(None, 0, "not measured"), Value(0.0, 5)])
def test_a_process_without_a_value_is_a_reason_not_to_judge(value: Value) -> None:
    known = Value(2.0, 5)
    values, reason = Processes((), ({"perplexity": known}, {"perplexity": value})).values(
        "perplexity"
    )
    assert values == []
    assert reason


def test_every_tolerance_is_of_a_metric_with_a_better_side() -> None:
    assert all(METRICS[key].better != "neither" for key in TOLERANCES)


# -- energy ----------------------------------------------------------------------------------------

JOULES = {"energy_joules_per_output_token": 0.03}


def with_energy(by: float, uuid: str, method: str = "nvml-counter") -> RunSet:
    runs = [
        replace(
            run("x", n, ttft), summary={"energy_joules_per_output_token": (by * ttft, 100)},
            facts={"energy": {"gpu0": {"method": method, "uuid": uuid, "unavailable": None}}},
        )
        for n, ttft in enumerate(SIX, 1)
    ]  # fmt: skip
    return replace(run_set("e", x=SIX), runs=tuple(runs))


@pytest.mark.parametrize(
    ("candidate", "outcome"),
    [
        (with_energy(1.07, "GPU-1"), "regression"),
        (with_energy(1.07, "GPU-2"), "inconclusive"),
        (with_energy(1.3, "GPU-2"), "regression"),
        (with_energy(1.0, "GPU-2"), "inconclusive"),
        (with_energy(1.0, "GPU-1"), "equivalent"),
        (with_energy(1.3, "GPU-1", "wall"), "not comparable"),
    ],
)
def test_energies_of_two_cards_differ_beyond_their_gain_errors_only(
    candidate: RunSet, outcome: str
) -> None:
    comparison = compare(with_energy(1.0, "GPU-1"), candidate, JOULES)
    assert comparison.cases[0].verdicts["energy_joules_per_output_token"].outcome == outcome


def test_energies_with_an_unknown_gain_error_are_not_compared_between_devices() -> None:
    comparison = compare(with_energy(1.0, "a", "rapl"), with_energy(2.0, "b", "rapl"), JOULES)
    verdict = comparison.cases[0].verdicts["energy_joules_per_output_token"]
    assert verdict.outcome == "not comparable"
    assert "unknown" in verdict.reason

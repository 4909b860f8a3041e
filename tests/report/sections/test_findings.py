"""Every reason to doubt a result is found once, with all that it concerns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from node_sets import THROUGHPUT, Nodes, of

from llmbench.report.results import Results
from llmbench.report.sections import findings
from llmbench.report.sections.findings import Finding
from llmbench.runs.caveats import SEVERITIES, Caveat
from llmbench.runs.record import Record
from llmbench.runs.run_set import RunSet


def kinds(every: list[Finding], case: str) -> set[str]:
    return {finding.caveat.kind for finding in every if case in finding.cases}


def late(records: list[Record], seconds: float) -> list[Record]:
    return [replace(record, sent=record.due + seconds) for record in records]


def test_a_stored_caveat_of_many_runs_is_one_finding(results: Results) -> None:
    every = [f for f in findings.find(results) if f.caveat.kind == "not-effective"]
    assert [(f.cases, f.runs) for f in every] == [
        (("steady",), ("steady-r1", "steady-r2", "steady-r3"))
    ]


def test_caveats_that_differ_in_numbers_only_are_one_finding(make: Any, tmp_path: Path) -> None:
    plan = [make.planned("swift", repeat) for repeat in (1, 2)]
    runs = [
        replace(run, caveats=(Caveat("recompiled", graphs=run.repeat),))
        for run in make.sample_runs(plan)
    ]
    every = findings.find(Results(make.store_run_set(tmp_path / "set", plan, runs)))
    doubt = next(f for f in every if f.caveat.kind == "recompiled")
    assert doubt.runs == ("swift-r1", "swift-r2")
    assert [caveat.parameters["graphs"] for caveat in doubt.caveats] == [1, 2]
    assert doubt.message.endswith("compiled 1 to 2 graph(s) inside the measured window (2 runs).")


def test_caveats_of_several_cases_are_one_finding(make: Any, tmp_path: Path) -> None:
    plan = [make.planned(case, 1) for case in ("swift", "steady", "stalling")]
    runs = [
        replace(run, caveats=(Caveat("other-load", percent=percent),))
        for run, percent in zip(make.sample_runs(plan), (76.0, 90.0, 80.0), strict=True)
    ]
    every = findings.find(Results(make.store_run_set(tmp_path / "set", plan, runs)))
    (busy,) = [f for f in every if f.caveat.kind == "other-load"]
    assert busy.cases == ("swift", "steady", "stalling")
    assert busy.message == (
        "Other programs used 76 to 90 % of the machine's CPU time during this run (3 runs)."
    )


def test_caveats_that_differ_in_a_key_parameter_stay_separate(make: Any, tmp_path: Path) -> None:
    plan = make.planned("swift", 1)
    caveats = [
        Caveat("not-effective", setting=setting, requested="a", effective="b")
        for setting in ("dtype", "kernel")
    ]
    run = replace(make.sample_runs([plan])[0], caveats=tuple(caveats))
    every = findings.find(Results(make.store_run_set(tmp_path / "set", [plan], [run])))
    assert sum(f.caveat.kind == "not-effective" for f in every) == 2


def test_failed_requests_are_a_finding(results: Results) -> None:
    every = findings.find(results)
    failed = next(f for f in every if f.caveat.kind == "requests-failed")
    assert failed.caveat.message.startswith("9 of 180 measured requests failed")


def test_percentiles_with_too_few_samples_are_one_finding(results: Results) -> None:
    every = findings.find(results)
    doubt = next(f for f in every if f.caveat.kind == "unsupported-percentile")
    assert doubt.message == (
        "The p99 of TTFT, TPOT, E2E is based on 57 to 60 samples; 99 % confidence needs 662 "
        "(3 cases)."
    )
    assert doubt.cases == ("swift", "steady", "stalling")


def test_too_few_processes_are_a_finding(make: Any, tmp_path: Path) -> None:
    plan = make.planned("swift", 1)
    results = Results(make.store_run_set(tmp_path / "set", [plan], make.sample_runs([plan])))
    assert "few-repeats" in kinds(findings.find(results), "swift")


def test_a_harness_that_did_not_keep_up_is_a_finding(make: Any, tmp_path: Path) -> None:
    plan = make.planned("only", 1)
    run = make.run_of(plan, late(make.serve(1, per_token=0.005), 0.5))
    results = Results(make.store_run_set(tmp_path / "set", [plan], [run]))
    assert "harness-invalid" in kinds(findings.find(results), "only")


def test_a_case_without_runs_has_no_findings(results: Results) -> None:
    assert kinds(findings.find(results), "broken") == set()


def test_a_finding_of_every_case_says_so(results: Results) -> None:
    caveats = findings.find(results)[0].caveats
    everywhere = Finding(caveats, ("swift", "steady", "stalling"))
    assert findings.scope(everywhere, results) == "all cases"
    assert findings.scope(Finding(caveats, ("swift", "steady")), results) == "swift, steady"


def test_the_most_severe_findings_come_first(results: Results) -> None:
    ranks = [SEVERITIES.index(finding.caveat.severity) for finding in findings.find(results)]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) > 1


def test_runs_that_failed_alike_are_gathered(sample: RunSet) -> None:
    (names,) = findings.failures(sample).values()
    assert names == ["broken-r1", "broken-r2", "broken-r3"]


@pytest.mark.parametrize("per_repeat", [True, False])
def test_a_schedule_shared_by_all_repeats_is_a_note(
    make: Any, tmp_path: Path, *, per_repeat: bool
) -> None:
    plan = [make.planned("swift", repeat, seed_per_repeat=per_repeat) for repeat in (1, 2, 3)]
    runs = [make.run_of(planned, make.serve(1)) for planned in plan]
    found = findings.find(Results(make.store_run_set(tmp_path / "set", plan, runs)))
    assert ("one-schedule" in kinds(found, "swift")) is not per_repeat


def test_runs_of_one_case_on_different_machines_block_claims() -> None:
    fleet = of(Nodes("any", {THROUGHPUT: (1.0, 1.0, 1.0)}))
    others = [
        replace(run, environment={"cpu": {"model": f"CPU {run.repeat % 2}"}}) for run in fleet.runs
    ]
    every = findings.find(Results(replace(fleet, runs=tuple(others))))
    (mixed,) = [one for one in every if one.caveat.kind == "mixed-hardware"]
    assert mixed.caveat.blocks_claims
    assert mixed.message == (
        "The runs of this case were measured on machines that differ in cpu.model."
    )


def test_kinds_of_node_are_no_mixed_hardware() -> None:
    one = {THROUGHPUT: (1.0, 1.0, 1.0)}
    every = findings.find(Results(of(Nodes("L4", one), Nodes("H100", one))))
    assert "mixed-hardware" not in {finding.caveat.kind for finding in every}

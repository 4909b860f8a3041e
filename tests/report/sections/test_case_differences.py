"""What cases differ in, and whether they may be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from node_sets import THROUGHPUT, Nodes, of

from llmbench.analysis.compare.differences import differences
from llmbench.report.results import Results
from llmbench.report.sections.case_differences import differing


def cases(make: Any, folder: Path, *runs: dict[str, Any], **points: Any) -> Results:
    """Store a case for each set of changes to a run."""
    plan = [
        make.planned(f"case {index}", 1, {key: values[index] for key, values in points.items()})
        for index in range(len(runs))
    ]
    served = [make.run_of(p, make.serve(1), **more) for p, more in zip(plan, runs, strict=True)]
    return Results(make.store_run_set(folder / "set", plan, served))


def environment(**more: Any) -> dict[str, Any]:
    return {"environment": {"cpu": {"model": "A"}, "packages": {"torch": "2.13.0"}, **more}}


def test_cases_that_differ_in_settings_only_are_comparable(make: Any, tmp_path: Path) -> None:
    other = {"effective": {"dtype": "bfloat16", "threads": 2}, "requested": {}}
    table = differing(cases(make, tmp_path, {}, {"backend_report": other}))
    assert table.note.startswith("Yes: all cases had the same requests, hardware and software.")
    told = {row[1].text: [cell.text for cell in row[2:]] for row in table.rows}
    assert told["dtype"] == ["float32", "bfloat16"]
    assert "threads" not in told
    assert {row[0].text for row in table.rows} == {"setting"}


def test_other_hardware_and_software_are_named(make: Any, tmp_path: Path) -> None:
    other = environment(cpu={"model": "B"}, packages={"torch": "2.11.0"})
    note = differing(cases(make, tmp_path, environment(), other)).note
    assert note == (
        "The hardware differs (cpu.model), which may affect the results. "
        "The software differs (packages.torch), which may affect the results."
    )


def test_what_is_swept_is_named_and_its_schedule_excused(make: Any, tmp_path: Path) -> None:
    runs = [
        {"spec": make.spec_of("fake", rate), "facts": {"schedule_sha256": f"{rate}"}}
        for rate in (4.0, 8.0)
    ]
    plan = [make.planned(f"at {r}", 1, {"load.rate": r}, rate=r) for r in (4.0, 8.0)]
    served = [
        make.run_of(p, make.serve(1), facts=run["facts"]) for p, run in zip(plan, runs, strict=True)
    ]
    table = differing(Results(make.store_run_set(tmp_path / "set", plan, served)))
    assert table.note == "load.rate is swept: compare cases at the same point only."


def test_cases_of_different_scenarios_are_not_comparable(make: Any, tmp_path: Path) -> None:
    plan = [make.planned("one", 1), make.planned("other", 1, requests=99, warmup=9, seed=3)]
    served = [make.run_of(p, make.serve(1)) for p in plan]
    note = differing(Results(make.store_run_set(tmp_path / "set", plan, served))).note
    assert note == "No: the cases differ in scenario (requests, warmup, seed)."


def test_different_arrival_times_are_mentioned(make: Any, tmp_path: Path) -> None:
    runs = [{"facts": {"schedule_sha256": letter}} for letter in "ab"]
    assert differing(cases(make, tmp_path, *runs)).note.startswith(
        "The arrival times of requests differ"
    )


def test_one_case_differs_from_nothing(make: Any, tmp_path: Path) -> None:
    table = differing(cases(make, tmp_path, {}))
    assert (table.rows, table.note) == ((), "")


def test_the_hardware_of_kinds_of_node_is_meant_to_differ() -> None:
    one = {THROUGHPUT: (1.0, 1.0)}
    table = differing(Results(of(Nodes("L4", one), Nodes("H100", one))))
    assert "hardware" in {row[0].text for row in table.rows}
    assert table.note == (
        "The cases were measured on 2 kinds of node, whose hardware and software are listed below; "
        "the section Hardware compares them."
    )


def test_other_hardware_on_one_kind_of_node_is_named() -> None:
    one, other = ({"cpu": {"model": model}} for model in ("A", "B"))
    l4 = Nodes("L4", {THROUGHPUT: (1.0, 1.0)})
    on_a = of(l4, replace(l4, kind="H100", environment=one), points=[{"engine.slots": 2}])
    on_b = of(replace(l4, kind="H100", environment=other), points=[{"engine.slots": 4}])
    both = replace(on_a, plan=on_a.plan + on_b.plan, runs=on_a.runs + on_b.runs)
    note = differing(Results(both)).note
    assert "engine.slots is swept: compare cases at the same point only." in note
    assert note.endswith("The hardware differs (cpu.model), which may affect the results.")


def test_where_a_scenario_is_placed_is_no_difference_of_the_scenario() -> None:
    l4 = Nodes("L4", {THROUGHPUT: (1.0,)})
    runs = [of(l4, resources={"accelerator": kind}, nodes="each").runs for kind in ("a", "b")]
    assert differences(*runs) == []

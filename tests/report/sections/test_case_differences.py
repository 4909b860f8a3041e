"""What cases differ in, and whether they may be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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

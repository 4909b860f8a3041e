"""The measured runs that a simulation rests on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from simulated_loads import SPEC, case, run_of
from small_sets import begun

from llmbench.errors import InputError
from llmbench.runs import store
from llmbench.runs.caveats import Caveat
from llmbench.runs.run import PlannedRun, Run
from llmbench.scenario.cases import Case
from llmbench.scenario.schema import Scenario
from llmbench.simulation import sources


def stored(folder: Path, *runs: Run) -> Path:
    begun(folder, [PlannedRun(run.case, run.repeat) for run in runs])
    for run in runs:
        store.write_run(folder, run)
    return folder


def measured(rate: float = 2.0, repeat: int = 1, **more: Any) -> Run:
    return run_of(case(rate, **more), repeat, [0.0, 1.0, 2.0], 0.25)


def alike(folder: Path, *asked: Case, of: str | None = None) -> tuple[list[Run], list[Case]]:
    return sources.alike(sources.read([folder], of), asked or [case(40.0)])


def test_runs_of_several_folders_are_read_together(tmp_path: Path) -> None:
    folders = [stored(tmp_path / "a", measured(2.0)), stored(tmp_path / "b", measured(4.0))]
    runs, cases = sources.alike(sources.read(folders), [case(40.0)])
    assert [run.case.point for run in runs] == [{"load.rate": 2.0}, {"load.rate": 4.0}]
    assert [one.point for one in cases] == [{"load.rate": 40.0}]


def test_runs_are_grouped_by_load(tmp_path: Path) -> None:
    folder = stored(tmp_path / "a", measured(2.0), measured(2.0, repeat=2), measured(4.0))
    runs, _ = alike(folder)
    assert {load: len(group) for load, group in sources.by_load(runs).items()} == {
        "2/s": 2, "4/s": 1,
    }  # fmt: skip


def test_a_folder_without_a_measured_run_is_refused(tmp_path: Path) -> None:
    begun(tmp_path / "a", [PlannedRun(case(), 1)])
    with pytest.raises(InputError, match="no measured run"):
        sources.read([tmp_path / "a"])


def test_a_case_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    folder = stored(tmp_path / "a", measured(2.0))
    with pytest.raises(InputError, match=r"--case 'onnx': .* found fake, load.rate=2.0"):
        sources.read([folder], "onnx")


def test_runs_of_another_model_are_refused_with_both(tmp_path: Path) -> None:
    folder = stored(tmp_path / "a", measured(2.0, model="random:gpt2"))
    with pytest.raises(InputError, match=r"model.source 'random:gpt2', and the scenario has 'rand"):
        alike(folder)


def test_an_endpoint_cannot_be_simulated_from_a_local_backend(tmp_path: Path) -> None:
    endpoint = {**SPEC, "backends": [{"kind": "endpoint", "url": "http://localhost:1"}]}
    folder = stored(tmp_path / "a", measured(2.0))
    with pytest.raises(InputError, match=r"backend.kind 'fake', and the scenario has 'endpoint'"):
        alike(folder, Case.of(Scenario.model_validate(endpoint), {}))


def two_backends() -> tuple[Case, Case]:
    """Cases of two servers with different step times."""
    slow = {"kind": "fake", "name": "slow", "prefill": 0.5}
    first, second = (
        Case.of(Scenario.model_validate({**SPEC, "backends": [backend]}), {})
        for backend in ("fake", slow)
    )
    return first, second


def test_several_backends_need_a_choice(tmp_path: Path) -> None:
    both = two_backends()
    folder = stored(tmp_path / "a", *(run_of(one, 1, [0.0, 1.0], 0.25) for one in both))
    with pytest.raises(InputError, match="several backends: fake, slow; choose one with --case"):
        alike(folder, *both)
    runs, cases = alike(folder, *both, of="slow")
    assert [run.case.name for run in runs] == [one.name for one in cases] == ["slow"]


def test_the_backend_of_the_scenario_is_chosen_among_those_of_the_sources(tmp_path: Path) -> None:
    both = two_backends()
    folder = stored(tmp_path / "a", *(run_of(one, 1, [0.0, 1.0], 0.25) for one in both))
    runs, _ = alike(folder, both[1])
    assert [run.case.name for run in runs] == ["slow"]


def test_sources_with_different_engine_settings_are_refused(tmp_path: Path) -> None:
    folder = stored(tmp_path / "a", measured(2.0), measured(4.0, engine={"slots": 16}))
    with pytest.raises(InputError, match=r"differ in engine.slots: 8 in .* and 16 in .*--case"):
        alike(folder)


def test_policies_and_slots_of_the_scenario_may_differ_from_the_sources(tmp_path: Path) -> None:
    folder = stored(tmp_path / "a", measured(2.0))
    _, cases = alike(folder, case(40.0, engine={"slots": 32, "queue": "shortest"}))
    assert len(cases) == 1


def test_runs_of_an_endpoint_are_refused(tmp_path: Path) -> None:
    endpoint = {**SPEC, "backends": [{"kind": "endpoint", "url": "http://localhost:1"}]}
    asked = Case.of(Scenario.model_validate(endpoint), {})
    folder = stored(tmp_path / "a", run_of(asked, 1, [0.0, 1.0], 0.25))
    with pytest.raises(InputError, match="runs of endpoints have no steps"):
        alike(folder, asked)


def test_imported_runs_are_refused(tmp_path: Path) -> None:
    run = measured(2.0)
    spec = {"imported": {"tool": "guidellm", "file": "g.json"}, "model": {"source": "m"}}
    folder = stored(
        tmp_path / "a", Run(Case("old", "old", "endpoint", {}, spec), 1, run.began_at, run.records)
    )
    with pytest.raises(InputError, match="imported from guidellm"):
        alike(folder)


def test_sources_that_support_no_claims_are_named() -> None:
    run = measured(2.0)
    doubtful = Run(
        run.case, 1, run.began_at, run.records, caveats=(Caveat("harness-invalid", reasons="lag"),)
    )
    (sentence,) = sources.doubts([doubtful, run])
    assert doubtful.name in sentence
    assert sources.doubts([run]) == []

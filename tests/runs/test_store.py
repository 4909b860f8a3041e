"""Runs are written whole or not at all, and come back as they were."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from llmbench.errors import InputError
from llmbench.runs import store
from llmbench.runs.caveats import Caveat
from llmbench.runs.lock import locked
from llmbench.runs.record import Record
from llmbench.runs.run import Failure, PlannedRun, Run, records_table
from llmbench.runs.run_set import RunSet
from llmbench.runs.series import Series
from llmbench.scenario.cases import Case

RECORD = Record(
    0, "measured", 0.0, 0.1, None, (0.5, 0.7), (1, 2), 3, 3, "length", output_ids=(7, 8, 9)
)


def planned(repeat: int = 1) -> PlannedRun:
    return PlannedRun(Case("a case", "a-case", "fake", {"load.rate": 2}, {"seed": 3}), repeat)


def run(repeat: int = 1, **more: Any) -> Run:
    return Run(planned(repeat).case, repeat, "2026-01-01", **more)


@pytest.fixture
def empty(tmp_path: Path) -> RunSet:
    run_set = RunSet(
        tmp_path / "results", "chat", "told", "2026-01-01", "name: chat\n", ("a=1",),
        {"a": "--set a=1"}, (planned(1), planned(2)),
        ordered=("a case",),
    )  # fmt: skip
    store.create(run_set)
    return run_set


def test_cases_are_read_in_the_order_of_the_scenario(tmp_path: Path) -> None:
    plan = tuple(replace(planned(), case=replace(planned().case, name=n, slug=n)) for n in "bac")
    run_set = RunSet(
        tmp_path / "set", "chat", "", "2026-01-01", "", (), {}, plan, ordered=("a", "b", "c")
    )
    store.create(run_set)
    read = store.read(run_set.folder)
    assert [p.case.name for p in read.plan] == ["b", "a", "c"]
    assert list(read.by_case()) == list(read.cases) == ["a", "b", "c"]
    assert list(store.extend(read, replace(plan[0], repeat=2)).by_case()) == ["a", "b", "c"]


def test_a_run_is_read_as_it_was_written(empty: RunSet) -> None:
    series = (
        Series.measured("cpu_percent", "%", (0.0, 0.1), (50.0, 75.0)),
        Series.unavailable("gpu0_power_average_watts", "W", "no NVML"),
    )
    written = run(
        records=records_table([RECORD]), series=series, environment={"cpu": {"model": "x"}},
        backend_report={"memory": {"weights": 5}}, facts={"n": 1},
        caveats=(Caveat("recompiled", graphs=2),),
    )  # fmt: skip
    store.write_run(empty.folder, written)
    (stored,) = store.read(empty.folder).runs
    assert stored == written


POWER = Series.measured("wall_power_watts", "W", (-0.5, 0.5), (90.0, 110.0))


def test_attached_series_come_after_measured_ones(empty: RunSet) -> None:
    watched = Series.measured("cpu_percent", "%", (0.0,), (50.0,))
    written = run(records=records_table([RECORD]), series=(watched,))
    store.write_run(empty.folder, written)
    store.attach(empty.folder, written, [POWER])
    (stored,) = store.read(empty.folder).runs
    assert stored == replace(written, series=(watched, POWER))


def test_series_attached_again_replace_earlier_ones(empty: RunSet) -> None:
    store.write_run(empty.folder, run())
    store.attach(empty.folder, run(), [POWER])
    again = replace(POWER, values=np.array([1.0, 2.0]))
    store.attach(empty.folder, run(), [again])
    (stored,) = store.read(empty.folder).runs
    assert stored.series == (again,)


def test_an_attached_series_replaces_one_of_the_same_name(empty: RunSet) -> None:
    written = run(series=(replace(POWER, values=np.array([1.0, 2.0])),))
    store.write_run(empty.folder, written)
    store.attach(empty.folder, written, [POWER])
    (stored,) = store.read(empty.folder).runs
    assert stored.series == (POWER,)


def test_attaching_series_changes_no_other_file(empty: RunSet) -> None:
    store.write_run(empty.folder, run())
    folder = empty.folder / "runs" / "a-case-r1"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    store.attach(empty.folder, run(), [POWER])
    assert {path: path.read_bytes() for path in before} == before
    assert [path.name for path in folder.iterdir() if path not in before] == ["attached.parquet"]


def test_a_failed_attachment_keeps_earlier_series(
    empty: RunSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any, path: Path, **__: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    store.write_run(empty.folder, run())
    store.attach(empty.folder, run(), [POWER])
    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(InputError, match=r"attached\.parquet: cannot be written: No space left"):
        store.attach(empty.folder, run(), [replace(POWER, values=np.array([1.0, 2.0]))])
    (stored,) = store.read(empty.folder).runs
    assert stored.series == (POWER,)
    assert list((empty.folder / "runs" / "a-case-r1").glob(".*")) == []


def test_a_run_set_is_read_as_it_was_created(empty: RunSet) -> None:
    assert store.read(empty.folder) == empty


def test_token_times_are_stored_exactly(empty: RunSet) -> None:
    exact = replace(RECORD, token_times=(0.1 + 0.2, 1 / 3))
    store.write_run(empty.folder, run(records=records_table([exact])))
    table = pq.read_table(empty.folder / "runs" / "a-case-r1" / "records.parquet")
    assert table["token_times"].to_pylist() == [[0.1 + 0.2, 1 / 3]]


def test_runs_that_are_not_measured_yet_are_missing(empty: RunSet) -> None:
    store.write_run(empty.folder, run(1))
    assert [p.repeat for p in store.read(empty.folder).missing] == [2]


def test_a_failed_run_is_kept_and_still_missing(empty: RunSet) -> None:
    store.write_run(empty.folder, run(1, failure=Failure("killed", "out of memory", "tail")))
    found = store.read(empty.folder)
    assert [r.failure for r in found.failed] == [Failure("killed", "out of memory", "tail")]
    assert len(found.missing) == 2


def test_a_new_attempt_replaces_a_failed_run(empty: RunSet) -> None:
    store.write_run(empty.folder, run(1, failure=Failure("error", "once")))
    store.write_run(empty.folder, run(1))
    assert [r.status for r in store.read(empty.folder).runs] == ["done"]


def test_a_run_that_cannot_be_written_leaves_no_trace(
    empty: RunSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(InputError, match=r"No space left on device; free some space and continue"):
        store.write_run(empty.folder, run(1))
    assert list((empty.folder / "runs").iterdir()) == []


def test_what_killed_processes_leave_is_removed_on_resume(empty: RunSet) -> None:
    store.write_run(empty.folder, run(1))
    before = sorted(empty.folder.rglob("*"))
    for name in ("runs/.a-case-r1.partial-99", "runs/.a-case-r1.partial-99-replaced",
                 "discarded/.a-case-r1-1.partial-99"):  # fmt: skip
        (empty.folder / name).mkdir(parents=True)
        (empty.folder / name / "records.parquet").write_bytes(b"half")
    for name in (".runset.json.partial-99", "runs/a-case-r1/.run.json.partial-99"):
        (empty.folder / name).write_bytes(b"half")
    assert [r.repeat for r in store.read(empty.folder).runs] == [1]
    assert store.resume(empty.folder) == store.read(empty.folder)
    (empty.folder / "discarded").rmdir()
    assert sorted(empty.folder.rglob("*")) == before


def test_a_process_that_is_killed_while_it_replaces_a_run_leaves_the_run_missing(
    empty: RunSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Ends the process at once."""

    def rename(path: Path, target: Path) -> Path:
        if not target.name.startswith("."):
            raise Killed
        return path.replace(target)

    store.write_run(empty.folder, run(1, failure=Failure("error", "once")))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            store.write_run(empty.folder, run(1))
    stored = store.resume(empty.folder)
    assert (stored.runs, len(stored.missing)) == ((), 2)
    store.write_run(empty.folder, run(1))
    assert [r.status for r in store.read(empty.folder).runs] == ["done"]
    assert [path.name for path in (empty.folder / "runs").iterdir()] == ["a-case-r1"]


def test_a_run_is_on_the_disk_before_it_has_its_name(
    empty: RunSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def sync(path: Path) -> None:
        synced.append(path.name)
        assert path.name == "runs" or not (empty.folder / "runs" / "a-case-r1").exists()

    monkeypatch.setattr(store, "sync", sync)
    store.write_run(empty.folder, run(1))
    assert {"run.json", "records.parquet", "series.parquet", "quality.parquet"} < {*synced}
    assert synced[-1] == "runs"


def test_a_damaged_run_is_replaced_when_it_is_measured_again(empty: RunSet) -> None:
    store.write_run(empty.folder, run(1))
    (empty.folder / "runs" / "a-case-r1" / "records.parquet").unlink()
    store.write_run(empty.folder, run(1))
    assert [r.status for r in store.read(empty.folder).runs] == ["done"]


def test_a_run_of_a_newer_version_is_not_taken_for_a_damaged_one(empty: RunSet) -> None:
    store.write_run(empty.folder, run(1))
    path = empty.folder / "runs" / "a-case-r1" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 99}))
    with pytest.raises(InputError, match="schema version 99"):
        store.read(empty.folder)


def test_a_folder_of_a_process_that_was_killed_before_its_first_file_can_be_used(
    empty: RunSet, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    (folder / "runs").mkdir(parents=True)
    (folder / ".lock").write_text("process 1 on elsewhere\n")
    (folder / ".runset.json.partial-1").write_bytes(b"half")
    store.create(replace(empty, folder=folder))
    assert store.read(folder).plan == empty.plan


def test_a_folder_that_another_process_is_creating_is_refused(
    empty: RunSet, tmp_path: Path
) -> None:
    folder = tmp_path / "shared"
    with locked(folder), pytest.raises(InputError, match=f"process {os.getpid()} on "):
        store.create(replace(empty, folder=folder))


def test_a_folder_that_is_not_empty_is_not_overwritten(empty: RunSet) -> None:
    with pytest.raises(InputError, match=r"is not empty; choose a new folder, or .*--resume"):
        store.create(empty)


def test_a_file_is_refused_as_results_folder(empty: RunSet, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        store.create(replace(empty, folder=tmp_path / "file"))
    with pytest.raises(InputError, match="a parent folder is a file"):
        store.create(replace(empty, folder=tmp_path / "file" / "inner"))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_nearly_full_disk_is_refused_before_anything_is_measured(
    empty: RunSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(InputError, match="only 0 MiB free"):
        store.check_space(empty.folder)


def test_a_folder_without_a_run_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a results folder of llmbench"):
        store.read(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        store.read(tmp_path / "nowhere")
    (tmp_path / "runset.json").write_text('{"format": "something else"}')
    with pytest.raises(InputError, match="not written by llmbench"):
        store.read(tmp_path)


def test_a_newer_schema_is_refused_with_what_to_do(empty: RunSet) -> None:
    manifest = empty.folder / "runset.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema_version": 99}))
    with pytest.raises(InputError, match=r"schema version 99, and this llmbench reads 4 to 6; use"):
        store.read(empty.folder)


def test_all_repeats_of_a_set_of_schema_5_had_one_seed(empty: RunSet) -> None:
    manifest = empty.folder / "runset.json"
    stored = json.loads(manifest.read_text())
    for case in stored["cases"]:
        case["spec"]["workload"] = {"kind": "synthetic"}
    manifest.write_text(json.dumps({**stored, "schema_version": 5}))
    (case, _) = (planned.case for planned in store.read(empty.folder).plan)
    assert case.spec_of(1) == case.spec_of(2) == {"seed": 3, "workload": {"kind": "synthetic"}}


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_value_of_the_wrong_type_is_named_with_its_file_and_key(empty: RunSet) -> None:
    store.write_run(empty.folder, run(1))
    path = empty.folder / "runs" / "a-case-r1" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "repeat": "once"}))
    (damaged,) = store.read(empty.folder).failed
    assert damaged.failure
    assert "run.json: not in llmbench's format" in damaged.failure.message
    assert "Expected `int`, got `str` - at `$.repeat`" in damaged.failure.message


@pytest.mark.parametrize("name", ["run.json", "records.parquet", "series.parquet"])
def test_a_damaged_run_is_a_failed_run_that_names_the_file(empty: RunSet, name: str) -> None:
    store.write_run(empty.folder, run(1))
    (empty.folder / "runs" / "a-case-r1" / name).write_bytes(b"\x00damaged")
    stored = store.read(empty.folder)
    (damaged,) = stored.failed
    assert damaged.failure
    assert damaged.failure.kind == "damaged"
    assert f"a-case-r1/{name}:" in damaged.failure.message
    assert [missing.repeat for missing in stored.missing] == [1, 2]


@pytest.mark.parametrize("name", ["run.json", "records.parquet", "quality.parquet"])
def test_a_run_that_cannot_be_read_has_failed_and_the_others_are_read(
    empty: RunSet, name: str
) -> None:
    for repeat in (1, 2):
        store.write_run(empty.folder, run(repeat, records=records_table([RECORD])))
    (empty.folder / "runs" / "a-case-r1" / name).write_bytes(b"\x00damaged")
    first, second = store.read(empty.folder).runs
    assert first.failure is not None
    assert first.failure.kind == "damaged"
    assert name in first.failure.message
    assert second.failure is None
    assert [p.repeat for p in store.read(empty.folder).missing] == [1]


def test_a_run_in_the_folder_of_another_is_not_taken_for_it(empty: RunSet) -> None:
    store.write_run(empty.folder, run(2))
    (empty.folder / "runs" / "a-case-r2").rename(empty.folder / "runs" / "a-case-r1")
    with pytest.raises(InputError, match=r"run\.json: is of another run than a-case-r1"):
        store.read_run(empty.folder, planned(1))


@pytest.mark.parametrize("slug", ["../../x", "/x", "..", ".hidden", "a/b", "a\x00", "", "a\n"])
def test_a_slug_that_is_no_folder_name_is_refused(empty: RunSet, slug: str) -> None:
    manifest = empty.folder / "runset.json"
    (case,) = json.loads(manifest.read_text())["cases"]
    edit(manifest, cases=[{**case, "slug": slug}])
    with pytest.raises(InputError, match=r"runset\.json: .*regex .* - at `\$\.cases\[0\]\.slug`"):
        store.read(empty.folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plan": [{"case": "another", "repeat": 1}]}, "a case that is not in `cases`: 'another'"),
        ({"plan": [{"case": "a case", "repeat": 1}] * 2}, "2 planned runs are"),
        ({"plan": [{"case": "a case", "repeat": 0}]}, r"at `\$\.plan\[0\]\.repeat`"),
        ({"began_at": "yesterday"}, "`began_at` is not a time"),
        ({"name": None}, r"Expected `str`, got `null` - at `\$\.name`"),
        ({"origins": {"a": float("nan")}}, "expected a number between"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    empty: RunSet, changes: dict[str, Any], message: str
) -> None:
    edit(empty.folder / "runset.json", **changes)
    with pytest.raises(InputError, match=rf"runset\.json: .*{message}"):
        store.read(empty.folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"environment": {"gpus": [{"name": 5}]}}, r"`environment\.gpus\[0\]\.name`"),
        ({"facts": {"stopped_by": "x"}}, r"`facts\.stopped_by`"),
        ({"facts": {"energy": {"gpu0": {}}}}, r"missing required field `method`"),
        ({"backend_report": {"memory": {"weights": -1}}}, r"`backend_report\.memory\[...\]`"),
        ({"backend_report": {"counters": {"drafted_tokens": 5}}}, "without `accepted_tokens`"),
        ({"caveats": [{"message": "?"}]}, r"missing required field `kind` - at `caveats\[0\]`"),
        ({"series": [{"name": "a", "unit": "W", "source": "?"}]}, r"`\$\.series\[0\]\.source`"),
    ],
)
def test_a_part_of_a_run_of_the_wrong_type_is_named(
    empty: RunSet, changes: dict[str, Any], message: str
) -> None:
    store.write_run(empty.folder, run(1))
    edit(empty.folder / "runs" / "a-case-r1" / "run.json", **changes)
    with pytest.raises(InputError, match=rf"run\.json: .*{message}"):
        store.read_run(empty.folder, planned(1))


def test_attached_series_of_another_format_are_refused(empty: RunSet) -> None:
    store.write_run(empty.folder, run())
    folder = empty.folder / "runs" / "a-case-r1"
    shutil.copy(folder / "records.parquet", folder / "attached.parquet")
    with pytest.raises(InputError, match=r"attached\.parquet: .*column 'name' is missing"):
        store.read_run(empty.folder, planned())


# -- secrets ---------------------------------------------------------------------------------------

KEY = "sk-canary-0123456789"


def test_a_run_is_stored_without_secrets(empty: RunSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    record = replace(RECORD, finish="error", error_kind=f"http-{KEY}", error_message=f"no {KEY}!")
    series = Series.unavailable("gpu0_power_average_watts", "W", f"no {KEY}")
    written = run(
        records=records_table([record]), series=(series,), environment={"git": {"commit": KEY}},
        backend_report={"effective": {"model": KEY}}, facts={"stopped_by": [KEY]},
        caveats=(Caveat("warm-room", message=KEY, remedy="Open a window."),),
        failure=Failure("error", KEY, f"stderr {KEY}"),
    )  # fmt: skip
    store.write_run(empty.folder, written)
    (stored,) = store.read(empty.folder).runs
    assert stored.records["error_message"].to_pylist() == ["no ***!"]
    assert stored.backend_report == {"effective": {"model": "***"}}
    assert stored.failure == Failure("error", "***", "stderr ***")
    files = [path.read_bytes() for path in empty.folder.rglob("*") if path.is_file()]
    assert not any(b"canary" in content for content in files)


def test_a_plan_is_stored_without_secrets(
    empty: RunSet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOME_API_KEY", KEY)
    texts: dict[str, Any] = {
        "description": KEY, "scenario_text": f"user: {KEY}", "overrides": (f"x={KEY}",),
        "origins": {"x": f"--set x={KEY}"},
    }  # fmt: skip
    store.create(replace(empty, folder=tmp_path / "other", **texts))
    assert KEY not in (tmp_path / "other" / "runset.json").read_text()

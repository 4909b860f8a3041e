"""Run sets are found and listed without reading their records."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_sets import begun, planned, run_of, stored

from llmbench.runs import catalog, store
from llmbench.runs.run import Failure

ENVIRONMENT = {
    "cpu": {"model": "Example 9000"},
    "gpus": [{"name": "Card"}, {"name": "Card"}],
    "git": {"commit": "0123456789abcdef"},
}


def test_run_sets_are_found_at_any_depth_in_order(tmp_path: Path) -> None:
    for name in ("b", "a/inner", "a/.hidden/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        stored(tmp_path / name)
    assert list(catalog.find(tmp_path)) == [tmp_path / "a" / "inner", tmp_path / "b"]


def test_a_folder_that_is_a_run_set_is_found_itself(tmp_path: Path) -> None:
    assert list(catalog.find(stored(tmp_path / "only"))) == [tmp_path / "only"]


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    stored(tmp_path / "outside" / "set")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    assert list(catalog.find(tmp_path / "inside")) == []


def test_an_entry_describes_a_run_set(tmp_path: Path) -> None:
    entry = catalog.entry(stored(tmp_path / "set", 0.1, 0.2, environment=ENVIRONMENT))
    assert (entry.name, entry.cases, entry.planned, entry.measured, entry.failed) == (
        "small", ("eager",), 2, 2, 0,
    )  # fmt: skip
    assert (entry.machine, entry.commit) == ("Example 9000, 2 × Card", "0123456789")


def test_failed_and_missing_runs_are_not_counted_as_measured(tmp_path: Path) -> None:
    plan = [planned("eager", repeat) for repeat in (1, 2, 3)]
    begun(tmp_path / "set", plan)
    store.write_run(tmp_path / "set", run_of(plan[0]))
    store.write_run(tmp_path / "set", run_of(plan[1], failure=Failure("killed", "by somebody")))
    entry = catalog.entry(tmp_path / "set")
    assert (entry.planned, entry.measured, entry.failed) == (3, 1, 1)


def test_a_run_set_without_a_run_has_no_machine(tmp_path: Path) -> None:
    begun(tmp_path / "set", [planned("eager", 1)])
    assert catalog.entry(tmp_path / "set").machine == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not valid JSON"),
        ('{"format": "other"}', "not written by llmbench"),
        ('{"format": "llmbench run set", "schema_version": 1}', "has schema version 1"),
        (
            f'{{"format": "llmbench run set", "schema_version": {store.SCHEMA_VERSION}}}',
            "not in llmbench's format",
        ),
    ],
)
def test_an_unreadable_run_set_is_an_entry_with_the_reason(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "runset.json").write_text(text)
    assert said in catalog.entry(tmp_path).problem


def test_a_run_that_cannot_be_read_is_counted_and_the_others_are_listed(tmp_path: Path) -> None:
    folder = stored(tmp_path / "set", 0.1, 0.2, environment=ENVIRONMENT)
    next(iter(sorted(folder.glob("runs/*/run.json")))).write_text("{")
    entry = catalog.entry(folder)
    assert (entry.planned, entry.measured, entry.damaged, entry.problem) == (2, 1, 1, "")
    assert entry.machine == "Example 9000, 2 × Card"


def test_a_link_out_of_a_folder_is_found(tmp_path: Path) -> None:
    outside = stored(tmp_path / "outside")
    folder = stored(tmp_path / "inside" / "set")
    assert catalog.find_link(folder, tmp_path / "inside") is None
    (run,) = folder.glob("runs/*")
    (run / "records.parquet").unlink()
    (run / "records.parquet").symlink_to(next(outside.glob("runs/*/records.parquet")))
    assert catalog.find_link(folder, tmp_path / "inside") == run / "records.parquet"
    assert catalog.find_link(folder, tmp_path) is None


def test_a_stamp_is_stable(tmp_path: Path) -> None:
    folder = stored(tmp_path / "set")
    assert catalog.stamp(folder) == catalog.stamp(folder)


def test_a_stamp_changes_when_a_run_is_added(tmp_path: Path) -> None:
    plan = [planned("eager", repeat) for repeat in (1, 2)]
    begun(tmp_path / "set", plan)
    before = catalog.stamp(tmp_path / "set")
    store.write_run(tmp_path / "set", run_of(plan[0]))
    assert catalog.stamp(tmp_path / "set") != before


def test_a_stamp_ignores_unfinished_runs(tmp_path: Path) -> None:
    folder = stored(tmp_path / "set")
    before = catalog.stamp(folder)
    (run,) = (folder / "runs").iterdir()
    shutil.copytree(run, folder / "runs" / f".{run.name}.partial-1")
    assert catalog.stamp(folder) == before


def test_an_entry_names_each_machine_of_a_fleet_once(tmp_path: Path) -> None:
    plan = [planned("eager", repeat) for repeat in range(1, 7)]
    begun(tmp_path / "set", plan)
    for run, model in zip(plan, "AABCDE", strict=True):
        store.write_run(tmp_path / "set", run_of(run, environment={"cpu": {"model": model}}))
    assert catalog.entry(tmp_path / "set").machine == "A; B; C; and 2 more"

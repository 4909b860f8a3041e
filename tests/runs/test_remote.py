"""Working copies equal what is stored, and never lose what has yet to be stored."""

from __future__ import annotations

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_sets
from object_storage import Bucket, ObjectStorage

import llmbench
from llmbench.errors import InputError
from llmbench.runs import lease, lock, remote, store
from llmbench.runs.object_store import Objects, StoreError
from llmbench.runs.run import Failure
from llmbench.runs.working_copy import HEADS, KNOWN, WorkingCopy

PLAN = [small_sets.planned("eager", repeat) for repeat in (1, 2)]
FIRST, SECOND = (planned.name for planned in PLAN)
FAILED = Failure("error", "it was cold")


@pytest.fixture
def url(bucket: Bucket) -> str:
    return f"{bucket.url}/nightly/run"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Go to another machine, which has a cache of its own."""

    def go(machine: str) -> None:
        monkeypatch.setenv("LLMBENCH_CACHE", str(tmp_path / machine))

    return go


def measured(folder: Path, repeat: int, ttft: float = 0.25, **more: Any) -> None:
    """Store a run and push it, as a campaign does."""
    store.write_run(folder, small_sets.run_of(PLAN[repeat - 1], ttft, **more))
    remote.try_push(folder)


@pytest.fixture
def folder(url: str) -> Path:
    """The working copy of a run set with one of its two runs, which are stored."""
    folder = remote.opened(url)
    small_sets.begun(folder, PLAN)
    measured(folder, 1)
    return folder


def unreachable(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make writes fail as if the network were gone; return what brings it back."""

    def upload(store: Objects, *_: object) -> None:
        raise StoreError(f"{store.url}: cannot be reached (TimeoutError)")

    before = Objects.upload
    monkeypatch.setattr(Objects, "upload", upload)
    return lambda: monkeypatch.setattr(Objects, "upload", before)


def ttfts(folder: Path) -> dict[int, float]:
    """Return the TTFT of the first request of each run by its repeat."""
    runs = [run for run in store.read(folder).runs if not run.failure]
    return {run.repeat: run.records["token_times"][0][0].as_py() for run in runs}


def test_a_local_path_is_its_own_place(tmp_path: Path) -> None:
    assert remote.opened(tmp_path) == tmp_path
    assert remote.opened(f"file://{tmp_path}") == tmp_path
    assert remote.address(tmp_path) == str(tmp_path)
    remote.push(tmp_path)
    remote.refresh(tmp_path)
    with remote.session(tmp_path) as reason:
        assert reason is None


def test_what_is_stored_is_read_from_another_machine(
    folder: Path, url: str, elsewhere: Callable[[str], None]
) -> None:
    elsewhere("other")
    there = remote.opened(url)
    assert there != folder
    assert there.name == folder.name == "run"
    assert ttfts(there) == {1: 0.25}
    assert llmbench.load(url).stored.name == "small"


def test_a_copy_reads_only_what_is_new(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, elsewhere: Callable[[str], None]
) -> None:
    elsewhere("other")
    remote.opened(url)
    elsewhere("cache")
    measured(folder, 2, 0.5)
    elsewhere("other")
    read: list[str] = []
    download = Objects.download

    def counted(objects: Objects, paths: dict[str, Path]) -> bool:
        read.extend(paths)
        return download(objects, paths)

    monkeypatch.setattr(Objects, "download", counted)
    assert ttfts(remote.opened(url)) == {1: 0.25, 2: 0.5}
    assert {Path(name).parent.name for name in read} == {SECOND}


def test_only_the_named_files_of_a_list_are_read(
    bucket: Bucket, folder: Path, elsewhere: Callable[[str], None]
) -> None:
    elsewhere("other")
    listed = remote.opened(bucket.url, HEADS)
    files = {path.name for path in listed.rglob("*") if path.is_file()}
    assert files == {"runset.json", "run.json"}
    sizes = map(len, bucket.contents().values())
    assert remote.stored_bytes(listed / "nightly" / "run") == sum(sizes)
    assert remote.stored_bytes(folder.parent.parent) is None


def test_a_run_is_written_tables_first_and_a_manifest_last(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    upload = Objects.upload

    def noted(objects: Objects, path: Path, name: str) -> Any:
        written.append(name)
        return upload(objects, path, name)

    monkeypatch.setattr(Objects, "upload", noted)
    folder = remote.opened(url)
    small_sets.stored(Path(folder), 0.25, 0.5)
    (folder / "report.html").write_text("<p>")
    store.extend(store.read(folder), small_sets.planned("eager", 3))
    written.clear()
    remote.push(folder)
    assert written[0] == "report.html"
    assert written[-1] == "runset.json"
    for run in (FIRST, SECOND):
        files = [name for name in written if name.startswith(f"runs/{run}/")]
        assert files.index(f"runs/{run}/run.json") == len(files) - 1 > 2
    assert [name for name in written if name.endswith(".json")] == [
        f"runs/{FIRST}/run.json",
        f"runs/{SECOND}/run.json",
        "runset.json",
    ]


def test_a_run_that_replaces_a_failed_one_is_no_run_until_it_is_whole(
    folder: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(folder, 2, failure=FAILED)
    back = unreachable(monkeypatch)
    store.write_run(folder, small_sets.run_of(PLAN[1], 0.5))
    with pytest.raises(StoreError):
        remote.push(folder)
    assert "run.json" not in bucket.names(f"nightly/run/runs/{SECOND}")
    back()
    remote.push(folder)
    assert "run.json" in bucket.names(f"nightly/run/runs/{SECOND}")


def test_what_a_replaced_run_had_more_is_removed(folder: Path, bucket: Bucket) -> None:
    attached = folder / "runs" / SECOND / store.ATTACHED
    measured(folder, 2, failure=FAILED)
    attached.write_bytes(b"of another attempt")
    remote.push(folder)
    assert store.ATTACHED in bucket.names(f"nightly/run/runs/{SECOND}")
    measured(folder, 2)
    assert store.ATTACHED not in bucket.names(f"nightly/run/runs/{SECOND}")


def test_a_failed_upload_keeps_the_run_and_says_how_to_upload_it(
    folder: Path, url: str, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    back = unreachable(monkeypatch)
    measured(folder, 2, 0.5)
    with pytest.raises(StoreError) as refused:
        remote.push(folder)
    assert f"{url}: cannot be reached (TimeoutError). Nothing is lost: 1 run not yet" in str(
        refused.value
    )
    assert f"kept in {folder.parent}; upload with: llmbench run --resume {url}" in str(
        refused.value
    )
    assert f"runs/{SECOND}/run.json" not in bucket.names("nightly/run")
    back()
    with lock.locked(remote.opened(url)):
        assert ttfts(folder) == {1: 0.25, 2: 0.5}
    assert f"runs/{SECOND}/run.json" in bucket.names("nightly/run")


def test_a_run_that_was_measured_here_and_elsewhere_is_kept_as_a_discarded_attempt(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, elsewhere: Callable[[str], None]
) -> None:
    back = unreachable(monkeypatch)
    measured(folder, 2, 0.5)
    back()
    elsewhere("other")
    there = remote.opened(url)
    measured(there, 2, 0.75)
    elsewhere("cache")
    assert ttfts(remote.opened(url)) == {1: 0.25, 2: 0.75}
    (attempt,) = store.read_discarded(folder, PLAN[1])
    assert attempt.records["token_times"][0][0].as_py() == 0.5


@pytest.mark.parametrize("lost", [KNOWN, "all but the lock's token"])
def test_a_lost_or_interrupted_state_loses_no_run(folder: Path, url: str, lost: str) -> None:
    (folder.parent / KNOWN).unlink()
    if lost != KNOWN:
        shutil.rmtree(folder)
    assert ttfts(remote.opened(url)) == {1: 0.25}
    assert store.read_discarded(folder, PLAN[0]) == []
    assert remote.copy_of(folder)
    assert WorkingCopy(Objects(url), folder).pending() == []


def test_a_copy_that_was_killed_while_it_read_is_completed(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, elsewhere: Callable[[str], None]
) -> None:
    elsewhere("other")
    renamed: list[Path] = []
    rename = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if len(renamed) == 3:
            raise KeyboardInterrupt
        renamed.append(path)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        remote.opened(url)
    monkeypatch.setattr(Path, "rename", rename)
    there = remote.opened(url)
    assert there != folder
    assert ttfts(there) == {1: 0.25}
    assert store.read_discarded(there, PLAN[0]) == []


def test_an_upload_that_was_killed_before_it_was_noted_is_noted_later(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = WorkingCopy._keep
    monkeypatch.setattr(WorkingCopy, "_keep", lambda *_: None)
    measured(folder, 2, 0.5)
    monkeypatch.setattr(WorkingCopy, "_keep", keep)
    assert ttfts(remote.opened(url)) == {1: 0.25, 2: 0.5}
    assert store.read_discarded(folder, PLAN[1]) == []
    copy = remote.copy_of(folder)
    assert copy
    assert copy.pending() == []


def test_a_disk_that_is_full_keeps_the_campaign_going(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    keep = WorkingCopy._keep
    monkeypatch.setattr(WorkingCopy, "_keep", full)
    measured(folder, 2, 0.5)
    with pytest.raises(StoreError, match=r"cannot be written: No space left on device; check"):
        remote.push(folder)
    monkeypatch.setattr(WorkingCopy, "_keep", keep)
    assert ttfts(remote.opened(url)) == {1: 0.25, 2: 0.5}


def test_what_does_not_fit_on_the_disk_is_not_read(
    url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: Callable[[str], None]
) -> None:
    elsewhere("other")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(InputError, match=r"needs .*, but .* has only 100 B free; free some"):
        remote.opened(url)
    assert folder.exists()


def test_what_was_removed_from_the_store_is_removed_from_the_copy(
    folder: Path, url: str, bucket: Bucket
) -> None:
    for name in bucket.names():
        bucket.remove(name)
    assert remote.opened(url) == folder
    assert not folder.exists()


def test_a_removed_folder_leaves_its_neighbors(
    folder: Path, bucket: Bucket, elsewhere: Callable[[str], None]
) -> None:
    bucket.write("nightly/run-2/runset.json", b"{}")
    elsewhere("other")
    every = remote.opened(bucket.url, HEADS)
    with lock.locked(every / "nightly" / "run"):
        remote.remove(every / "nightly" / "run")
        shutil.rmtree(every / "nightly" / "run")
    assert bucket.names() == ["nightly/run-2/runset.json"]
    assert folder.exists()


def test_a_store_that_is_served_is_read_again_after_a_moment(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch, elsewhere: Callable[[str], None]
) -> None:
    elsewhere("other")
    there = remote.opened(url)
    elsewhere("cache")
    measured(folder, 2)
    remote.refresh(there)
    assert len(store.read(there).runs) == 1
    now = time.monotonic() + 2 * remote.STALE_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: now)
    remote.refresh(there)
    assert len(store.read(there).runs) == 2


def test_a_folder_is_locked_in_the_store_and_read_again_once_it_is(
    folder: Path, url: str, bucket: Bucket, elsewhere: Callable[[str], None]
) -> None:
    elsewhere("other")
    there = remote.opened(url)
    with lock.locked(folder):
        measured(folder, 2)
        assert "nightly/run/.lock" in bucket.names()
        refusal = f"{url}: {lease.holder()} is measuring into it; .*expires"
        with pytest.raises(InputError, match=refusal), lock.locked(there):
            pass
    with lock.locked(there):
        assert len(store.read(there).runs) == 2
    assert "nightly/run/.lock" not in bucket.names()


def test_a_copy_that_a_process_measures_into_is_left_to_it(
    folder: Path, url: str, bucket: Bucket
) -> None:
    with lock.locked(folder):
        bucket.write(f"nightly/run/runs/{FIRST}/run.json", b"{}")
        assert ttfts(remote.opened(url)) == {1: 0.25}
    bucket.remove(f"nightly/run/runs/{FIRST}/run.json")
    assert ttfts(remote.opened(url)) == {}


def test_a_campaign_that_lost_its_lock_overwrites_nothing(folder: Path, bucket: Bucket) -> None:
    with pytest.raises(InputError, match="its lock was lost to another process"):
        _lose_the_lock(folder, bucket)
    assert f"runs/{SECOND}/run.json" not in bucket.names("nightly/run")
    assert ttfts(folder) == {1: 0.25, 2: 0.25}


def _lose_the_lock(folder: Path, bucket: Bucket) -> None:
    with lock.locked(folder):
        bucket.write("nightly/run/.lock", b'{"token": "theirs"}')
        copy = remote.copy_of(folder)
        assert copy
        copy.leases[folder].refresh()
        measured(folder, 2)


def test_a_new_run_set_is_refused_where_another_machine_has_begun_one(
    folder: Path, url: str, elsewhere: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder.exists()
    elsewhere("other")
    monkeypatch.setattr(WorkingCopy, "pull", lambda _: None)
    there = remote.opened(url)  # before the other machine had begun
    monkeypatch.undo()
    with pytest.raises(InputError, match="is not empty; choose a new folder"):
        small_sets.begun(there, PLAN)


def test_messages_have_the_url_of_a_copy(folder: Path, url: str) -> None:
    assert remote.address(folder) == url
    assert remote.address(folder / "report.html") == f"{url}/report.html"
    assert remote.with_addresses(f"{folder}/run: full") == f"{url}/run: full"


def test_a_url_may_name_one_object(bucket: Bucket) -> None:
    bucket.write("baselines/cpu.json", b"{}")
    assert remote.opened(f"{bucket.url}/baselines/cpu.json").read_bytes() == b"{}"
    bucket.write("baselines/cpu.json", b"[]")
    assert remote.opened(f"{bucket.url}/baselines/cpu.json").read_bytes() == b"[]"


def test_a_store_that_refuses_keeps_what_was_measured(
    folder: Path, url: str, storage: ObjectStorage
) -> None:
    with storage.refusing():
        store.write_run(folder, small_sets.run_of(PLAN[1], 0.5))
        with pytest.raises(StoreError, match=r"access is refused .*1 run not yet uploaded is kept"):
            remote.opened(url)
    assert ttfts(remote.opened(url)) == {1: 0.25, 2: 0.5}

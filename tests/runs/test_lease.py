"""Only one process at a time measures into a folder of a store."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest
from object_storage import Bucket

from llmbench.errors import InputError
from llmbench.runs import lease
from llmbench.runs.lease import held
from llmbench.runs.object_store import Objects, Stored, StoreError

LOCK = "run/.lock"


@pytest.fixture
def objects(bucket: Bucket) -> Objects:
    return Objects(f"{bucket.url}/run")


def left_by_a_killed_process(bucket: Bucket, token: str) -> None:
    content = {"holder": "process 7 on another-host", "token": token}
    bucket.write(LOCK, json.dumps(content).encode())


def token_in(lock: bytes | None) -> str:
    return str(json.loads(lock or b"{}").get("token"))


def test_a_folder_is_locked_until_the_context_ends(objects: Objects, bucket: Bucket) -> None:
    with held(objects, "", "mine") as one:
        assert one.reason is None
        assert bucket.names() == [LOCK]
    assert bucket.names() == []


def test_a_locked_folder_is_refused_with_the_process_that_has_it(objects: Objects) -> None:
    refusal = rf"{objects.url}: process \d+ on .* is measuring into it; .*expires in \d+ s"
    with held(objects, "", "mine"):
        with pytest.raises(InputError, match=refusal), held(objects, "", "yours"):
            pass
        assert token_in(objects.read(".lock")) == "mine"


def test_the_lock_of_a_killed_process_of_the_same_working_copy_is_taken_over_at_once(
    objects: Objects, bucket: Bucket
) -> None:
    left_by_a_killed_process(bucket, "mine")
    with held(objects, "", "mine"):
        assert json.loads(bucket.read(LOCK))["holder"] == lease.holder()
    assert bucket.names() == []


def test_the_lock_of_another_machine_is_taken_over_when_it_has_expired(
    objects: Objects, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_by_a_killed_process(bucket, "theirs")
    with pytest.raises(InputError, match="process 7 on another-host"), held(objects, "", "mine"):
        pass
    monkeypatch.setattr(lease, "EXPIRED_SECONDS", 0.0)
    with held(objects, "", "mine"):
        assert token_in(bucket.read(LOCK)) == "mine"
    assert bucket.names() == []


def test_a_lock_that_is_taken_over_meanwhile_is_refused(
    objects: Objects, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    left_by_a_killed_process(bucket, "mine")
    replace = Objects.replace

    def late(store: Objects, name: str, data: bytes, before: Stored) -> bool:
        left_by_a_killed_process(bucket, "faster")
        return replace(store, name, data, before)

    monkeypatch.setattr(Objects, "replace", late)
    with pytest.raises(InputError, match="process 7 on another-host"), held(objects, "", "mine"):
        pass
    assert token_in(bucket.read(LOCK)) == "faster"


def test_a_lock_is_refreshed_and_its_loss_is_detected(objects: Objects, bucket: Bucket) -> None:
    with held(objects, "", "mine") as one:
        one.refresh()
        one.check()
        left_by_a_killed_process(bucket, "theirs")
        one.refresh()
        with pytest.raises(InputError, match="its lock was lost to another process"):
            one.check()
    assert token_in(bucket.read(LOCK)) == "theirs"


def test_what_is_in_a_lock_is_not_shown_unless_it_is_a_process(
    objects: Objects, bucket: Bucket
) -> None:
    for content in (b"\x1b[2J" * 100, b"[1]", json.dumps({"holder": "<b>" * 99}).encode()):
        bucket.write(LOCK, content)
        with pytest.raises(InputError, match="another process is measuring"):
            held(objects, "", "mine").__enter__()


@pytest.mark.parametrize("refuses", [True, False])
def test_a_store_without_conditional_writes_is_the_reason_for_a_weak_lock(
    objects: Objects,
    monkeypatch: pytest.MonkeyPatch,
    refuses: bool,  # noqa: FBT001
) -> None:
    calls = count()

    def create(store: Objects, name: str, data: bytes) -> bool:
        next(calls)
        if refuses:
            raise NotImplementedError
        store.write(name, data)
        return True

    monkeypatch.setattr(Objects, "create", create)
    with held(objects, "", "mine") as one:
        assert one.reason == f"{objects.url}: its store has no conditional writes"
        assert objects.find(".lock")
        if refuses:
            with pytest.raises(InputError, match="is measuring"), held(objects, "", "yours"):
                pass
    assert objects.find(".lock") is None
    assert next(calls) == 2


def test_a_lock_that_cannot_be_removed_expires(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: Any) -> None:
        raise StoreError("s3://b: cannot be reached")

    with held(objects, "", "mine"):
        monkeypatch.setattr(Objects, "remove", unreachable)
    assert objects.find(".lock")

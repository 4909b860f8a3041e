"""Objects of a store are listed, read and written whole, and problems have a remedy."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from object_storage import Bucket, ObjectStorage, forget_clients, free_port

from llmbench.errors import InputError, MissingExtraError
from llmbench.runs.object_store import Objects, StoreError, is_url


@pytest.fixture
def objects(bucket: Bucket) -> Objects:
    return Objects(f"{bucket.url}/nightly/run")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("s3://b/run", True), ("gs://b/run", True), ("results/run", False), ("file:///r", False)],
)
def test_the_url_of_a_store_is_no_local_path(text: str, expected: bool) -> None:  # noqa: FBT001
    assert is_url(text) is expected


@pytest.mark.parametrize("place", ["{bucket}/run", "memory://{name}/run"])
def test_an_object_is_read_as_it_was_written(place: str, bucket: Bucket, tmp_path: Path) -> None:
    objects = Objects(place.format(bucket=bucket.url, name=tmp_path.name))
    assert objects.all() == {}
    (tmp_path / "a").write_bytes(b"content")
    written = objects.upload(tmp_path / "a", "runs/a")
    assert objects.all() == {"runs/a": written}
    assert objects.find("runs/a") == written
    assert objects.read("runs/a") == b"content"
    assert objects.download({"runs/a": tmp_path / "deep" / "b"})
    assert (tmp_path / "deep" / "b").read_bytes() == b"content"
    objects.remove(["runs/a", "runs/b"])
    assert objects.all() == {}
    assert objects.find("runs/a") is None
    assert objects.read("runs/a") is None
    assert not objects.download({"runs/a": tmp_path / "c"})


def test_an_object_is_created_once_and_replaced_only_in_the_version_that_was_seen(
    objects: Objects,
) -> None:
    assert objects.create("lock", b"1")
    assert not objects.create("lock", b"2")
    first = objects.find("lock")
    assert first
    assert objects.replace("lock", b"3", first)
    assert not objects.replace("lock", b"4", first)
    assert objects.read("lock") == b"3"


def test_names_that_are_no_paths_below_the_folder_are_left_out(
    objects: Objects, bucket: Bucket
) -> None:
    for name in ("ok", ".hidden", "a/.lock", "a/../../b", "a//b", "a/\x07"):
        bucket.write(f"nightly/run/{name}", b"1")
    assert set(objects.all()) == {"ok"}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://me:secret@b/run", "s3://b/run: expected a URL without credentials or a signature"),
        ("s3://b/run?X-Amz-Signature=abc", "s3://b/run: expected a URL without credentials"),
        (
            "https://b.s3.amazonaws.com/run?X-Amz-Signature=abc",
            "a web address; use the store's own URL",
        ),
        ("s3://", "expected a bucket and a folder"),
        ("nowhere://b/run", "Protocol not known"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_its_secrets(url: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        Objects(url)
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "abc" not in str(refused.value)


def test_a_missing_package_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"].__dict__["_registry"], "s3", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'llmbench\[s3\]'"):
        Objects("s3://b/run")


def test_a_bucket_that_does_not_exist_says_what_to_do(bucket: Bucket) -> None:
    with pytest.raises(StoreError, match="s3://nobody does not exist; create the bucket"):
        Objects(f"s3://nobody/{bucket.name}").all()


def test_a_store_that_refuses_access_says_which_variables_to_check(
    objects: Objects, storage: ObjectStorage
) -> None:
    with (
        storage.refusing(),
        pytest.raises(StoreError, match=r"access is refused \(InvalidAccessKeyId\); check AWS_"),
    ):
        objects.create("a", b"1")
    assert objects.create("a", b"1")


def test_a_store_that_cannot_be_reached_says_so(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_clients(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreError, match=r"cannot be reached \(EndpointConnectionError\); check"):
        Objects(f"{bucket.url}/run").all()


@pytest.mark.usefixtures("bucket")
def test_missing_credentials_say_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forget_clients(monkeypatch)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreError, match=r"no usable credentials .*set AWS_ACCESS_KEY_ID"):
        Objects("s3://b/run").all()


def test_buckets_of_the_same_name_in_two_stores_are_not_the_same(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = objects.identity
    forget_clients(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert Objects(objects.url).identity != identity

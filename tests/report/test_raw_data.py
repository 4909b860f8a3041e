"""What a page carries of the raw data, and how it can be checked."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
from typing import Any

import pytest

from llmbench.report import raw_data
from llmbench.report.results import Results
from llmbench.report.sections import slowest_requests
from llmbench.runs.run_set import RunSet


def unpacked(packed: str) -> str:
    return gzip.decompress(base64.b64decode(packed)).decode()


def rows(packed: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(unpacked(packed))))


def test_the_hash_is_that_of_the_csv(sample: RunSet) -> None:
    raw = raw_data.raw_data(sample, {})
    assert raw.sha256 == hashlib.sha256(unpacked(raw.packed).encode()).hexdigest()
    assert raw.files is None


@pytest.fixture
def large_sample(
    sample: RunSet, results: Results, monkeypatch: pytest.MonkeyPatch
) -> raw_data.RawData:
    """The raw data of the sample as though they were too large for a page."""
    monkeypatch.setattr(raw_data, "LIMIT_BYTES", 1000)
    return raw_data.raw_data(sample, slowest_requests.listed(results))


def test_files_of_records_have_their_hashes(large_sample: raw_data.RawData, sample: RunSet) -> None:
    assert large_sample.files is not None
    assert len(large_sample.files.rows) == 9
    for name, size, digest in large_sample.files.rows:
        content = (sample.folder / name.text).read_bytes()
        assert (size.value, digest.text) == (len(content), hashlib.sha256(content).hexdigest())


def test_a_large_page_has_the_slowest_requests_only(
    large_sample: raw_data.RawData, results: Results
) -> None:
    packed = {
        (row["case"], int(row["repeat"]), int(row["request_id"])) for row in rows(large_sample.some)
    }
    named = slowest_requests.listed(results)
    expected = {
        (run.case.name, run.repeat, number)
        for _, run, _ in results.processes()
        for number in named.get(run.name, ())
    }
    assert packed == expected


def test_slowest_requests_that_are_too_large_are_left_out(
    sample: RunSet, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_data, "LIMIT_BYTES", 1000)
    monkeypatch.setattr(raw_data, "SOME_LIMIT_BYTES", 100)
    assert raw_data.raw_data(sample, slowest_requests.listed(results)).some == ""


def test_without_a_slow_request_nothing_comes_along(
    sample: RunSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_data, "LIMIT_BYTES", 1000)
    assert raw_data.raw_data(sample, {}).some == ""

"""Every behavior of a server has its one expected outcome."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from llmbench.backends.endpoint.conformance.behaviors import BEHAVIORS
from llmbench.backends.endpoint.conformance.server import AdversarialServer, in_background
from llmbench.backends.endpoint.conformance.suite import CheckResult, check_server, provoke
from llmbench.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with in_background(AdversarialServer()) as server:
        yield server.url


@pytest.mark.parametrize("name", BEHAVIORS)
def test_the_client_records_the_expected_outcome_of(name: str, url: str) -> None:
    expected = BEHAVIORS[name]
    record = provoke(url, expected)
    assert (record.error_kind, len(record.token_times)) == (expected.error, expected.chunks)
    if expected.tokens is not None:
        assert record.output_tokens == expected.tokens


def test_there_are_at_least_twenty_behaviors() -> None:
    assert len(BEHAVIORS) >= 20


def test_a_server_is_checked_for_what_load_generators_need(url: str) -> None:
    results = {result.name: result for result in check_server(url, "several-tokens")}
    assert results["chat-stream"].passed
    assert results["forced-length"].passed
    assert results["one-token-a-chunk"].found == "2 chunks"
    assert not results["chat-whole"].passed  # this server always streams


def test_a_check_passes_when_the_finding_is_the_expected_one() -> None:
    assert CheckResult("a", "b", "8 chunks", "8 chunks").passed
    assert not CheckResult("a", "b", "8 chunks", "2 chunks").passed


def test_the_command_exits_with_1_when_a_check_fails(url: str, capsys: Capture) -> None:
    assert main(["conformance", "--url", url, "--model", "several-tokens", "--json"]) == 1
    passed = {result["name"]: result["passed"] for result in json.loads(capsys.readouterr().out)}
    assert passed["chat-stream"]
    assert not passed["one-token-a-chunk"]


def test_a_server_that_does_not_run_is_a_failed_check_and_not_a_traceback(capsys: Capture) -> None:
    assert main(["conformance", "--url", "http://127.0.0.1:1"]) == 1
    assert "start the server" in capsys.readouterr().out


def test_a_port_in_use_is_an_input_error(url: str, capsys: Capture) -> None:
    port = url.rsplit(":", 1)[1]
    assert main(["conformance", "--serve", "--port", port]) == 2
    assert "choose another" in capsys.readouterr().err

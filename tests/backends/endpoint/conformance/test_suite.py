"""Every way to answer leads to its one right expected."""

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
def test_our_client_makes_the_right_thing_of(name: str, url: str) -> None:
    right = BEHAVIORS[name].expected
    record = provoke(url, BEHAVIORS[name])
    assert (record.error_kind, len(record.token_times)) == (right.error, right.chunks)
    if right.tokens is not None:
        assert record.output_tokens == right.tokens


def test_there_are_at_least_twenty_behaviors() -> None:
    assert len(BEHAVIORS) >= 20


def test_a_server_is_told_where_it_falls_short(url: str) -> None:
    found = {finding.name: finding for finding in check_server(url, "several-tokens")}
    assert found["chat-stream"].passed
    assert found["forced-length"].passed
    assert found["one-token-a-chunk"].found == "2 chunks"
    assert not found["chat-whole"].passed  # this server streams whatever it is asked


def test_a_finding_passes_when_it_is_what_was_expected() -> None:
    assert CheckResult("a", "b", "8 chunks", "8 chunks").passed
    assert not CheckResult("a", "b", "8 chunks", "2 chunks").passed


def test_the_command_exits_with_1_when_something_is_not_as_expected(
    url: str, capsys: Capture
) -> None:
    assert main(["conformance", "--url", url, "--model", "several-tokens", "--json"]) == 1
    told = {each["name"]: each["passed"] for each in json.loads(capsys.readouterr().out)}
    assert told["chat-stream"]
    assert not told["one-token-a-chunk"]


def test_a_server_that_is_not_there_is_a_finding_and_no_traceback(capsys: Capture) -> None:
    assert main(["conformance", "--url", "http://127.0.0.1:1"]) == 1
    assert "is the server running" in capsys.readouterr().out


def test_a_port_that_is_taken_is_bad_input(url: str, capsys: Capture) -> None:
    port = url.rsplit(":", 1)[1]
    assert main(["conformance", "--serve", "--port", port]) == 2
    assert "choose another" in capsys.readouterr().err

"""The memory that the responses of one client may take together."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hostile_servers import loaded

from llmbench.backends.endpoint import answer_log, limits
from llmbench.backends.endpoint.conformance.behaviors import COMPLETE, FOREVER, TEXT
from llmbench.backends.endpoint.conformance.server import AdversarialServer, in_background
from llmbench.backends.endpoint.conformance.wire import (
    Action,
    Behavior,
    Pause,
    chunked,
    delta,
    done,
    event,
)

LONG = chunked([event(delta("word " * 1000)), done()])
GROWING = chunked([b"data: " + b"a" * 300_000, FOREVER], ended=False)
SLOW = chunked([*TEXT[:4], Pause(0.3), *COMPLETE[4:]])


def kinds(names: list[str], users: int, **scripts: Iterable[Action]) -> list[str | None]:
    """Return the error kinds of responses, in the order of the requests."""
    behaviors = {name: Behavior(name, "", script) for name, script in scripts.items()}
    with in_background(AdversarialServer(behaviors=behaviors)) as server:
        answers = loaded(server.url, names, users).answers
    faults = {answer.request.id: answer.fault for answer in answers}
    return [fault.kind if fault else None for _, fault in sorted(faults.items())]


def test_text_beyond_the_request_is_limited_over_all_responses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "EXCESS_BYTES", 30_000)
    outcomes = kinds(["long", "long", "long", "plain"], 1, long=LONG, plain=chunked(COMPLETE))
    assert outcomes == [None, None, "too-large", None]


def test_the_largest_response_being_read_fails_when_all_take_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "IN_FLIGHT_BYTES", 200_000)
    assert kinds(["slow", "growing"], 2, slow=SLOW, growing=GROWING) == [None, "too-large"]


def test_answers_that_cannot_be_written_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_log, "CHUNK_BYTES", 1)
    monkeypatch.setattr(answer_log, "FOLDER", "/missing")
    behavior = Behavior("plain", "", chunked(COMPLETE))
    with in_background(AdversarialServer(behaviors={"plain": behavior})) as server:
        served = loaded(server.url, ["plain"] * 3)
    assert served.counts["answer_bytes_in_memory"] > 0
    assert len([*served.answers]) == 3

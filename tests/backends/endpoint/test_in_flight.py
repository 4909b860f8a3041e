"""The requests in flight: all are checked, a part of them at a time."""

from __future__ import annotations

from typing import cast

import pytest

from llmbench.backends.endpoint import in_flight, limits
from llmbench.backends.endpoint.exchange import Exchange
from llmbench.backends.endpoint.in_flight import InFlight, LoadConnection
from llmbench.runs.request import Request

CONNECTED = cast("LoadConnection", object())


def exchanges(count: int, held: int = 0) -> list[Exchange]:
    """Return requests that were sent at 0 s, with an incomplete event of some bytes."""
    made = [Exchange(Request(number, (1,), 4), due=0.0) for number in range(count)]
    for exchange in made:
        exchange.begin(200, "text/event-stream")
        exchange.body(0.0, b"data: " + b"a" * held)
    return made


def requests_in_flight(waiting: list[Exchange]) -> InFlight:
    checked = InFlight(first_token_timeout=1.0, total_timeout=2.0)
    checked.update(dict.fromkeys(waiting, CONNECTED))
    assert checked.failed(0.0) == []
    return checked


def test_many_requests_are_checked_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "CHECKED_AT_ONCE", 2)
    waiting = exchanges(5)
    checked = requests_in_flight(waiting)
    failed = [checked.failed(1.5) for _ in range(3)]
    assert failed == [waiting[:2], waiting[2:4], waiting[4:]]


def test_memory_is_limited_over_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "CHECKED_AT_ONCE", 2)
    monkeypatch.setattr(limits, "IN_FLIGHT_BYTES", 4000)
    waiting = exchanges(5, held=1000)
    checked = requests_in_flight(waiting)
    failed = [exchange for _ in range(3) for exchange in checked.failed(0.5)]
    assert failed == waiting[:2]


def test_a_request_that_ended_during_the_checks_is_not_in_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(in_flight, "CHECKED_AT_ONCE", 2)
    monkeypatch.setattr(limits, "IN_FLIGHT_BYTES", 2500)
    waiting = exchanges(3, held=1000)
    checked = requests_in_flight(waiting)
    assert checked.failed(0.5) == []
    del checked[waiting[0]], checked[waiting[2]]
    assert checked.failed(9.0) == []


def test_a_connection_that_is_being_opened_has_its_own_time_limit() -> None:
    waiting = exchanges(1)
    checked = requests_in_flight(waiting)
    checked[waiting[0]] = None
    assert checked.failed(9.0) == []

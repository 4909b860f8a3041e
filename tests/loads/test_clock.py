"""Clocks, and the Unix time at which they read 0."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from llmbench.loads import clock
from llmbench.loads.clock import Clock, MonotonicClock, VirtualClock


def test_a_clock_knows_the_unix_time_of_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = SimpleNamespace(monotonic=lambda: 130.0, time=lambda: 1_700_000_000.0)
    monkeypatch.setattr(clock, "time", stopped)
    assert MonotonicClock(origin=100.0).unix_origin() == 1_699_999_970.0


def test_a_virtual_clock_has_no_time_of_day() -> None:
    virtual: Clock = VirtualClock()
    assert virtual.unix_origin() is None

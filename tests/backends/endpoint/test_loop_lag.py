"""How late an event loop may stamp what it reads."""

from __future__ import annotations

import pytest

from llmbench.backends.endpoint.loop_lag import HEARTBEAT_SECONDS, PAUSE_SECONDS, LoopLag


@pytest.fixture
def lag() -> LoopLag:
    """A loop that waited until 1 s and has a heartbeat due later."""
    lag = LoopLag(next_beat=10.0)
    lag.begin(1.0)
    return lag


def test_the_first_bytes_after_a_wait_are_not_late(lag: LoopLag) -> None:
    assert lag.begin_read(0.0, 1.0) == 0


def test_bytes_are_late_by_the_callbacks_before_them(lag: LoopLag) -> None:
    lag.end(1.004)
    read = 1.004 + PAUSE_SECONDS / 2
    assert lag.begin_read(0.0, read) == pytest.approx(read - 1.0)


def test_a_pause_between_callbacks_is_a_wait(lag: LoopLag) -> None:
    lag.end(1.004)
    assert lag.begin_read(0.0, 1.004 + 2 * PAUSE_SECONDS) == 0


def test_bytes_arrived_after_the_connection_was_last_read(lag: LoopLag) -> None:
    lag.end(1.004)
    assert lag.begin_read(1.003, 1.004) == pytest.approx(0.001)


def test_a_process_that_did_not_run_is_late_since_its_heartbeat() -> None:
    lag = LoopLag(next_beat=1.0)
    assert lag.begin_read(0.0, 1.5) == pytest.approx(0.5)


def test_the_delay_of_each_heartbeat_is_recorded() -> None:
    lag = LoopLag(next_beat=1.0)
    lag.beat(1.002)
    lag.beat(1.002 + HEARTBEAT_SECONDS)
    assert lag.beats == pytest.approx([0.002, 0.0], abs=1e-12)

"""The timer of the client: on time, at the cost that was chosen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from llmbench.backends.endpoint import timer as module
from llmbench.backends.endpoint.timer import Timer


def expired(spin_seconds: float, use: Callable[[Timer], None]) -> tuple[list[float], float]:
    """Return the times of a timer's expiries within 50 ms, and how long it has spun."""
    times: list[float] = []

    async def run() -> float:
        loop = asyncio.get_running_loop()
        timer = Timer(loop, lambda: times.append(time.monotonic()), spin_seconds)
        use(timer)
        await asyncio.sleep(0.05)
        timer.close()
        return timer.spun_seconds

    return times, asyncio.run(run())


@pytest.mark.parametrize("spin_seconds", [0.0, 0.002, 1.0])
def test_a_timer_expires_once_and_never_early(spin_seconds: float) -> None:
    due = time.monotonic() + 0.01
    times, _ = expired(spin_seconds, lambda timer: timer.set(due - time.monotonic()))
    assert len(times) == 1
    assert times[0] >= due


def test_only_a_timer_that_may_spin_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "_IDLE_SECONDS", 1.0
    )  # a busy machine is slow in doing nothing, too
    _, asleep = expired(0.0, lambda timer: timer.set(0.04))
    _, awake = expired(0.04, lambda timer: timer.set(0.04))
    assert asleep == 0
    assert awake > 0


@pytest.mark.parametrize("spin_seconds", [0.0, 0.01])
def test_the_last_setting_counts(spin_seconds: float) -> None:
    began = time.monotonic()

    def twice(timer: Timer) -> None:
        timer.set(0.001)
        timer.set(0.02)

    times, _ = expired(spin_seconds, twice)
    assert len(times) == 1
    assert times[0] - began >= 0.02


@pytest.mark.parametrize("spin_seconds", [0.0, 0.01])
def test_a_timer_that_is_due_already_expires_at_once(spin_seconds: float) -> None:
    assert len(expired(spin_seconds, lambda timer: timer.set(-1.0))[0]) == 1


def test_a_closed_timer_does_not_expire() -> None:
    times: list[float] = []

    async def run() -> None:
        timer = Timer(asyncio.get_running_loop(), lambda: times.append(time.monotonic()), 1.0)
        timer.set(0.01)
        timer.close()
        await asyncio.sleep(0.05)

    asyncio.run(run())
    assert times == []

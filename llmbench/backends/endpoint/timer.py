"""An event-loop timer with a precision of tens of microseconds.

Event loops round their timers to a millisecond, which shifts arrivals; a timerfd is a file
descriptor that becomes readable when it expires.
https://man7.org/linux/man-pages/man2/timerfd_create.2.html
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable
from contextlib import suppress

_NANOSECONDS = 1_000_000_000
_ROUNDING = 1e-6  # seconds
_IDLE_SECONDS = 20e-6  # an iteration of the event loop that takes longer has read something


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


_libc = ctypes.CDLL(None, use_errno=True)


class Timer:
    """Calls ``on_expiry`` in the event loop after a delay that can be changed at any time.

    The process wakes up ``spin_seconds`` before, since it can be late by tens of microseconds, and
    calls ``on_wake``; from then on the event loop reads its connections without waiting.
    ``spun_seconds`` is the time in which there was nothing to read.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_expiry: Callable[[], None],
        spin_seconds: float = 0.0,
        on_wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.spun_seconds = 0.0
        self._loop = loop
        self._on_expiry = on_expiry
        self._on_wake = on_wake
        self._spin_seconds = spin_seconds
        self._expires = float("inf")
        self._spinning: asyncio.Handle | None = None
        self._last_spin = 0.0
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._file = _checked(_libc.timerfd_create(time.CLOCK_MONOTONIC, flags))
        loop.add_reader(self._file, self._wake)

    def set(self, seconds: float) -> None:
        """Set the timer to expire ``seconds`` from now, immediately if that is 0 or less."""
        self._expires = time.monotonic() + seconds
        delay = max(1, round((seconds - self._spin_seconds) * _NANOSECONDS))
        setting = _Setting(_Timespec(0, 0), _Timespec(*divmod(delay, _NANOSECONDS)))
        _checked(_libc.timerfd_settime(self._file, 0, ctypes.byref(setting), None))

    def close(self) -> None:
        """Stop the timer and close its file descriptor."""
        if self._spinning:
            self._spinning.cancel()
        self._loop.remove_reader(self._file)
        os.close(self._file)

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # the timer was set again between the event and the read
            os.read(self._file, 8)
        if not self._spinning:
            if self._spin_seconds:
                self._on_wake()
            self._expire_or_spin(time.monotonic())

    def _spin(self) -> None:
        self._spinning = None
        now = time.monotonic()
        if (passed := now - self._last_spin) < _IDLE_SECONDS:
            self.spun_seconds += passed
        self._expire_or_spin(now)

    def _expire_or_spin(self, now: float) -> None:
        if now >= self._expires:
            self._on_expiry()
        elif self._expires - now <= self._spin_seconds + _ROUNDING:  # else it was set again
            self._spinning, self._last_spin = self._loop.call_soon(self._spin), now


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"timerfd: {os.strerror(number)}")
    return result

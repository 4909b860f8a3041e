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


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


_libc = ctypes.CDLL(None, use_errno=True)


class Timer:
    """Calls ``on_expiry`` in the event loop after a delay that can be changed at any time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_expiry: Callable[[], None]) -> None:
        self._loop = loop
        self._on_expiry = on_expiry
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._file = _checked(_libc.timerfd_create(time.CLOCK_MONOTONIC, flags))
        loop.add_reader(self._file, self._expire)

    def set(self, seconds: float) -> None:
        """Set the timer to expire ``seconds`` from now, immediately if that is 0 or less."""
        delay = max(1, round(seconds * _NANOSECONDS))
        setting = _Setting(_Timespec(0, 0), _Timespec(*divmod(delay, _NANOSECONDS)))
        _checked(_libc.timerfd_settime(self._file, 0, ctypes.byref(setting), None))

    def close(self) -> None:
        """Stop the timer and close its file descriptor."""
        self._loop.remove_reader(self._file)
        os.close(self._file)

    def _expire(self) -> None:
        with suppress(BlockingIOError):  # the timer was set again between the event and the read
            os.read(self._file, 8)
        self._on_expiry()


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"timerfd: {os.strerror(number)}")
    return result

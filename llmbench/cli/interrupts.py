"""Signals that ask a command to end: Ctrl-C, SIGTERM, and SIGHUP when a terminal closes."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# `timeout` and shells signal the process and then its group, which is no second request
ECHO_SECONDS = 0.2


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end; whatever handles Ctrl-C handles it too."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.at = time.monotonic()


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """Return the exit code of an interrupted command: 128 plus the number of the signal."""
    return 128 + (interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT)


@contextmanager
def raised() -> Iterator[None]:
    """Raise Interrupted when the first signal arrives; a second one ends the process at once.

    Ignored signals stay ignored, as SIGHUP is under nohup. Nothing changes outside the main thread,
    where Python allows no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[Interrupted] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        if not received:
            received.append(Interrupted(number))
            raise received[0]
        if time.monotonic() - received[0].at > ECHO_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled = [number for number in SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    for number in handled:
        signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt as error:  # ray raises one of its own, without the number
        raise received[0] if received else error from None
    finally:
        for number in handled:
            signal.signal(number, before[number])


@contextmanager
def explained(explanation: Callable[[], str]) -> Iterator[None]:
    """If the context is interrupted, print an explanation on stderr, such as how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\ninterrupted: {explanation()}", file=sys.stderr, flush=True)
        raise


def how_to_repeat(folder: Path, *flags: str) -> str:
    """Explain how to resume a command that goes on in its results folder."""
    from llmbench.runs.remote import address

    arguments = shlex.join(["--out", address(folder), *flags])
    return f"finished runs are kept; resume with the same command and {arguments}"

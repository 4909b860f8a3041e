"""Signals end a command as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from llmbench.cli import interrupts, main
from llmbench.cli import list as listing
from llmbench.cli.interrupts import Interrupted, explained, how_to_repeat, raised

Capture = pytest.CaptureFixture[str]

PATIENT = """
import time
from llmbench.cli.interrupts import raised
with raised():
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        time.sleep(60)
"""


def send(number: int) -> None:
    """Send a signal to this process, and wait until Python has handled it."""
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@contextmanager
def handler(number: int, action: signal.Handlers) -> Iterator[None]:
    before = signal.signal(number, action)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_a_library_that_raises_its_own_interrupt_does_not_change_the_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(_: object) -> None:
        try:
            send(signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(listing, "run", interrupted)
    assert main(["list"]) == 143


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_command_exits_with_128_plus_the_signal(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with handler(signal.SIGHUP, signal.SIG_DFL):
        monkeypatch.setattr(listing, "run", lambda _: send(number))
        assert main(["list"]) == code


def test_a_keyboard_interrupt_that_no_signal_caused_exits_with_130(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(listing, "run", run)
    assert main(["list"]) == 130


def test_an_ignored_signal_stays_ignored() -> None:
    with handler(signal.SIGHUP, signal.SIG_IGN), raised():
        send(signal.SIGHUP)


def test_handlers_are_restored() -> None:
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]
    with raised():
        pass
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before


def test_the_same_signal_sent_twice_at_once_is_one_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "ECHO_SECONDS", 60.0)
    with raised():
        with pytest.raises(Interrupted):
            send(signal.SIGTERM)
        send(signal.SIGTERM)


def test_a_second_signal_ends_the_process_at_once() -> None:
    with subprocess.Popen([sys.executable, "-c", PATIENT], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == b"interrupted\n"
        time.sleep(2 * interrupts.ECHO_SECONDS)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == -signal.SIGTERM


def test_a_command_can_run_in_a_thread_without_signal_handlers() -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["schema"])))
    thread.start()
    thread.join()
    assert codes == [0]


def test_an_interruption_is_explained(capsys: Capture) -> None:
    explanation = how_to_repeat(Path("my results"), "--resume")
    with pytest.raises(KeyboardInterrupt), explained(lambda: explanation):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == (
        "\ninterrupted: finished runs are kept; resume with the same command and "
        "--out 'my results' --resume\n"
    )


def test_nothing_is_explained_without_an_interruption(capsys: Capture) -> None:
    with explained(lambda: "never"):
        pass
    assert capsys.readouterr().err == ""

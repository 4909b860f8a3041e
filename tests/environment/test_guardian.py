"""Guarded processes end with their descendants, whatever ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from llmbench.environment import child_process
from llmbench.environment.child_process import Guarded, guarded

# a command, a child of it, and a grandchild that leaves its process group and session
FAMILY = "sleep 60 & echo $!; (setsid sleep 60 & echo $!); echo $$; wait"
PARENT = f"""
import sys, time
from llmbench.environment.child_process import guarded
with guarded(["sh", "-c", {FAMILY!r}], has_session=bool({{has_session}})) as child:
    print(child.process.pid, flush=True)
    time.sleep(60)
"""


@contextmanager
def command(*words: str, has_session: bool = False) -> Iterator[Guarded]:
    with guarded(words, has_session=has_session, stdout=subprocess.PIPE) as child:
        yield child


def read_processes(child: Guarded, count: int = 3) -> list[psutil.Process]:
    stdout = child.process.stdout
    assert stdout
    return [psutil.Process(int(stdout.readline())) for _ in range(count)]


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that have not ended after a generous time."""
    for _ in range(500):
        if not (running := [*filter(is_running, processes)]):
            break
        time.sleep(0.02)
    return running


def is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", -15), ("kill -SEGV $$", -11),
     ("kill -KILL $$", -9)],
)  # fmt: skip
def test_a_guardian_exits_as_its_command_does(script: str, code: int) -> None:
    with command("sh", "-c", script) as child:
        assert child.process.wait(60) == code


def test_a_command_that_cannot_be_started_is_named_on_stderr(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    with guarded([missing], stderr=subprocess.PIPE) as child:
        _, printed = child.process.communicate(timeout=60)
    assert child.process.returncode == 127
    assert printed.decode() == f"{missing}: cannot be started: No such file or directory\n"


def test_the_process_id_is_that_of_the_command() -> None:
    with command("sh", "-c", "echo $$; sleep 60") as child:
        (process,) = read_processes(child, 1)
        assert child.pid == process.pid != child.process.pid


def test_a_command_does_not_ignore_the_signals_that_python_ignores() -> None:
    with command("grep", "SigIgn", "/proc/self/status") as child:
        output, _ = child.process.communicate(timeout=60)
    ignored = int(output.split()[1], 16)
    assert not any(ignored >> number - 1 & 1 for number in (signal.SIGPIPE, signal.SIGXFSZ))


def test_all_descendants_end_with_the_context() -> None:
    with command("sh", "-c", FAMILY) as child:
        family = read_processes(child)
    assert not [*filter(is_running, family)]
    assert child.process.returncode == -9


def test_all_descendants_end_with_the_command() -> None:
    with command("sh", "-c", FAMILY) as child:
        family = read_processes(child)
        family[-1].kill()
        assert child.process.wait(60) == -9
        assert not [*filter(is_running, family)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize("has_session", [False, True])
def test_all_descendants_end_when_the_parent_is_killed(
    number: signal.Signals, *, has_session: bool
) -> None:
    script = PARENT.format(has_session=has_session)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        family = [psutil.Process(int(parent.stdout.readline())) for _ in range(4)]
        parent.send_signal(number)
    assert still_running(family) == []


def test_the_command_ends_when_the_guardian_is_killed() -> None:
    with command("sh", "-c", "echo $$; exec sleep 60") as child:
        family = read_processes(child, 1)
        child.process.kill()
        assert still_running(family) == []


def test_a_suspended_guardian_does_not_keep_the_parent_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(child_process, "END_SECONDS", 0.1)
    with command("sh", "-c", "echo $$; exec sleep 60") as child:
        family = read_processes(child, 1)
        child.process.send_signal(signal.SIGSTOP)
    assert still_running(family) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_guardian_ignores_signals_to_end(number: signal.Signals) -> None:
    with command("sh", "-c", "echo $$; exec sleep 60") as child:
        (process,) = read_processes(child, 1)
        assert child.pid == process.pid  # it is sent once the guardian ignores signals
        child.process.send_signal(number)
        process.kill()
        assert child.process.wait(60) == -9


@pytest.mark.parametrize("has_session", [False, True])
def test_a_command_is_not_in_the_process_group_of_the_terminal(*, has_session: bool) -> None:
    with command("sleep", "60", has_session=has_session) as child:
        assert os.getpgid(child.pid) == child.process.pid != os.getpgrp()
        assert (os.getsid(child.pid) == os.getsid(0)) is not has_session

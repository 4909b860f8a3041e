"""A guardian: runs a command, and ends all of its descendants when it or the parent ends.

``python -I -S guardian.py FD COMMAND...``. FD is one end of a socket, and the parent holds the
other: it closes with the parent, whatever kills it. On Linux, the guardian adopts the orphans of
its command, so that it also ends those that have left its process group; elsewhere it kills the
group. If the guardian itself is killed, the kernel kills the command.

The command's process id is written to the socket. The guardian exits with the command's exit code,
or is killed by the same signal. It is a script that imports only the standard library, so that it
starts in a few milliseconds and cannot be affected by other modules.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
LEFT_TO_THE_PARENT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CANNOT_START = 127


def main() -> None:
    """Run the command until it or the parent ends; end all descendants and exit."""
    lifeline, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(lifeline, False)  # noqa: FBT003 (positional only)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    wakeups = _wakeups()
    pid = _started(command)
    for number in LEFT_TO_THE_PARENT:
        signal.signal(number, signal.SIG_IGN)
    _close_streams()
    with suppress(OSError):  # the parent has died
        os.write(lifeline, b"%d" % pid)
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    poll.register(wakeups, select.POLLIN)
    status = None
    while status is None:
        if lifeline in dict(poll.poll()):
            break
        os.read(wakeups, 1024)
        status = _status_of(pid)
    killed = _end_descendants(pid)
    _exit_with(killed if status is None else status)


def _prctl(option: int, value: int) -> None:
    with suppress(AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _wakeups() -> int:
    """Return a file descriptor that is readable after a child has exited."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reader


def _started(command: list[str]) -> int:
    """Start the command and return its process id."""
    guardian = os.getpid()
    if pid := os.fork():
        return pid
    try:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
        if os.getppid() == guardian:  # else it died before the kernel was asked
            os.execvp(command[0], command)  # noqa: S606 (the caller chose the command)
    except OSError as error:
        os.write(2, f"{command[0]}: cannot be started: {error.strerror}\n".encode())
    finally:
        os._exit(CANNOT_START)


def _close_streams() -> None:
    """Leave the standard streams to the command, so that they close when it closes them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)


def _status_of(command: int) -> int | None:
    """Collect all children that have exited; return the command's status if it is one of them."""
    status = None
    with suppress(ChildProcessError):  # no child is left
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == command:
                status = ended[1]
    return status


def _end_descendants(command: int) -> int | None:
    """Kill all descendants; return the command's status if it was not collected before.

    The children of a killed process become those of the guardian, and are killed next.
    """
    status = None
    while killed := list(filter(_kill, _children())):
        for pid in killed:
            _, ended = os.waitpid(pid, 0)
            if pid == command:
                status = ended
    return status


def _kill(pid: int) -> bool:
    """Kill a child; return whether this user may, which a set-user-ID program prevents."""
    try:
        os.kill(pid, signal.SIGKILL)
    except PermissionError:
        return False
    return True


def _children() -> Iterator[int]:
    """Yield the process ids of the guardian's children; without /proc, kill the process group."""
    guardian = os.getpid()
    if not os.path.exists("/proc/self/stat"):  # noqa: PTH110 (pathlib takes long to import)
        os.killpg(0, signal.SIGKILL)
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 (the same)
        with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123 (the same)
            parent = file.read().rpartition(b")")[2].split()[1]
            if int(parent) == guardian:
                yield int(name)


def _exit_with(status: int | None) -> None:
    """Exit as a process with this wait status did."""
    code = os.waitstatus_to_exitcode(status or 0)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command has dumped its own
        with suppress(OSError):  # SIGKILL has no handler to reset
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()

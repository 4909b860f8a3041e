"""Child processes: ``python -m MODULE`` receives a job and exchanges messages with its parent.

A message is one line of JSON on the child's stdin or stdout: plain data, dataclasses or msgspec
structs, with NumPy arrays as lists. Bulk data is preceded by a line with its size in bytes.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from llmbench.environment.software import PARENT

READ_BYTES = 2**20
GUARDIAN = str(Path(__file__).with_name("guardian.py"))
END_SECONDS = 5.0


T = TypeVar("T")


class Channel:
    """A channel for messages to and from another process, over two pipes."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._received = bytearray()

    def send(self, message: object) -> None:
        """Write a message; raises BrokenPipeError if the other process has exited."""
        self.write(msgspec.json.encode(message, enc_hook=_plain) + b"\n")

    def send_bytes(self, data: bytes | memoryview) -> None:
        """Write bulk data, which the other process reads with ``receive_bytes``."""
        self.send(len(data))
        self.write(data)

    def write(self, data: bytes | memoryview) -> None:
        """Write bytes, which are messages or parts of them."""
        left = memoryview(data)
        while left:
            left = left[os.write(self._outgoing, left) :]

    def receive(self, kind: type[T]) -> T:
        """Return the next message; raises EOFError if the other process has exited."""
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            self._read()
        line = bytes(memoryview(self._received)[:end])
        del self._received[: end + 1]
        return msgspec.json.decode(line, type=kind, dec_hook=_restored)

    def receive_bytes(self) -> bytes:
        """Return bulk data; raises EOFError if the other process has exited."""
        size = self.receive(int)
        while len(self._received) < size:
            self._read()
        data = bytes(memoryview(self._received)[:size])
        del self._received[:size]
        return data

    def _read(self) -> None:
        if not (data := os.read(self._incoming, READ_BYTES)):
            raise EOFError("the other process has exited")
        self._received += data

    def poll(self, timeout: float | None) -> bool:
        """Return whether a message or the stream's end arrives within ``timeout`` seconds."""
        return bool(ready([self], timeout))

    @property
    def holds_message(self) -> bool:
        """Whether a complete message has been received but not yet returned."""
        return b"\n" in self._received

    def fileno(self) -> int:
        """Return the file descriptor of incoming messages."""
        return self._incoming


C = TypeVar("C", bound=Channel)


def ready(channels: Sequence[C], timeout: float | None = None) -> list[C]:
    """Wait up to ``timeout`` seconds; return the channels that have a message or have ended."""
    if read := [channel for channel in channels if channel.holds_message]:
        return read
    return list(select.select(channels, [], [], timeout)[0])


def _plain(value: Any) -> Any:
    """Return a NumPy array, scalar or generator as data that JSON can represent."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "bit_generator"):
        return json.dumps(value.bit_generator.state)  # its integers exceed msgspec's range
    raise NotImplementedError(f"a message cannot contain {type(value).__name__}")


def converted(value: Any, kind: type[T]) -> T:
    """Convert a message's plain data, or part of it, to the type ``kind``."""
    return msgspec.convert(value, kind, dec_hook=_restored)


def _restored(kind: Any, value: Any) -> Any:
    """Return the NumPy array or generator that ``_plain`` converted."""
    import numpy as np  # noqa: PLC0415 (most messages need no NumPy)

    if kind is not np.random.Generator:
        return np.array(value)
    state = json.loads(value)
    generator = np.random.Generator(getattr(np.random, state["bit_generator"])())
    generator.bit_generator.state = state
    return generator


# -- in the parent ---------------------------------------------------------------------------------


class Guarded:
    """A process that ends with all of its descendants when this process ends, however it ends.

    ``process`` is its guardian, which has the exit code of the process itself.
    """

    def __init__(self, process: subprocess.Popen[bytes], lifeline: socket.socket) -> None:
        self.process = process
        self._lifeline = lifeline

    @cached_property
    def pid(self) -> int:
        """The process id; 0 if the guardian has died."""
        return int(self._lifeline.recv(32) or 0)

    def end(self) -> None:
        """Kill the process and all of its descendants, and wait until they have ended."""
        self._lifeline.close()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:  # the guardian is suspended
            self.process.kill()
            self.process.wait()


@contextmanager
def guarded(
    command: Sequence[str], *, has_session: bool = False, **options: Any
) -> Iterator[Guarded]:
    """Run a command under a guardian; the process and its descendants end with the context.

    It has its own process group, so that the terminal does not interrupt it, or its own session.
    ``options`` are those of subprocess.Popen.
    """
    parent_end, child_end = socket.socketpair()
    with parent_end, child_end:
        lifeline = str(child_end.fileno())
        guardian = [sys.executable, "-I", "-S", GUARDIAN, lifeline]
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [*guardian, *command],
            pass_fds=[child_end.fileno()],
            start_new_session=has_session,
            process_group=None if has_session else 0,
            bufsize=0,
            **options,
        )
        with process, parent_end:  # closed first, so that the process ends
            child_end.close()
            child = Guarded(process, parent_end)
            try:
                yield child
            finally:
                child.end()


class Child(Channel):
    """A child process and the channel to it."""

    def __init__(self, guarded: Guarded) -> None:
        process = guarded.process
        assert process.stdin is not None  # noqa: S101 (for type checkers)
        assert process.stdout is not None  # noqa: S101 (for type checkers)
        super().__init__(process.stdout.fileno(), process.stdin.fileno())
        self._guarded = guarded
        self._stdin = process.stdin

    @property
    def pid(self) -> int:
        """The process id of the child."""
        return self._guarded.pid

    def send(self, message: object) -> None:
        """Write a message; if the child has exited, only ``receive`` raises an error."""
        with suppress(BrokenPipeError):
            super().send(message)

    def close(self) -> None:
        """Close the child's stdin, which tells it that no message follows."""
        self._stdin.close()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the child to exit and return its exit code, negative for a signal.

        Raises subprocess.TimeoutExpired after ``timeout`` seconds.
        """
        return self._guarded.process.wait(timeout)

    def how_ended(self) -> str:
        """Return how a child that has closed its channel ended, such as "exited with code 1"."""
        try:
            code = self.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            return "closed its channel"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"exited with code {code}"

    def kill(self) -> None:
        """Kill the child and its descendants."""
        self._guarded.end()


@contextmanager
def start(
    module: str,
    job: object,
    *,
    python: str | None = None,
    environment: Mapping[str, str] | None = None,
    stderr: IO[Any] | None = None,
    has_session: bool = False,
) -> Iterator[Child]:
    """Start ``python -m module`` and send it a job; the process ends with the context.

    For the options, see `started`.
    """
    with started(
        module, python=python, environment=environment, stderr=stderr, has_session=has_session
    ) as child:
        child.send(job)
        yield child


@contextmanager
def started(
    module: str,
    *,
    python: str | None = None,
    environment: Mapping[str, str] | None = None,
    stderr: IO[Any] | None = None,
    has_session: bool = False,
) -> Iterator[Child]:
    """Start ``python -m module``, which imports its modules and waits for a job.

    The process ends with the context. ``python`` is an interpreter, by default this one. Modules
    are never imported from the working directory. ``stderr`` is a file for the process's stderr.
    """
    with guarded(
        [python or sys.executable, "-P", "-m", module],
        has_session=has_session,
        env={**(os.environ if environment is None else environment), PARENT: str(os.getpid())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
    ) as process:
        yield Child(process)


# -- in the child ----------------------------------------------------------------------------------


def parent() -> Channel:
    """Return the channel to the parent; redirect all other output on stdout to stderr."""
    outgoing = os.dup(1)
    os.dup2(2, 1)
    return Channel(0, outgoing)


def parent_pid() -> int:
    """Return the process id of the process that started this one."""
    return int(os.environ.get(PARENT) or os.getppid())

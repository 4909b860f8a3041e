"""Standard output and error of a command: what they cannot show or take never ends a measurement.

A symbol that the encoding lacks degrades to an ASCII form. After a failed write (a full disk, a
pipe without a reader, a closed descriptor) the rest of the output is dropped, and the command ends
with a message and an exit code of its own.
"""

from __future__ import annotations

import codecs
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import Any, TextIO, cast

UNWRITABLE, BROKEN_PIPE = 1, 141  # 141: as shells report a program that SIGPIPE ended
ASCII_FORMS = "llmbench.ascii-forms"
FORMS = {
    "µ": "u", "μ": "u", "×": "x", "·": "*", "…": "...", "—": "-", "–": "-", "−": "-", "†": "+",
    "≤": "<=", "≥": ">=", "≈": "~", "±": "+/-", "→": "->", "←": "<-", "²": "2", "₂": "2",
    "°": "deg", "’": "'", "“": '"', "”": '"', "━": "=", "─": "-", "│": "|",
    "\N{NO-BREAK SPACE}": " ", "\N{NARROW NO-BREAK SPACE}": " ",
}  # fmt: skip


def ascii_form(error: UnicodeError) -> tuple[str, int]:
    r"""Return the ASCII form of characters that cannot be encoded, and where to go on.

    Characters without one become escapes, such as ``\u4e2d``, which JSON also reads.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(FORMS.get(c) or _escape(c) for c in characters), error.end


def _escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


class LossyStream:
    """A standard stream whose failed writes are remembered instead of raised.

    ``failure`` is the first one. A stream of None has a closed descriptor.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.failure: OSError | None = None
        self._is_closed = stream is None
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 (lives as long as the process)
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=ASCII_FORMS)

    def write(self, text: str) -> int:
        """Write a text; after a failure, drop it."""
        if self._is_closed and self.failure is None:
            self.failure = OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered; after a failure, drop it."""
        self._attempt(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            self.failure = self.failure or error
            self._drop_the_rest()

    def _drop_the_rest(self) -> None:
        """Send what is buffered, and everything after it, to the null device."""
        with suppress(OSError, ValueError):  # a stream without a descriptor keeps its buffer
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)


@contextmanager
def lossy() -> Iterator[LossyStream]:
    """Replace stdout and stderr by lossy streams; yield that of stdout.

    Closed descriptors below 3 are opened on the null device, so that no file of a measurement gets
    their numbers.
    """
    codecs.register_error(ASCII_FORMS, ascii_form)
    _occupy_descriptors()
    before = sys.stdout, sys.stderr
    stdout, stderr = map(LossyStream, before)
    sys.stdout, sys.stderr = cast("TextIO", stdout), cast("TextIO", stderr)
    try:
        yield stdout
    finally:
        stdout.flush()
        stderr.flush()
        sys.stdout, sys.stderr = before


def _occupy_descriptors() -> None:
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
            os.set_inheritable(null, True)  # noqa: FBT003 (its only form)


def exit_code(code: int, stdout: LossyStream) -> int:
    """Return the exit code of a command that ended with ``code``, and say if output was lost."""
    stdout.flush()
    if stdout.failure is None:
        return code
    print(
        f"llmbench: stdout: {stdout.failure.strerror}; the rest of the output is lost, "
        "stored results are not",
        file=sys.stderr,
    )
    lost = BROKEN_PIPE if isinstance(stdout.failure, BrokenPipeError) else UNWRITABLE
    return code or lost

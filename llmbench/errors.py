"""The exceptions of llmbench.

* LlmbenchError
  x InputError            invalid user input: exit code 2
    + ScenarioError       in a scenario file or an override of one
    + FileError           in any other file that the user named
    + MissingExtraError   a required optional package is not installed
  x MeasurementError      a run could not be measured; the other runs continue
    + OutOfMemoryError    out of memory

`Unavailable` is not in the tree: it is not a failure, but the reason for a missing value.

Every message says what is wrong, where, what was found and what to do. A message about an option
of a scenario begins with its key: `model.device: ...`.
"""

from __future__ import annotations

import errno
import reprlib
from typing import ClassVar

MAX_MESSAGE, MAX_VALUE = 1900, 80  # characters; a command adds its name and the run's

# Out-of-memory messages of allocators: torch on CPUs and GPUs, cuBLAS, onnxruntime.
OUT_OF_MEMORY = (
    "out of memory",
    "DefaultCPUAllocator",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Failed to allocate memory",
    "bfc_arena",
    "BFCArena",
)


class LlmbenchError(Exception):
    """An error that llmbench reports as a message, without a traceback.

    The message has no control characters and at most MAX_MESSAGE characters, whatever is in it.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message)))


class InputError(LlmbenchError):
    """Invalid user input, such as a wrong option, file or scenario."""


class ScenarioError(InputError):
    """A scenario file, or an override of one of its keys, is wrong."""


class FileError(InputError):
    """A file that the user named cannot be used.

    ``where`` is the file, with its line, index or key; ``problem`` says what was found there.
    """

    def __init__(self, where: object, problem: str, expected: str = "", remedy: str = "") -> None:
        expectation = f"expected {expected}" if expected else ""
        self.where = where
        self.problem = "; ".join(part for part in (problem, expectation, remedy) if part)
        super().__init__(f"{where}: {self.problem}")

    @classmethod
    def of_all(cls, errors: list[FileError], most: int = 5) -> FileError:
        """Return one error with the messages of the first ``most`` and the number of the others."""
        first, *others = errors[:most]
        more = [f"and {len(errors) - most} more"] if len(errors) > most else []
        return cls(first.where, "\n".join([first.problem, *map(str, others), *more]))


def printable(text: str, most: int = MAX_MESSAGE) -> str:
    """Return a text with its control characters escaped, and at most ``most`` characters of it."""
    escaped = "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in text
    )
    if len(escaped) <= most:
        return escaped
    begin = most * 2 // 3
    return f"{escaped[:begin]} … {escaped[begin + 3 - most :]}"


def one_line(text: str, most: int = MAX_MESSAGE) -> str:
    """Return a printable text whose line ends are escaped, too."""
    return printable(text.replace("\n", "\\n"), most)


def shown(value: object) -> str:
    """Return a value of the user as messages show it, with at most MAX_VALUE characters."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = MAX_VALUE
    return printable(short.repr(value), MAX_VALUE)


class MissingExtraError(InputError):
    """A backend, load, workload or collector needs a package that is not installed."""

    def __init__(self, part: str, package: str, extra: str) -> None:
        super().__init__(
            f"{part} needs {package}; install it with: pip install 'llmbench[{extra}]'"
        )


class MeasurementError(LlmbenchError):
    """A run could not be measured; ``kind`` is stored with its failure."""

    kind: ClassVar = "error"


class OutOfMemoryError(MeasurementError):
    """The device or machine ran out of memory; stored as the run's failure."""

    kind = "out-of-memory"


def ran_out(error: BaseException) -> bool:
    """Return whether an error is an out-of-memory error."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return any(message in str(error) for message in OUT_OF_MEMORY)


class Unavailable(Exception):  # noqa: N818 (the reason why there is no value, not an error)
    """The reason why a value is unavailable."""


class Forbidden(Unavailable):
    """A value exists, but this user may not read it."""

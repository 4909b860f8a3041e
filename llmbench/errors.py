"""The exceptions of llmbench.

* LlmbenchError
  x InputError            invalid user input: exit code 2
    + ScenarioError       in a scenario file or an override of one
    + MissingExtraError   a required optional package is not installed
  x MeasurementError      a run could not be measured; the other runs continue
    + OutOfMemoryError    out of memory

`Unavailable` is not in the tree: it is not a failure, but the reason for a missing value.

Every message says what is wrong, where, what was found and what to do.
"""

from __future__ import annotations

from typing import ClassVar


class LlmbenchError(Exception):
    """An error that llmbench reports as a message, without a traceback."""


class InputError(LlmbenchError):
    """Invalid user input, such as a wrong option, file or scenario."""


class ScenarioError(InputError):
    """A scenario file, or an override of one of its keys, is wrong."""


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


class Unavailable(Exception):  # noqa: N818 (the reason why there is no value, not an error)
    """The reason why a value is unavailable."""


class Forbidden(Unavailable):
    """A value exists, but this user may not read it."""

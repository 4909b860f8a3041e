"""A child process that does as it is told: ``python -m echoing``."""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from llmbench.environment import child_process


class Job(msgspec.Struct):
    """What to send back, whether to send the parent first, what to print, and how to end."""

    messages: list[Any] = []
    printed: str = ""
    parent: bool = False
    exit_code: int = 0


def main() -> int:
    channel = child_process.parent()
    job = channel.receive(Job)
    print(job.printed)  # noqa: T201 (a library that prints where it should not)
    if job.parent:
        channel.send(child_process.parent_pid())
    for message in job.messages:
        channel.send(message)
    return job.exit_code


if __name__ == "__main__":
    sys.exit(main())

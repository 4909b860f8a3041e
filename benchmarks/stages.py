"""The command line of llmbench, which prints when each stage of a run begins, for startup.py.

    LLMBENCH_STARTUP_BEGAN=SECONDS python benchmarks/stages.py run scenario.yaml --quiet

Each line has the stage, the seconds since SECONDS (of CLOCK_MONOTONIC) and the largest peak memory
of a process so far, in MB. It imports nothing that would take long.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Self

import psutil

BEGAN = "LLMBENCH_STARTUP_BEGAN"


class Tracer:
    """An observer that prints the beginning of each stage."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def began(self, *_: Any) -> None:
        self.stage("planned")

    def stage(self, text: str) -> None:
        seconds = time.monotonic() - float(os.environ[BEGAN])
        print(json.dumps([text, seconds, largest_peak()]), flush=True)

    def progress(self, _: Any) -> None:
        pass

    def discarded(self, _: Any) -> None:
        pass

    def ended(self, _: Any) -> None:
        self.stage("stored")


def largest_peak() -> float:
    """Return the largest peak memory, in MB, of this process and its descendants."""
    own = psutil.Process()
    pids = [own.pid, *(child.pid for child in own.children(recursive=True))]
    return max(peak_of(pid) for pid in pids)


def peak_of(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    except OSError:  # it has just ended
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> int:
    from llmbench.cli import main as llmbench  # noqa: PLC0415 (as late as the command does)
    from llmbench.cli import run  # noqa: PLC0415 (the same)

    measure = run._measure  # noqa: SLF001 (the step of the command that chooses an observer)

    def traced(*arguments: Any) -> int:
        from llmbench.cli import progress  # noqa: PLC0415 (as late as the command does)

        vars(progress)["choose_observer"] = lambda **_: Tracer()
        return measure(*arguments)

    vars(run)["_measure"] = traced
    return llmbench()


if __name__ == "__main__":
    sys.exit(main())

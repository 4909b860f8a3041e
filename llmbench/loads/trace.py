"""A load that replays recorded arrival times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from llmbench import plugins
from llmbench.errors import InputError
from llmbench.loads.schedule import Floats, Load, Scheduled
from llmbench.loads.stopping import Stop
from llmbench.runs.caveats import Caveat
from llmbench.workloads.base import Workload
from llmbench.workloads.trace_files import read_trace


class Trace(Load):
    """An open loop with arrival times from the workload's trace or another file, at any speed.

    t[i] = a[i] / speed

    where t[i] is the due time of request i and a[i] the time of row i of the trace, in seconds. A
    run's `schedule.parquet` is such a file, which replays the same arrivals.
    """

    class Options(plugins.Options):
        """``{kind: trace, speed: 2}``, with a workload that has arrival times, or a ``path``."""

        path: Path | None = Field(
            default=None, description="file of arrival times; if unset, those of the workload"
        )
        speed: float = Field(
            default=1.0, gt=0, description="replay speed; 2 halves the time between arrivals"
        )

    options: Options

    def check(self) -> None:
        """Raise InputError when the trace file of ``path`` cannot be read."""
        if self.options.path:
            read_trace(self.options.path)

    def following(self, workload: Workload) -> _Recorded:
        """Return a load with the file's or workload's times; raise InputError if it has none."""
        path = self.options.path
        if path:
            recorded = read_trace(path)
            times = np.array([row.time for row in recorded.rows])
            left_out = recorded.left_out.caveats()
            return _Recorded(times / self.options.speed, workload.has_jobs, left_out)
        if (workload_times := workload.times()) is None:
            raise InputError(
                "load: trace needs a workload with arrival times, such as trace; or set `path`"
            )
        return _Recorded(workload_times / self.options.speed, workload.has_jobs)


@dataclass(frozen=True, slots=True)
class _Recorded(Load):
    """Recorded arrivals: of requests, or of jobs, which are fewer than their requests."""

    times: Floats
    has_jobs: bool = False
    left_out: tuple[Caveat, ...] = ()

    def caveats(self) -> tuple[Caveat, ...]:
        """Return a caveat if rows of the file are left out."""
        return self.left_out

    def arrivals(self, stop: Stop, rng: np.random.Generator) -> Scheduled:  # noqa: ARG002 (nothing is drawn)
        """Return the recorded due times up to the limit of the stop rule."""
        if stop.total is not None and stop.total > len(self.times) and not self.has_jobs:
            raise InputError(
                f"requests: {stop.total} requested, warm-up included, but the trace has "
                f"{len(self.times)} requests; lower `requests`, or set a `duration`"
            )
        return Scheduled(self.times[: stop.count(self.times)])

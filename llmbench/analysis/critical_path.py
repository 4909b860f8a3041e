"""Where the time of a job goes: the parts of its critical path, which add up to the job time.

Job time = Σ over the path of (tools + E2E) and E2E = queue + prefill + decode + rest, in seconds,
where

* the path is the chain of requests that ends with the last response of the job; each one's
  predecessor is, of all requests that it waited for, the one that ended last,
* tools = due − t[last of the predecessor]; 0 for the first request,
* queue, prefill and decode are those of `latency_budget`, and rest is all other parts of E2E.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from llmbench.analysis.jobs import Jobs
from llmbench.analysis.latency_budget import budget
from llmbench.analysis.metrics.catalog import PATH_PARTS
from llmbench.analysis.metrics.record_arrays import RecordArrays, floats
from llmbench.analysis.stats import Floats

TOOLS, REST = "tools", "rest"


def critical_paths(observed: Sequence[Jobs]) -> dict[str, Floats]:
    """Return the seconds of each part of the critical path of each complete job, by part.

    A part that the backend does not report for each request is left out, and belongs to the rest.
    """
    of_requests = budget([RecordArrays(_on_paths(jobs)) for jobs in observed])
    tools = np.concatenate([_tools(jobs) for jobs in observed])
    named = {TOOLS: tools, **{p: of_requests[p] for p in PATH_PARTS if p in of_requests}}
    others = [values for part, values in of_requests.items() if part not in named]
    named[REST] = np.sum([named[REST], *others], axis=0)
    lengths = [len(job.path) for jobs in observed for job in jobs.complete]
    starts = np.cumsum([0, *lengths[:-1]])
    return {
        part: np.add.reduceat(values, starts) if lengths else values
        for part, values in named.items()
    }


def _on_paths(jobs: Jobs) -> pa.Table:
    """Return the requests of the paths as measured ones, also those sent after the load's stop."""
    rows = pa.array([row for job in jobs.complete for row in job.path], pa.int64())
    table = jobs.requests.take(rows)
    phase = pa.array(["measured"] * table.num_rows, pa.string())
    return table.set_column(table.column_names.index("phase"), "phase", phase)


def _tools(jobs: Jobs) -> Floats:
    """Return the pause before each request of the paths."""
    due, last = floats(jobs.requests["due"]), jobs.last
    pauses = [
        0.0 if before is None else due[row] - last[before]
        for job in jobs.complete
        for before, row in zip((None, *job.path), job.path, strict=False)
    ]
    return np.array(pauses, dtype=np.float64)

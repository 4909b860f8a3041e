"""The jobs of agents in a run's records: when they are complete, and their critical paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmbench.analysis.stats import Floats
from llmbench.runs.record import SUCCEEDED

Status = Literal["complete", "failed", "abandoned"]
COLUMNS = ("session", "turn", "parents", "job_requests", "finish", "phase", "due")


@dataclass(frozen=True, slots=True)
class Job:
    """A job whose first request was due at ``due``, in seconds since the load began.

    A job that is not complete has no ``end``. ``rows`` are those of its requests by turn, and
    ``path`` those of the requests on its critical path, the first one first.
    """

    status: Status
    due: float
    end: float | None
    rows: tuple[int, ...]
    path: tuple[int, ...] = ()

    @property
    def seconds(self) -> float:
        """Job time = t[last of all requests] − due of the first; NaN if it is not complete."""
        return np.nan if self.end is None else self.end - self.due


class Jobs:
    """The measured jobs in a table of requests: those whose first request is measured.

    ``last`` is the time of the last token of each request, NaN without any. ``depths`` are the
    numbers of requests before each request of a measured job, one waiting for the other; −1 for
    other requests.
    """

    def __init__(self, requests: pa.Table, last: Floats) -> None:
        self.requests = requests
        self.depths: NDArray[np.int64] = np.full(requests.num_rows, -1)
        self.last = last
        self._rows = requests.select(COLUMNS).to_pylist()
        self.all = [job for job in map(self._job, self._by_session()) if job]

    def _by_session(self) -> list[dict[int, int]]:
        """Return the row of each turn, in ascending order, for each session."""
        sessions: dict[int, dict[int, int]] = {}
        for row, request in enumerate(self._rows):
            sessions.setdefault(request["session"], {})[request["turn"]] = row
        return [dict(sorted(turns.items())) for turns in sessions.values()]

    def _job(self, turns: Mapping[int, int]) -> Job | None:
        """Return a job, given the row of each of its turns; None if it is not measured."""
        requests = {turn: self._rows[row] for turn, row in turns.items()}
        first = requests.get(0)
        if first is None or first["phase"] != "measured":
            return None
        rows = tuple(turns.values())
        self._find_depths(turns)
        status = _status(list(requests.values()))
        if status != "complete":
            return Job(status, first["due"], None, rows)
        end = max(float(self.last[row]) for row in rows)
        return Job(status, first["due"], end, rows, self._path(turns))

    def _find_depths(self, turns: Mapping[int, int]) -> None:
        for row in turns.values():
            waited = [turns[parent] for parent in self._rows[row]["parents"] if parent in turns]
            self.depths[row] = max((self.depths[before] for before in waited), default=-1) + 1

    def _path(self, turns: Mapping[int, int]) -> tuple[int, ...]:
        """Return the rows of the chain that ends with the last response, the first one first.

        Each waited for the one before it: of several, the one that ended last.
        """
        row = max(turns.values(), key=self.last.__getitem__)
        path = [row]
        while parents := self._rows[row]["parents"]:
            row = max((turns[parent] for parent in parents), key=self.last.__getitem__)
            path.append(row)
        return tuple(reversed(path))

    @property
    def complete(self) -> list[Job]:
        """The jobs whose requests were all answered."""
        return [job for job in self.all if job.status == "complete"]

    @property
    def judged(self) -> int:
        """The number of jobs that are complete or failed: all but abandoned ones."""
        return sum(job.status != "abandoned" for job in self.all)

    @property
    def failed(self) -> int:
        """The number of jobs with a request that failed, or that did not end."""
        return sum(job.status == "failed" for job in self.all)

    @cached_property
    def seconds(self) -> Floats:
        """The job time of each complete job."""
        return np.array([job.seconds for job in self.complete], dtype=np.float64)


def _status(requests: Sequence[Mapping[str, Any]]) -> Status:
    finishes = {request["finish"] for request in requests}
    if finishes - {*SUCCEEDED, "abandoned"}:
        return "failed"
    if "abandoned" in finishes:
        return "abandoned"
    return "complete" if len(requests) == requests[0]["job_requests"] else "failed"


def cache_hits(observed: Sequence[Jobs]) -> dict[int, tuple[int, int]]:
    """Return the cached and all prompt tokens of the measured jobs by depth of the request.

    Only responses with a report of cached tokens count; ``observed`` has the jobs of each process.
    """
    cached: Counter[int] = Counter()
    prompts: Counter[int] = Counter()
    for jobs in observed:
        names = ("cached_tokens", "prompt_tokens")
        hits, whole = (jobs.requests[name].cast(pa.float64()).to_numpy() for name in names)
        for row in np.flatnonzero(~np.isnan(hits) & ~np.isnan(whole) & (jobs.depths >= 0)):
            cached[int(jobs.depths[row])] += int(hits[row])
            prompts[int(jobs.depths[row])] += int(whole[row])
    return {depth: (cached[depth], prompts[depth]) for depth in sorted(prompts)}

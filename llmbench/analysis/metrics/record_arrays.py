"""The records of a run as arrays, with selections and error counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmbench.analysis.jobs import Jobs
from llmbench.analysis.stats import Floats
from llmbench.runs.record import SUCCEEDED
from llmbench.runs.run import Run

SHARED = "steps are shared by all requests"


class RecordArrays:
    """The records of a run as arrays; latencies cover the measured requests that succeeded.

    Times are seconds since the load began: t[i] is the stamp of a request's chunk i, ``due`` its
    due time, ``sent`` when it was sent, ``started`` when the backend started processing it.
    Latencies have one entry per request, ``itl`` one per gap.
    """

    def __init__(self, records: pa.Table) -> None:
        self.all = records.combine_chunks()
        self.measured = rows(self.all, pc.equal(self.all["phase"], "measured"))
        self.good = rows(self.measured, succeeded(self.measured))
        self.abandoned = rows(self.measured, abandoned(self.measured))

    @property
    def judged(self) -> int:
        """The number of measured requests that succeeded or failed: all but abandoned ones."""
        return len(self.measured) - len(self.abandoned)

    @property
    def failed(self) -> int:
        """The number of measured requests that failed or did not finish."""
        return self.judged - len(self.good)

    @cached_property
    def _first(self) -> Floats:
        return floats(pc.list_element(self.good["token_times"], 0))

    @cached_property
    def _last(self) -> Floats:
        flat, ends = flat_times(self.good)
        return flat[ends - 1] if len(ends) else flat

    @cached_property
    def ttft(self) -> Floats:
        """TTFT = t[0] − due."""
        return self._first - floats(self.good["due"])

    @cached_property
    def service_ttft(self) -> Floats:
        """Service TTFT = t[0] − sent."""
        return self._first - floats(self.good["sent"])

    @cached_property
    def content_ttft(self) -> Floats:
        """Content TTFT = c − due, where c is the stamp of the first non-reasoning token.

        NaN if the two kinds of tokens cannot be distinguished.
        """
        return floats(self.good["first_content"]) - floats(self.good["due"])

    @cached_property
    def queue_time(self) -> Floats:
        """Queue time = started − due; NaN if the backend does not report start times."""
        return floats(self.good["started"]) - floats(self.good["due"])

    @cached_property
    def e2e(self) -> Floats:
        """E2E = t[last] − due."""
        return self._last - floats(self.good["due"])

    @cached_property
    def send_lag(self) -> Floats:
        """Send lag = sent − due, of every measured request, including failed ones."""
        return floats(self.measured["sent"]) - floats(self.measured["due"])

    @cached_property
    def idle_lag(self) -> Floats:
        """Idle lag = sent − max(due, s), where s is the last stamp before ``sent``.

        The stamps are those of all requests, with replicas those of all on the same one. It is the
        part of the send lag in which no step ran: a local engine admits requests between steps, and
        each step ends with a stamp.
        """
        sent, due = floats(self.good["sent"]), floats(self.good["due"])
        last = np.full(len(sent), -np.inf)
        for replica in pc.unique(self.all["replica"]):
            own = _equal(self.good["replica"], replica).to_numpy()
            flat, _ = flat_times(rows(self.all, _equal(self.all["replica"], replica)))
            stamps = np.append(-np.inf, np.sort(flat[~np.isnan(flat)]))
            last[own] = stamps[np.searchsorted(stamps, sent[own], side="right") - 1]
        lag: Floats = sent - np.maximum(due, last)
        return lag

    @cached_property
    def tpot(self) -> Floats:
        """TPOT = (t[last] − t[0]) / (n − 1) for n output tokens; NaN if all came in one chunk."""
        tokens = floats(self.good["output_tokens"])
        several = (tokens > 1) & (floats(pc.list_value_length(self.good["token_times"])) > 1)
        tpot = np.full(len(tokens), np.nan)
        tpot[several] = (self._last - self._first)[several] / (tokens[several] - 1)
        return tpot

    @cached_property
    def itl(self) -> Floats:
        """ITL = t[i] − t[i − 1], all gaps of all requests pooled."""
        flat, ends = flat_times(self.good)
        gaps = np.diff(flat)
        return np.delete(gaps, ends[:-1] - 1)

    @cached_property
    def longest_gap(self) -> Floats:
        """Longest gap = max over i of t[i] − t[i − 1]; NaN for a single chunk."""
        flat, ends = flat_times(self.good)
        if not len(ends):
            return flat
        starts = np.r_[0, ends[:-1]]
        gaps = np.diff(flat, prepend=np.nan)
        gaps[starts] = -np.inf
        longest = np.maximum.reduceat(gaps, starts)
        return np.where(np.isinf(longest), np.nan, longest)

    @cached_property
    def jobs(self) -> Jobs:
        """The jobs of agents, with their requests in any phase."""
        of_jobs = rows(self.all, pc.is_valid(self.all["job_requests"]))
        flat, ends = flat_times(of_jobs)
        has_tokens = np.diff(ends, prepend=0) > 0
        last = np.full(len(ends), np.nan)
        last[has_tokens] = flat[ends[has_tokens] - 1]
        return Jobs(of_jobs, last)

    @cached_property
    def window(self) -> tuple[float, float] | None:
        """The steady window: from the first to the last due time of the measured requests.

        None if all were due at the same moment.
        """
        due = floats(self.measured["due"])
        if not len(due) or due.min() == due.max():
            return None
        return float(due.min()), float(due.max())

    @cached_property
    def makespan(self) -> tuple[float, float] | None:
        """First due time and last token stamp of the measured requests; None without tokens."""
        flat, _ = flat_times(self.measured)
        if not len(flat):
            return None
        return float(floats(self.measured["due"]).min()), float(np.nanmax(flat))


def succeeded(table: pa.Table) -> pa.ChunkedArray:
    """Return a mask of the requests that succeeded."""
    return pc.is_in(table["finish"], pa.array(SUCCEEDED))


def abandoned(table: pa.Table) -> pa.ChunkedArray:
    """Return a mask of the requests whose users gave up."""
    return pc.equal(table["finish"], "abandoned")


def rows(table: pa.Table, mask: pa.ChunkedArray) -> pa.Table:
    """Return the rows of a table that a mask selects, without a copy if they are contiguous."""
    indices = np.flatnonzero(mask.to_numpy())
    if len(indices) and indices[-1] - indices[0] == len(indices) - 1:
        return table.slice(int(indices[0]), len(indices))
    return table.filter(mask)


def _equal(column: pa.ChunkedArray, value: pa.Scalar) -> pa.ChunkedArray:
    """Return which values of a column are equal to one, which may be null."""
    return pc.equal(column, value).fill_null(False) if value.is_valid else pc.is_null(column)  # noqa: FBT003 (positional only)


def floats(column: pa.ChunkedArray) -> Floats:
    """Return a column as floats, null as NaN."""
    return np.asarray(column.to_numpy(), dtype=np.float64)


def flat_times(table: pa.Table) -> tuple[Floats, NDArray[np.int64]]:
    """Return all token times in one array, and the end index of each request's part."""
    times = table["token_times"]
    ends = np.cumsum(floats(pc.list_value_length(times))).astype(np.int64)
    return floats(pc.list_flatten(times)), ends


def interpolated(times: Floats) -> Floats:
    """Return stamps with unknown ones interpolated between their neighbors."""
    unknown = np.isnan(times)
    if not unknown.any() or unknown.all():
        return times
    known = np.flatnonzero(~unknown)
    return np.interp(np.arange(len(times)), known, times[known])


def within(times: Floats, begin: float, end: float) -> NDArray[np.bool_]:
    """Return a mask of the times that lie in a window, excluding its end."""
    return (times >= begin) & (times < end)


# -- errors ----------------------------------------------------------------------------------------


def errors_by_kind(run: Run) -> dict[str, int]:
    """Return the number of failed measured requests by kind of error."""
    measured = RecordArrays(run.records).measured
    kinds = pc.fill_null(measured["error_kind"], measured["finish"])
    has_failed = pc.invert(pc.or_(succeeded(measured), abandoned(measured)))
    failed = measured.append_column("kind", kinds).filter(has_failed)
    counts = failed.group_by("kind").aggregate([("request_id", "count")]).to_pylist()
    return {row["kind"]: row["request_id_count"] for row in counts}


def commonest_error(run: Run) -> str | None:
    """Return the most frequent kind of error with one message; None if no request failed."""
    kinds = errors_by_kind(run)
    if not kinds:
        return None
    kind = max(kinds, key=lambda kind: kinds[kind])
    of_kind = run.records.filter(pc.equal(run.records["error_kind"], kind))
    message = of_kind["error_message"][0].as_py() if of_kind.num_rows else None
    return f"{kind}: {message}" if message else kind


# -- parts of a run --------------------------------------------------------------------------------


def requests_where(run: Run, column: str, value: Any) -> Run:
    """Return a run with only the requests that have the given value in a column.

    Bytes, FLOPs and times of steps are unavailable for these requests, since steps are shared with
    other requests. Those of a replica have what it reports of itself.
    """
    of_steps = ("model_costs", "engine_steps")
    reasons = run.backend_report.get("reasons", {}) | dict.fromkeys(of_steps, SHARED)
    of_none = dict.fromkeys(of_steps)
    return replace(
        run,
        records=run.records.filter(pc.equal(run.records[column], value)),
        backend_report=run.backend_report
        | of_none
        | {"reasons": reasons}
        | (_report_of_replica(run, value) if column == "replica" else {}),
    )


def _report_of_replica(run: Run, replica: int) -> dict[str, Any]:
    """Return what a replica reports of itself; empty if it was lost."""
    reports = run.backend_report.get("replicas") or []
    return (reports[replica] if replica < len(reports) else None) or {}


def split_runs(runs: Sequence[Run], column: str) -> dict[Any, list[Run]]:
    """Split the requests of runs by the values of a column; requests with null are left out."""
    values = {value for run in runs for value in pc.unique(run.records[column]).to_pylist()}
    return {
        value: [requests_where(run, column, value) for run in runs]
        for value in sorted(values - {None})
    }

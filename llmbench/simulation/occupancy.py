"""How full the engines of a run were, read from its records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llmbench.analysis.metrics.record_arrays import RecordArrays, flat_times, floats, rows
from llmbench.runs.run import Run

Floats = NDArray[np.float64]

PERCENT = 99  # of prompts, and of the steps in which tokens are generated
MAX_STEPS = 10_000  # that are looked at


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How long prompts were, and how many sequences and cached tokens decode steps had.

    Of each, the PERCENT percentile: over prompts, and over output tokens.
    """

    prompt_tokens: int
    rows: int
    depth: int


def busy_share(run: Run, replicas: int) -> float:
    """Return the mean share of the steady window in which the replicas of a run were busy.

    U = Σ bᵣ / (R T), where bᵣ is the time in which replica r had at least one started request that
    had not ended, R the number of replicas, and T the length of the window. 0 without a window.
    """
    return _per_replica(run, replicas, _union)


def mean_rows(run: Run, replicas: int) -> float:
    """Return the mean number of started requests that a replica has in the steady window."""
    return _per_replica(run, replicas, lambda starts, ends: float((ends - starts).sum()))


def _per_replica(run: Run, replicas: int, length: Callable[[Floats, Floats], float]) -> float:
    """Return a length of the requests' spans within the steady window, per replica and second."""
    window = RecordArrays(run.records).window
    if window is None:
        return 0.0
    parts = _by_replica(_served(run.records))
    whole = sum(length(*(np.clip(x, *window) for x in (_starts(p), _ends(p)))) for p in parts)
    return float(whole / (replicas * (window[1] - window[0])))


def occupancy(*runs: Run) -> Occupancy:
    """Return how full the engines of runs were; 0 if no request was answered."""
    parts = [_Steps.of(part) for run in runs for part in _by_replica(_served(run.records))]
    if not parts:
        return Occupancy(0, 0, 0)
    prompts, rows, depth = (
        np.percentile(np.concatenate(values), PERCENT, method="inverted_cdf")
        for values in zip(*((p.prompts, p.rows, p.depth) for p in parts), strict=True)
    )
    return Occupancy(int(prompts), int(rows), int(depth))


@dataclass(frozen=True, slots=True)
class _Steps:
    """The prompts of a replica, and the sequences and cached tokens of decode steps."""

    prompts: Floats
    rows: Floats
    depth: Floats

    @classmethod
    def of(cls, served: pa.Table) -> _Steps:
        """Return them at the times of output tokens, of MAX_STEPS evenly chosen ones at most."""
        times, ends = flat_times(served)
        firsts, lasts = times[np.r_[0, ends[:-1]]], times[ends - 1]
        prompts, outputs = floats(served["prompt_tokens"]), floats(served["output_tokens"])
        counts = floats(pc.list_flatten(served["token_counts"]))
        chosen = np.linspace(0, len(times) - 1, min(len(times), MAX_STEPS)).astype(np.int64)
        moments = np.sort(times)[chosen]
        rows = _before(firsts, np.ones(len(firsts)), moments)
        rows -= _before(lasts, np.ones(len(lasts)), moments)
        depth = _before(firsts, prompts, moments) - _before(lasts, prompts + outputs, moments)
        return cls(prompts, rows, depth + _before(times, counts, moments))


def _served(records: pa.Table) -> pa.Table:
    """Return the records of requests that were started and got tokens."""
    whole = records.combine_chunks()
    has_tokens = pc.greater(pc.list_value_length(whole["token_times"]), 0)
    return rows(whole, pc.and_(has_tokens, pc.is_valid(whole["started"])))


def _by_replica(served: pa.Table) -> Iterator[pa.Table]:
    """Yield the records of each replica; all, if there is only one."""
    replica = pc.fill_null(served["replica"], -1)
    for index in pc.unique(replica):
        yield rows(served, pc.equal(replica, index))


def _starts(served: pa.Table) -> Floats:
    return floats(served["started"])


def _ends(served: pa.Table) -> Floats:
    flat, ends = flat_times(served)
    return flat[ends - 1]


def _union(starts: Floats, ends: Floats) -> float:
    """Return the length of the union of intervals."""
    order = np.argsort(starts)
    starts, latest = starts[order], np.maximum.accumulate(ends[order])
    covered = np.maximum(starts, np.r_[-np.inf, latest[:-1]])
    return float(np.maximum(latest - covered, 0.0).sum())


def _before(times: Floats, amounts: Floats, moments: Floats) -> Floats:
    """Return the sum of the amounts whose times lie before each moment."""
    order = np.argsort(times)
    sums = np.r_[0.0, np.cumsum(amounts[order])]
    total: Floats = sums[np.searchsorted(times[order], moments)]
    return total

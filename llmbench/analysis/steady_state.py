"""The warm-up of a load: the requests before steady state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from llmbench.runs.record import Record

METHOD = "MSER-5"
BATCH = 5


def mser(values: ArrayLike) -> int | None:
    """Return the number of leading warm-up values; None if there is no steady state.

    MSER-5: d* = argmin over d of Σᵢ₌d (zᵢ − z̄_d)² / (m − d)², where z are m means of five values
    each and z̄_d is the mean from z_d on. None if d* > m / 2. Source: White, An Effective
    Truncation Heuristic for Bias Reduction in Simulation Output, 1997.
    """
    series = np.asarray(values, dtype=np.float64)
    means = series[: len(series) // BATCH * BATCH].reshape(-1, BATCH).mean(axis=1)
    if len(means) < 2 * BATCH:
        return None
    cuts = np.arange(len(means) - BATCH)
    errors = [means[cut:].var() / (len(means) - cut) for cut in cuts]
    best = int(np.argmin(errors))
    return best * BATCH if best <= len(means) / 2 else None


def find_warmup(records: Sequence[Record]) -> tuple[list[Record], int | None]:
    """Return the records with the warm-up requests marked, and the number of these requests.

    The warm-up ends when both TTFT and TPOT are steady. If either has no steady state, no request
    is marked and the number is None.
    """
    ordered = sorted(records, key=lambda record: (record.due, record.request_id))
    good = [record for record in ordered if record.succeeded]
    ends = [_end([(r.due, r.token_times[0] - r.due) for r in good]), _end(_tpots(good))]
    if not good or None in ends:
        return ordered, None
    begin = max(end for end in ends if end is not None)
    marked = [replace(r, phase="warmup") if r.due < begin else r for r in ordered]
    return marked, sum(record.due < begin for record in ordered)


def _tpots(records: Sequence[Record]) -> list[tuple[float, float]]:
    several = [r for r in records if r.output_tokens > 1 and len(r.token_times) > 1]
    return [
        (r.due, (r.token_times[-1] - r.token_times[0]) / (r.output_tokens - 1)) for r in several
    ]


def _end(points: list[tuple[float, float]]) -> float | None:
    """Return the due time at which values become steady; −infinity without values."""
    if not points:
        return float("-inf")
    cut = mser([value for _, value in points])
    return None if cut is None else points[cut][0]

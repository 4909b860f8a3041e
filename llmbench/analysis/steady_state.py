"""Where a load became steady: how much of its beginning is warm-up, found by a named method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from llmbench.runs.record import Record

METHOD = "MSER-5"
BATCH = 5


def mser(values: ArrayLike) -> int | None:
    """Tell how many of the first values belong to the warm-up; None: they never become steady.

    MSER-5: of the means of five values each, those are cut whose cutting makes the standard error
    of the others' mean smallest; where that is more than half, there is no steady state (White, An
    Effective Truncation Heuristic for Bias Reduction in Simulation Output, 1997).
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
    """Mark the warm-up among records, by the later of the two ends that TTFT and TPOT show.

    Returns the records and how many of them are warm-up now; None, and no mark, where one of the
    two never became steady.
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


def _end(seen: list[tuple[float, float]]) -> float | None:
    """Give the due time at which values became steady; the beginning, where there are none."""
    if not seen:
        return float("-inf")
    cut = mser([value for _, value in seen])
    return None if cut is None else seen[cut][0]
